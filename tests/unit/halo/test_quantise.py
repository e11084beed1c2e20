"""Language models on code books: what is gathered, quantised, stored and written, on a tiny Llama of random weights."""

import copy
import itertools
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from stages.halo.array import Multiplier, Stored, halo_arm
from stages.halo.exported import read_exported, same_matrix, write_exported
from stages.halo.quantise import QuantisedLinear, quantise_language_model, restore
from stages.halo.rows import ROWS, Row, rows_of, value_sets
from stages.halo.schedule import schedule_of
from stages.halo.sensitivity import gather, linear_layers
from stages.halo.verify_export import slow_or_foreign
from stages.lib.core.errors import InputError
from stages.lib.costs.systolic import order_by_layer
from stages.lib.numerics.tiles import spread, to_tiles

TILE = 16
SMALL = {name: replace(row, tile=TILE, group=16 if row.group else 0) for name, row in ROWS.items()}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64, hidden_size=40, intermediate_size=56, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=64,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def windows():
    return torch.randint(64, (3, 20), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def sensitivity(model, windows):
    return gather(model, windows, bf16=False)


@pytest.fixture(scope="module")
def profile():
    """The more bits a weight has set the slower it is: nine values with one bit or none are the fastest."""
    weight = np.arange(-128, 128)
    ones = np.array([bin(w & 255).count("1") for w in weight])
    return pd.DataFrame(
        {"netlist": "toy", "library": "none", "weight": weight, "delay_ns": 0.2 + 0.1 * ones, "energy_fj": 10.0 + ones}
    )  # fmt: skip


@pytest.fixture(scope="module")
def sets(profile):
    return value_sets(profile)


def quantised(model, sensitivity, row: Row, sets):
    return quantise_language_model(copy.deepcopy(model), sensitivity, row, sets)


def test_fisher_is_the_mean_square_of_gradients_of_windows(model, windows, sensitivity):
    name, layer = list(linear_layers(model).items())[3]
    squares = []
    for window in windows:
        loss = model(window[None], labels=window[None]).loss
        squares.append(torch.autograd.grad(loss, layer.weight)[0] ** 2)
    torch.testing.assert_close(sensitivity[name].fisher, torch.stack(squares).mean(0), rtol=1e-4, atol=1e-12)


def test_the_gram_matrix_is_of_inputs_at_unit_length(model, windows, sensitivity):
    name, layer = list(linear_layers(model).items())[-1]
    seen = []
    hook = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().reshape(-1, 56)))
    with torch.no_grad():
        model(windows)
    hook.remove()
    x = F.normalize(torch.cat(seen), dim=1)
    torch.testing.assert_close(sensitivity[name].gram, x.T @ x, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(sensitivity[name].input_range, torch.cat(seen).abs().amax(0))


def test_gathering_leaves_the_model_as_it_was(model):
    assert all(p.requires_grad for p in model.parameters())
    assert all(p.grad is None for p in linear_layers(model)["model.layers.0.mlp.up_proj"].parameters())


@pytest.mark.parametrize("name", [n for n, row in ROWS.items() if row.method == "code_book"])
def test_every_weight_is_a_value_of_its_tiles_book_or_apart(name, model, sensitivity, sets):
    found = quantised(model, sensitivity, SMALL[name], sets)
    for matrix in found.matrices.values():
        is_low = spread(matrix.low, TILE, matrix.codes.shape)
        scale = spread(matrix.scales, TILE, matrix.codes.shape)
        for kind, chosen in (("low", is_low), ("high", ~is_low)):
            assert np.isin(matrix.codes[chosen & ~matrix.sparse], found.books[kind]).all()
        assert torch.equal(matrix.values[~matrix.sparse], (matrix.codes * scale)[~matrix.sparse])
        assert (matrix.codes[matrix.sparse] == 0).all()


def test_weights_apart_keep_eight_bits(model, sensitivity, sets):
    found = quantised(model, sensitivity, SMALL["halo-perf"], sets)
    for name, layer in linear_layers(model).items():
        apart = found.matrices[name].sparse
        step = layer.weight.masked_fill(~apart, 0).abs().amax(1, keepdim=True) / 127
        error = (found.matrices[name].values - layer.weight).abs()
        assert (error <= step * 0.52)[apart].all()  # half a step, and scales of eleven bits


def test_the_least_sensitive_tiles_are_low(model, sensitivity, sets):
    means, low = [], []
    for name, matrix in quantised(model, sensitivity, SMALL["halo-bal"], sets).matrices.items():
        inside = to_tiles(torch.ones_like(matrix.values), TILE).sum((2, 3))
        means.append((to_tiles(sensitivity[name].fisher, TILE).sum((2, 3)) / inside).flatten())
        low.append(matrix.low.flatten())
    means, low = torch.cat(means), torch.cat(low)
    assert means[low].max() <= means[~low].min()
    assert float(low.float().mean()) == pytest.approx(0.5, abs=0.01)
    inverse = quantised(model, sensitivity, SMALL["halo-bal-inverse"], sets).matrices.values()
    inverse = torch.cat([m.low.flatten() for m in inverse])
    assert means[inverse].min() >= means[~inverse].max()


@pytest.mark.parametrize(
    ("plain", "compensated"),
    [
        ("rtn-w4-g64", "gptq-w4-g64"),
        ("rtn-w3-g64", "gptq-w3-g64"),
        ("halo-acc", "halo-acc-compensated"),
        ("halo-perf", "halo-perf-compensated"),
    ],
)
def test_compensation_lowers_the_error_of_outputs(plain, compensated, model, sensitivity, sets):
    def error(row):
        total = 0.0
        found = quantised(model, sensitivity, SMALL[row], sets)
        for name, layer in linear_layers(model).items():
            off = found.matrices[name].values - layer.weight.detach()
            total += float(((off @ sensitivity[name].gram) * off).sum())
        return total

    assert error(compensated) < 0.9 * error(plain)


@pytest.mark.parametrize("name", ["rtn-w8", "halo-bal", "smoothquant-w8"])
def test_a_layer_multiplies_codes_of_inputs(name, model, sensitivity, sets):
    """Inputs are rounded to int8 codes, token by token; NumPy multiplies them in float64."""
    found = quantised(model, sensitivity, SMALL[name], sets)
    layer_name, layer = next(iter(linear_layers(model).items()))
    matrix = found.matrices[layer_name]
    x = torch.randn(7, 40, generator=torch.Generator().manual_seed(3))
    y = QuantisedLinear(layer, matrix, 8)(x)
    scaled = x if matrix.multiplier is None else x * matrix.multiplier
    step = scaled.abs().amax(1, keepdim=True) / 127
    integers = (scaled / step).round().numpy().astype(np.int64)
    values = matrix.values.double().numpy()
    torch.testing.assert_close(y.double(), torch.from_numpy(integers @ values.T) * step, rtol=1e-4, atol=1e-5)


def test_smoothing_alone_changes_nothing(model, sensitivity, sets):
    name, layer = next(iter(linear_layers(model).items()))
    matrix = quantised(model, sensitivity, replace(SMALL["smoothquant-w8"], bits=16), sets).matrices[name]
    x = torch.randn(5, 40, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        (x * matrix.multiplier) @ matrix.values.T, F.linear(x, layer.weight), rtol=1e-2, atol=1e-3
    )


def test_restoring_gives_the_float_model_back(model, windows, sensitivity, sets):
    work = copy.deepcopy(model)
    layers = linear_layers(work)
    quantise_language_model(work, sensitivity, SMALL["halo-perf"], sets)
    restore(work, layers)
    with torch.no_grad():
        assert torch.equal(work(windows).logits, model(windows).logits)


@pytest.mark.parametrize("name", ["halo-bal", "halo-perf-compensated", "halo-bal-no-sparse", "power-pruning"])
def test_files_give_the_same_matrices_at_the_bits_counted(name, model, sensitivity, sets, tmp_path):
    found = quantised(model, sensitivity, SMALL[name], sets)
    write_exported(tmp_path, found, tile=TILE, record={"row": name})
    read, record = read_exported(tmp_path)
    assert all(same_matrix(m, read[n]) for n, m in found.matrices.items())
    counted_bytes = found.bits_per_weight * found.weights / 8
    tensors = 9 * len(found.matrices)  # each of which fills up its last byte, nine values their last three
    assert counted_bytes <= record["payload_bytes"] + tensors
    assert record["payload_bytes"] <= counted_bytes + 2 * tensors


def test_damaged_files_are_refused(model, sensitivity, sets, tmp_path):
    found = quantised(model, sensitivity, SMALL["halo-perf"], sets)
    write_exported(tmp_path, found, tile=TILE, record={})
    record = json.loads((tmp_path / "halo.json").read_text())
    record["books"]["low"] = record["books"]["low"][:5]
    (tmp_path / "halo.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="cannot be read"):
        read_exported(tmp_path)
    (tmp_path / "halo.json").write_text("{}")
    with pytest.raises(InputError, match="layout"):
        read_exported(tmp_path)


def test_a_slow_weight_is_found(model, sensitivity, sets, profile):
    found = quantised(model, sensitivity, SMALL["halo-bal"], sets)
    multiplier = Multiplier.of(profile)
    record = {"tile": TILE, "books": found.books}
    arm = arm_of(multiplier, found)
    schedule = schedule_of(found.matrices, arm, multiplier, found.books, transition_ns=10)
    matrices = list(found.matrices.values())
    assert sum(slow_or_foreign(m, record, schedule, multiplier.delay_ns) for m in matrices) == 0
    damaged = next(m for m in matrices if m.low.any())
    row, column = (int(i[0]) * TILE for i in torch.nonzero(damaged.low, as_tuple=True))
    damaged.codes[row, column] = -1  # eight bits set: the slowest
    damaged.sparse[row, column] = False
    assert slow_or_foreign(damaged, record, schedule, multiplier.delay_ns) == 1


def arm_of(multiplier, found):
    stored = Stored.of(found, tile=TILE)
    return halo_arm("halo-bal", multiplier, stored, found.books, reading="measured", plain_fj=0.0)


def test_the_schedule_changes_levels_as_often_as_the_model_of_the_array_says(
    model, sensitivity, sets, profile
):
    found = quantised(model, sensitivity, SMALL["halo-bal"], sets)
    arm = arm_of(Multiplier.of(profile), found)
    schedule = schedule_of(found.matrices, arm, Multiplier.of(profile), found.books, transition_ns=10)
    shares = np.array(
        [[float(m.low.float().mean()), 1 - float(m.low.float().mean())] for m in found.matrices.values()]
    )
    order = order_by_layer(shares, arm.levels)
    assert schedule["transitions"]["of_one_pass"] == sum(a != b for a, b in itertools.pairwise(order))
    tiles = {
        kind: sum(run["tiles"] for run in schedule["order"] if run["class"] == kind)
        for kind in ("low", "high")
    }
    assert tiles["low"] == sum(int(m.low.sum()) for m in found.matrices.values())
    assert sum(tiles.values()) == sum(m.low.numel() for m in found.matrices.values())


def test_value_sets_come_from_the_profile(sets):
    assert sets["fast9"] == sets["single_bit9"] == tuple(sorted([0, 1, 2, 4, 8, 16, 32, 64, -128]))
    assert sets["powers16"] == tuple(sorted([0, *(s * 2**k for k in range(7) for s in (1, -1)), -128]))
    assert len(sets["power16"]) == 16


def test_an_unknown_row_is_named():
    with pytest.raises(InputError, match="no row 'halo-ac'"):
        rows_of(["halo-ac"])
