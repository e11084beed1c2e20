"""Scales: brute force in numpy, gfloat's MX blocks, and the identity of exponent biases with powers of two."""

import gfloat
import gfloat.formats as gf
import numpy as np
import pytest
import torch

from stages.lib.numerics import quantisers
from stages.lib.numerics.formats import MinifloatFormat, parse_format
from stages.lib.numerics.torch_quantisers import quantise
from stages.lib.numerics.torch_scales import (
    exponent_bias_scale,
    merge_groups,
    mse_scale,
    quantise_groups,
    row_abs_max_scale,
    split_groups,
    weight_scale,
)

FORMATS = ["INT3", "INT8", "E2M1", "E3M0", "E4M3"]


def heavy_tailed(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_t(4, size=shape).astype(np.float32))


@pytest.mark.parametrize("name", FORMATS)
def test_the_least_squares_scale_is_the_best_of_its_grid(name):
    format, rows = parse_format(name), heavy_tailed(5, 300)
    found = mse_scale(rows, format, steps=9)
    for row, scale in zip(rows.numpy(), found.flatten().numpy(), strict=True):
        scales = quantisers.abs_max_scale(row, format) * np.linspace(1, 0.2, 9, dtype=np.float32)
        errors = [((quantisers.quantise(row, format, s) - row).astype(np.float64) ** 2).sum() for s in scales]
        error = ((quantisers.quantise(row, format, scale) - row).astype(np.float64) ** 2).sum()
        assert error == pytest.approx(min(errors), rel=1e-4)


@pytest.mark.parametrize(("exponent_bits", "mantissa_bits"), [(2, 1), (3, 2), (4, 3)])
@pytest.mark.parametrize("shift", [-1, 1, 2])
def test_another_bias_is_another_power_of_two_in_the_scale(exponent_bits, mantissa_bits, shift):
    x, scale = heavy_tailed(500), torch.tensor(0.3)
    plain = MinifloatFormat(exponent_bits=exponent_bits, mantissa_bits=mantissa_bits)
    biased = MinifloatFormat(
        exponent_bits=exponent_bits, mantissa_bits=mantissa_bits, bias=plain.exponent_bias + shift
    )
    assert torch.equal(quantise(x, biased, scale), quantise(x, plain, scale * 2.0**-shift))


def test_the_bias_search_takes_a_power_of_two_and_never_loses():
    format, rows = parse_format("INT3"), heavy_tailed(20, 200)
    plain, found = row_abs_max_scale(rows, format), exponent_bias_scale(rows, format)
    shift = torch.log2(plain / found)
    assert torch.equal(shift, shift.round())
    errors = [(quantise(rows, format, s) - rows).square().sum(1) for s in (found, plain)]
    assert (errors[0] <= errors[1]).all()
    assert (errors[0] < errors[1]).any()


MX = {
    "E4M3OCP": (gf.format_info_mxfp8_e4m3, MinifloatFormat(exponent_bits=4, mantissa_bits=3, largest=448)),
    "E3M2": (gf.format_info_mxfp6_e3m2, parse_format("E3M2")),
    "E2M1": (gf.format_info_mxfp4_e2m1, parse_format("E2M1")),
}


@pytest.mark.parametrize("name", MX)
def test_groups_are_the_blocks_of_mx(name):
    block_format, format = MX[name]
    x = heavy_tailed(8, 64) * torch.logspace(-3, 3, 8)[:, None]
    ours = quantise_groups(x, format, group=32, dim=-1).numpy()
    for row, found in zip(x.double().numpy(), ours, strict=True):
        for start in (0, 32):
            block = row[start : start + 32]
            amax = np.abs(block).max()
            scale = 2.0 ** (np.floor(np.log2(amax)) - block_format.etype.emax)
            expected = [
                gfloat.round_float(block_format.etype, v / scale, sat=True) * scale for v in block.tolist()
            ]
            np.testing.assert_array_equal(found[start : start + 32], np.array(expected) + 0.0)


def test_groups_along_channels_keep_either_layout():
    x, format = heavy_tailed(2, 20, 3, 4), parse_format("E2M1")
    expected = torch.stack(
        [quantise_groups(x[..., i, j], format, group=8, dim=1) for i in range(3) for j in range(4)]
    )
    expected = expected.view(3, 4, 2, 20).permute(2, 3, 0, 1)
    for layout in (torch.contiguous_format, torch.channels_last):
        given = x.contiguous(memory_format=layout)
        found = quantise_groups(given, format, group=8, dim=1)
        assert torch.equal(found, expected)
        assert found.stride() == given.stride()


@pytest.mark.parametrize("shape", [(6, 20), (4, 20, 3, 3), (4, 1, 3, 3), (3, 7, 1, 1)])
def test_group_scales_follow_the_groups_of_a_loop(shape):
    weight, format = heavy_tailed(*shape), parse_format("INT4")
    assert torch.equal(merge_groups(split_groups(weight, group=8), weight.shape), weight)
    found = weight_scale(weight, format, method="abs_max", granularity="per_group", group=8)
    lines = weight.flatten(1) if shape[1:2] == (1,) and len(shape) > 2 else weight.movedim(1, -1)
    scales = found.flatten(1) if shape[1:2] == (1,) and len(shape) > 2 else found.movedim(1, -1)
    lines, scales = lines.reshape(-1, lines.shape[-1]), scales.reshape(-1, lines.shape[-1])
    for line, scale in zip(lines, scales, strict=True):
        for start in range(0, len(line), 8):
            wanted = line[start : start + 8].abs().max() / 7
            torch.testing.assert_close(scale[start : start + 8], wanted.expand(len(line[start : start + 8])))
