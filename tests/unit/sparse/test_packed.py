"""The hybrid format: lossless, as small as it says, multiplied as dense matrices are, in whole networks too."""

import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from torch import nn

from stages.lib.core.errors import InputError
from stages.lib.nets.graph import fused
from stages.lib.sparse import kernels, native
from stages.lib.sparse.kernels import matmul, matvec, plan
from stages.lib.sparse.model import SparseModel
from stages.lib.sparse.packed import pack, unpack
from stages.lib.sparse.storage import (
    FORMATS,
    bytes_of,
    counts_of,
    index_bits,
    packed_counts,
    stored_weights,
    written_index,
)


def hybrid(rows: int, columns: int, *, block: int, n: int, m: int, share: float, seed: int = 0) -> np.ndarray:
    """Random weights with as many random blocks in every row of blocks, n of m inside; whole groups only."""
    rng = np.random.default_rng(seed)
    high, wide = -(-rows // block), -(-columns // block)
    kept = max(1, round(share * wide))
    blocks = np.zeros((high, wide), bool)
    for row in blocks:
        row[rng.permutation(wide)[:kept]] = True
    groups = rng.random((high * block, wide * block // m, m)).argsort(-1) < n
    mask = np.kron(blocks, np.ones((block, block), bool)) & groups.reshape(high * block, wide * block)
    return (rng.standard_normal(mask.shape) * mask).astype(np.float32)[:rows, :columns]


SHAPES = st.tuples(st.integers(1, 90), st.integers(1, 150))


@settings(max_examples=40, deadline=None)
@given(
    shape=SHAPES,
    block=st.sampled_from([16, 32, 64]),
    pattern=st.sampled_from([(1, 4), (2, 4), (3, 4), (4, 4), (3, 8)]),
    share=st.floats(0.05, 1),
    columns=st.sampled_from([1, 2, 15, 16, 17, 33, 48, 49, 64, 65, 100]),
    seed=st.integers(0, 99),
)
def test_products_equal_those_of_dense_matrices(shape, block, pattern, share, columns, seed):
    n, m = pattern
    weight = hybrid(*shape, block=block, n=n, m=m, share=share, seed=seed)
    packed = pack(weight, block=block, n=n, m=m)
    np.testing.assert_array_equal(unpack(packed), weight)
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((shape[1], columns)).astype(np.float32)
    bias = rng.standard_normal(shape[0]).astype(np.float32)
    wanted = weight.astype(np.float64) @ x + bias[:, None]
    size = np.abs(weight).astype(np.float64) @ np.abs(x) + np.abs(bias)[:, None] + 1e-30
    ready = plan(packed)
    # relative to the sum of magnitudes: what rounding can make of a sum
    assert (np.abs(matmul(ready, x, bias=bias) - wanted) / size).max() < 1e-5
    positive = matmul(ready, x, bias=bias, relu=True, threads=2)
    assert (np.abs(positive - np.maximum(wanted, 0)) / size).max() < 1e-5
    assert (np.abs(matvec(ready, x[:, 0].copy(), bias=bias) - wanted[:, 0]) / size[:, 0]).max() < 1e-5


@pytest.mark.parametrize("block", [16, 32, 64])
@pytest.mark.parametrize("stored_as", ["bfloat16", "int8"])
def test_rounded_weights_are_off_by_no_more_than_their_rounding(monkeypatch, stored_as, block):
    weight = hybrid(90, 150, block=block, n=2, m=4, share=0.4)
    rng = np.random.default_rng(0)
    x, bias = rng.standard_normal((150, 3)).astype(np.float32), rng.standard_normal(90).astype(np.float32)
    ready = plan(pack(weight, block=block, n=2, m=4), stored_as=stored_as)
    wanted = weight.astype(np.float64) @ x + bias[:, None]
    # half a unit: 2^-8 of each weight with 8 bits of significand, 1/254 of a row's largest as integers
    step = (
        np.abs(weight) * 2.0**-8
        if stored_as == "bfloat16"
        else (weight != 0) * np.abs(weight).max(1)[:, None] / 254
    )
    bound = step @ np.abs(x) + 1e-4
    many = matmul(ready, x, bias=bias)
    assert (np.abs(many - wanted) <= bound).all()
    assert np.abs(many - wanted).max() > 1e-4  # they are rounded
    one = matvec(ready, x[:, 0].copy(), bias=bias)
    np.testing.assert_allclose(one, many[:, 0], atol=1e-5)
    monkeypatch.setattr(kernels, "library", lambda: None)
    np.testing.assert_allclose(matvec(ready, x[:, 0].copy(), bias=bias), one, atol=1e-5)


def test_without_a_compiler_numba_gives_the_same(monkeypatch):
    weight = hybrid(40, 100, block=16, n=2, m=4, share=0.4)
    x = np.random.default_rng(0).standard_normal((100, 20)).astype(np.float32)
    ready = plan(pack(weight, block=16, n=2, m=4))
    compiled = matmul(ready, x, relu=True), matvec(ready, x[:, 0].copy())
    monkeypatch.setattr(kernels, "library", lambda: None)
    np.testing.assert_allclose(matmul(ready, x, relu=True), compiled[0], atol=1e-5)
    np.testing.assert_allclose(matvec(ready, x[:, 0].copy()), compiled[1], atol=1e-5)


def test_a_machine_with_a_compiler_has_compiled_kernels():
    """Else the other tests would compare numba's kernels with themselves."""
    if any(map(shutil.which, native.COMPILERS)):
        assert native.library() is not None


def test_a_machine_without_a_compiler_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(native.shutil, "which", lambda name: None)
    assert not native.build(tmp_path / "kernels.so")
    assert not list(tmp_path.iterdir())


def test_weights_that_do_not_follow_the_pattern_are_refused():
    with pytest.raises(InputError, match="holds more than 2 weights"):
        pack(np.ones((16, 16), np.float32), block=16, n=2, m=4)
    with pytest.raises(InputError, match="do not fit"):
        pack(np.ones((16, 16), np.float32), block=10, n=2, m=4)
    with pytest.raises(InputError, match="use 16, 32 or 64"):
        plan(pack(hybrid(8, 8, block=8, n=2, m=4, share=1), block=8, n=2, m=4))


@settings(max_examples=30, deadline=None)
@given(shape=SHAPES, share=st.floats(0.05, 1), block=st.sampled_from([16, 32]), seed=st.integers(0, 99))
def test_every_index_is_written_in_as_many_bytes_as_its_formula_says(shape, share, block, seed):
    """Claim C14's figures: closed form and bytes; rows with and without weights."""
    weight = hybrid(*shape, block=block, n=2, m=4, share=share, seed=seed)
    mask, packed = weight != 0, pack(weight, block=block, n=2, m=4)
    counts = counts_of(mask, block=block)
    for form in FORMATS:
        bits = index_bits(form, packed_counts(packed) if form == "hybrid" else counts, m=4)
        assert len(written_index(form, mask, block=block, packed=packed)) == bytes_of(bits), form
    csr, bsr = sparse.csr_array(weight), None
    assert stored_weights("csr", counts) == csr.nnz
    padded = np.pad(weight, ((0, -shape[0] % block), (0, -shape[1] % block)))
    bsr = sparse.bsr_array(padded, blocksize=(block, block))
    bsr.eliminate_zeros()
    assert stored_weights("bsr", counts) == bsr.indices.size * block * block


class Unusual(nn.Module):
    """A network of a user's own: strides, dilation, uneven widths, a branch, a view, a last layer without bias."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 20, 5, stride=2, padding=2)
        self.norm = nn.BatchNorm2d(20)
        self.wide = nn.Conv2d(20, 50, 3, padding="same", padding_mode="reflect", dilation=2, bias=False)
        self.wide_norm = nn.BatchNorm2d(50)
        self.side = nn.Conv2d(20, 50, 1, stride=1)
        self.depthwise = nn.Conv2d(50, 50, 3, padding=1, groups=50)
        self.hidden = nn.Linear(50, 33)
        self.last = nn.Linear(33, 7, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(self.wide_norm(self.wide(x)) + self.side(x))
        x = self.depthwise(x).mean((2, 3))
        return self.last(torch.relu(self.hidden(x)))


def pruned_network() -> nn.Module:
    torch.manual_seed(0)
    model = Unusual()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    from stages.pruning.network import apply_masks, layers_of
    from stages.pruning.pruning import Masks, draw_masks
    from stages.pruning.recipes import Recipe

    layers = layers_of(model)
    gradients = {name: torch.rand_like(module.weight) for name, module in layers.modules.items()}
    masks = draw_masks(layers, gradients, Recipe(), 0.8, Masks(), torch.Generator())
    apply_masks(layers, masks.weights)
    return model.eval()


def test_a_pruned_network_runs_on_packed_weights_and_answers_alike():
    model = pruned_network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    sparse_model = SparseModel(model, block=16, n=2, m=4)
    assert sparse_model.sparse == ["wide", "side", "hidden"]
    assert sparse_model.dense == [
        "stem",
        "last",
    ]  # a last layer of 7 outputs would mostly fill its blocks with zeros
    for batch in (1, 3):
        x = torch.randn(batch, 3, 31, 29)
        with torch.inference_mode():
            wanted = model(x)
        found = sparse_model(x)
        assert (found - wanted).abs().max() < 1e-4 * wanted.abs().max()
    # the user's network is as it was
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_folding_batch_norm_changes_no_answer():
    model = pruned_network()
    x = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(fused(model)(x), model(x), atol=1e-4, rtol=1e-4)


def test_a_dense_network_is_told_to_be_pruned_first():
    with pytest.raises(InputError, match="no layer keeps 2:4 in blocks of 16"):
        SparseModel(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)), block=16, n=2, m=4)
