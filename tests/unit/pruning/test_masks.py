"""Masks of hybrid sparsity: what the pattern promises, on any shape, and what the released code does instead."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from stages.lib.core.errors import InputError
from stages.lib.sparse.matrices import as_matrix, from_matrix
from stages.lib.sparse.packed import pack, unpack
from stages.pruning.config import StudyConfig
from stages.pruning.masks import (
    Pattern,
    block_mask,
    block_scores,
    block_share,
    expand_blocks,
    keep_n_of_m,
    kept_blocks,
    ordered,
    rank_columns,
    scrambled,
)
from stages.pruning.network import layers_of, multiplications, to_matrix, to_weight
from stages.pruning.pruning import Masks, draw_masks
from stages.pruning.recipes import Recipe, recipe_of

PATTERNS = [(1, 4), (2, 4), (3, 4), (2, 8), (4, 4)]


def network(widths: list[int], kernel: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 10))


def gradients(model: nn.Module, seed: int, *, ties: bool = False) -> dict[str, torch.Tensor]:
    chance = torch.Generator().manual_seed(seed)
    found = {}
    for name, module in layers_of(model).modules.items():
        g = torch.rand(module.weight.shape, generator=chance)
        found[name] = (g > 0.7).float() if ties else g
    return found


@settings(max_examples=40, deadline=None)
@given(
    widths=st.lists(st.integers(1, 70), min_size=3, max_size=5),
    kernel=st.sampled_from([1, 3]),
    pattern=st.sampled_from(PATTERNS),
    block=st.sampled_from([8, 16, 32]),
    goal=st.floats(0.3, 0.97),
    ties=st.booleans(),
    seed=st.integers(0, 9),
)
def test_every_group_keeps_n_of_m_and_every_block_row_as_many_blocks(
    widths, kernel, pattern, block, goal, ties, seed
):
    """Claims C1, C2, C4: over three rounds, on shapes that do not divide, with scores that tie."""
    n, m = pattern
    model = network(widths, kernel, seed)
    layers, masks = layers_of(model), Masks()
    recipe = Recipe(pattern=Pattern(n=n, m=m, block=block))
    for number in range(3):
        old = masks
        found = gradients(model, seed + number, ties=ties)
        masks = draw_masks(layers, found, recipe, goal * (number + 1) / 3, old, torch.Generator())
        for name in layers.in_blocks:
            weight = layers.modules[name].weight
            matrix = to_matrix(masks.weights[name].float(), m, "channels") > 0
            blocks = masks.blocks[name]
            assert (blocks.sum(1) == masks.kept[name]).all()  # C1
            assert masks.kept[name] >= 1
            # C2: whole groups of real input channels in surviving blocks keep exactly n
            inside = expand_blocks(blocks, matrix.shape, block)
            groups, there = (v.reshape(v.shape[0], -1, m) for v in (matrix, inside))
            real = to_matrix(torch.ones_like(weight), m, "channels").reshape(groups.shape).all(-1)
            counts = groups.sum(-1)
            assert (counts[there.all(-1) & real] == n).all()
            assert (counts <= n).all()
            assert not groups[~there].any()
            if old.weights:  # C4
                assert not (masks.weights[name] & ~old.weights[name]).any()
            # what follows the pattern can be packed, and comes back as it was
            kept = (weight * masks.weights[name]).detach()
            packed = pack(as_matrix(kept, m).numpy(), block=block, n=n, m=m)
            back = from_matrix(torch.from_numpy(unpack(packed)), weight.shape, m)
            assert torch.equal(back, kept)


@pytest.mark.parametrize("pattern", [(1, 4), (2, 4), (3, 4)])
@pytest.mark.parametrize("r", [0.0, 0.2, 0.5, 0.75])
def test_sparsity_follows_the_formula_where_blocks_divide(pattern, r):
    """Claim C3: kappa = 1 - (n / m)(1 - r), counted."""
    n, m = pattern
    scores = torch.rand(64, 320, generator=torch.Generator().manual_seed(0))
    sums = {"layer": block_scores(scores, 16)}
    kept = kept_blocks(sums, 1 - r)["layer"]
    mask = keep_n_of_m(scores, n, m) & expand_blocks(block_mask(sums["layer"], kept), scores.shape, 16)
    kappa = 1 - (n / m) * (1 - r)
    assert 1 - float(mask.float().mean()) == pytest.approx(kappa)
    assert block_share(kappa, Pattern(n=n, m=m)) == pytest.approx(1 - r)


def test_a_sparsity_below_the_pattern_is_refused():
    with pytest.raises(InputError, match="2:4 alone prunes 50%"):
        block_share(0.3, Pattern())


@pytest.mark.parametrize(
    ("shape", "block", "share"),
    [((64, 64), 16, 0.25), ((128, 64), 16, 0.0625), ((64, 256), 16, 0.0625), ((512, 4608), 64, 0.0035),
     ((16, 256), 16, 1.0), ((256, 16), 16, 1.0)],
)  # fmt: skip
def test_the_released_order_judges_that_share_of_blocks_by_their_own_score(shape, block, share):
    """Claim C5; one row or one column of blocks is not scrambled."""
    rows, columns = shape[0] // block, shape[1] // block
    own = torch.arange(rows * columns).reshape(rows, columns)
    found = float((scrambled(own) == own).float().mean())
    assert found == pytest.approx(share, abs=5e-4)
    assert sorted(scrambled(own).flatten().tolist()) == list(range(rows * columns))


def test_ablations_keep_what_a_layer_has_in_all():
    sums = torch.rand(4, 6, generator=torch.Generator().manual_seed(0))
    for order in ("scrambled_as_released", "random"):
        found = ordered(sums, order, torch.Generator().manual_seed(1))
        assert not torch.equal(found, sums)
        assert torch.equal(found.flatten().sort().values, sums.flatten().sort().values)
    with pytest.raises(InputError, match="score order 'other'"):
        ordered(sums, "other")


def test_blocks_and_ranks_by_exhaustion():
    scores = torch.rand(20, 37, generator=torch.Generator().manual_seed(0))
    sums = block_scores(scores, 8)
    for r in range(3):
        for c in range(5):
            wanted = scores[8 * r : 8 * r + 8, 8 * c : 8 * c + 8].sum()
            assert sums[r, c] == pytest.approx(float(wanted), rel=1e-5)
    q = rank_columns(sums)
    assert q.tolist() == pytest.approx(np.sort(sums.numpy(), axis=1).sum(0).tolist(), rel=1e-6)
    best = block_mask(sums, 2)
    for r in range(3):
        assert set(best[r].nonzero().flatten().tolist()) == set(sums[r].topk(2).indices.tolist())


def test_raw_sums_empty_layers_with_few_block_rows_and_means_do_not():
    """Claim C12: the same scores a weight, layers of 1 to 8 block-rows."""
    chance = torch.Generator().manual_seed(0)
    sums = {f"l{rows}": 1 + torch.rand(rows, 12, generator=chance) for rows in (1, 2, 4, 8)}
    raw = kept_blocks(sums, 0.5, normalisation="sum")
    even = kept_blocks(sums, 0.5, normalisation="mean")
    assert [raw[f"l{rows}"] for rows in (1, 2, 4, 8)] == sorted(raw.values())
    assert raw["l1"] == 1
    assert raw["l8"] >= 8
    assert max(even.values()) - min(even.values()) <= 2
    floored = kept_blocks(sums, 0.5, normalisation="sum", floor=0.3)
    assert min(floored.values()) == 4


def test_regrowth_may_give_weights_back():
    """The control of C4."""
    model = network([16, 32, 32, 32], 3, 0)
    layers = layers_of(model)
    recipe = recipe_of("hybrid_sr_ste", 0.9, StudyConfig())
    first = draw_masks(layers, gradients(model, 0), recipe, 0.8, Masks(), torch.Generator())
    second = draw_masks(layers, gradients(model, 1), recipe, 0.9, first, torch.Generator())
    assert any((second.weights[n] & ~first.weights[n]).any() for n in second.weights)


def test_matrices_run_along_the_input_channels_and_come_back():
    weight = torch.arange(2 * 6 * 3 * 3, dtype=torch.float32).reshape(2, 6, 3, 3)
    matrix = as_matrix(weight, 4)
    assert matrix.shape == (2, 9 * 8)
    # the second place of the kernel starts after eight columns: six channels and two of padding
    assert matrix[1, 8:16].tolist() == [*weight[1, :, 0, 1].tolist(), 0, 0]
    for layout in ("channels", "flat_oihw"):
        assert torch.equal(to_weight(to_matrix(weight, 4, layout), weight.shape, 4, layout), weight)
    with pytest.raises(InputError, match="layout"):
        to_matrix(weight, 4, "rows")


def test_multiplications_count_what_is_left():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.Flatten(), nn.Linear(4 * 6 * 6, 5, bias=False))
    example = torch.zeros(1, 3, 8, 8)
    assert multiplications(model, example) == 4 * 27 * 36 + 5 * 144
    model[0].weight.data[1] = 0
    assert multiplications(model, example) == 3 * 27 * 36 + 5 * 144
