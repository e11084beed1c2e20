"""GPTQ and learned rounding: against a direct reference, all choices of a tiny layer, and nearest rounding."""

import itertools

import numpy as np
import pytest
import torch

from stages.lib.numerics.decode import decode_table
from stages.lib.numerics.formats import parse_format
from stages.lib.numerics.gptq import gptq
from stages.lib.numerics.learned_rounding import learn_rounding, neighbours, row_error
from stages.lib.numerics.torch_quantisers import abs_max_scale, quantise, round_to_format

FORMATS = ["INT4", "E2M1", "E3M0"]


def layer(rows, columns, seed=0):
    """A weight, its scale's base, and the Gram matrix of correlated inputs."""
    torch.manual_seed(seed)
    mixing = torch.randn(columns, columns)
    x = (mixing + 0.5 * torch.eye(columns)) @ torch.randn(columns, 8 * columns)
    return torch.randn(rows, columns), x @ x.T


def rounding(format, scale):
    return lambda values, at: round_to_format(values / scale, format) * scale


@pytest.mark.parametrize("name", FORMATS)
def test_uncorrelated_inputs_leave_nothing_to_make_up_for(name):
    format, (weight, _) = parse_format(name), layer(6, 40)
    scale = abs_max_scale(weight, format, axis=0)
    found = gptq(weight, torch.eye(40), rounding(format, scale))
    torch.testing.assert_close(found, quantise(weight, format, scale), rtol=0, atol=0)


@pytest.mark.parametrize("block", [1, 3, 128])
def test_gptq_is_optimal_brain_quantisation_in_a_fixed_order(block):
    format, (weight, gram) = parse_format("INT4"), layer(4, 10)
    scale = abs_max_scale(weight, format, axis=0)
    found = gptq(weight, gram, rounding(format, scale), damping=0.01, block=block)
    # one column after the other: the rest moves by -error * H^-1 row, and the column leaves H
    w, h = weight.double().clone(), gram.double() + 0.01 * gram.double().diagonal().mean() * torch.eye(10)
    expected = torch.zeros_like(w)
    for i in range(10):
        inverse = torch.linalg.inv(h[i:, i:])
        expected[:, i] = round_to_format((w[:, i : i + 1] / scale).float(), format)[:, 0] * scale[:, 0]
        error = (w[:, i] - expected[:, i]) / inverse[0, 0]
        w[:, i:] -= error[:, None] * inverse[0][None]
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", FORMATS)
def test_both_lower_the_error_of_the_outputs(name):
    format, (weight, gram) = parse_format(name), layer(16, 48)
    scale = abs_max_scale(weight, format, axis=0)
    nearest = row_error(quantise(weight, format, scale) - weight, gram).sum()
    compensated = row_error(gptq(weight, gram, rounding(format, scale)) - weight, gram).sum()
    learned = row_error(learn_rounding(weight, gram, format, scale) - weight, gram)
    assert compensated < 0.8 * nearest
    assert learned.sum() < 0.8 * nearest


@pytest.mark.parametrize("name", FORMATS)
def test_neighbours_are_the_values_around(name):
    format = parse_format(name)
    values = np.unique(decode_table(format)[~np.isnan(decode_table(format))])
    u = torch.linspace(float(values[0]), float(values[-1]), 4001)
    below, above = neighbours(u, format)
    x = u.numpy().astype(np.float64)
    np.testing.assert_array_equal(below.numpy(), values[np.searchsorted(values, x, side="right") - 1])
    between = ~np.isin(x, values)
    np.testing.assert_array_equal(above.numpy()[between], values[np.searchsorted(values, x[between])])


def test_a_tiny_layer_is_rounded_nearly_as_well_as_all_choices_allow():
    ratios = []
    for seed in range(12):
        format, (weight, gram) = parse_format("E2M1"), layer(1, 6, seed)
        scale = abs_max_scale(weight, format, axis=0)
        found = row_error(learn_rounding(weight, gram, format, scale) - weight, gram)
        pair = torch.stack(neighbours(weight / scale, format)) * scale
        every = [
            row_error(torch.stack([pair[c, 0, i] for i, c in enumerate(choice)])[None] - weight, gram)
            for choice in itertools.product((0, 1), repeat=6)
        ]
        nearest = row_error(quantise(weight, format, scale) - weight, gram)
        best = min(every)
        assert best * (1 - 1e-4) <= found <= nearest * (1 + 1e-6)
        ratios.append(float(found / best))
    assert np.median(ratios) < 1.2


@pytest.mark.parametrize("name", ["INT4", "E1M2", "E2M1"])
def test_the_public_codes_start_matters_for_binades_alone(name):
    format, (weight, gram) = parse_format(name), layer(8, 24)
    scale = abs_max_scale(weight, format, axis=0)
    both = [
        learn_rounding(weight, gram, format, scale, iterations=100, initial=start)
        for start in ("per_binade", "integer_ulp")
    ]
    assert torch.equal(*both) == (name == "INT4")
