"""Laws of rounding, and the torch quantiser against the numpy reference bit for bit."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.lib.numerics import quantisers, torch_quantisers
from stages.lib.numerics.decode import decode_table
from stages.lib.numerics.formats import parse_format
from stages.quantization.verification import float32_formats, hard_values, nearest_by_search

FORMATS = float32_formats()
formats = st.sampled_from(FORMATS)
numbers = st.floats(width=32, allow_nan=False)


def rounded(value, format):
    return float(quantisers.round_to_format(np.float32([value]), format)[0])


@given(numbers, numbers, formats)
def test_monotone(a, b, format):
    assert rounded(min(a, b), format) <= rounded(max(a, b), format)


@given(numbers, formats)
def test_idempotent_and_a_value_of_the_format(a, format):
    once = rounded(a, format)
    assert rounded(once, format) == once
    assert once in decode_table(format)


@given(numbers, formats.filter(lambda f: f.signed))
def test_symmetric(a, format):
    assert rounded(-a, format) == -rounded(a, format)


@given(numbers, formats)
def test_saturates(a, format):
    assert format.min_value <= rounded(a, format) <= format.max_value
    assert rounded(np.inf, format) == format.max_value
    assert rounded(-np.inf, format) == format.min_value


@pytest.mark.parametrize("format", FORMATS, ids=lambda f: f.name)
def test_nearest_and_torch_equal_to_numpy(format):
    x = hard_values(format, 2000, np.random.default_rng(0))
    reference = quantisers.round_to_format(x, format)
    np.testing.assert_array_equal(reference, nearest_by_search(x, format))
    x = np.append(x, np.float32(np.nan))
    reference = np.append(reference, np.float32(np.nan))
    given = torch.from_numpy(x)
    in_one_pass = torch_quantisers.round_to_format(given, format)
    elsewhere = torch_quantisers.round_in_steps_(torch.empty_like(given), given, format, None)
    for ours in (in_one_pass.numpy(), elsewhere.numpy()):
        np.testing.assert_array_equal(ours, reference)
        np.testing.assert_array_equal(np.signbit(ours[:-1]), np.signbit(reference[:-1]))  # one zero, +0


def test_ties_without_mantissa_bits_go_up_and_beside_zero_to_zero():
    # section 2.2: ulp * round_half_even(u / ulp); 1.5 ulp goes to 2 ulp, half an ulp to 0
    x = np.float32([0.125, 0.375, 0.75, 1.5, 3, 6, 12])
    np.testing.assert_array_equal(
        quantisers.round_to_format(x, parse_format("E3M0")), [0, 0.5, 1, 2, 4, 8, 16]
    )


@pytest.mark.parametrize("name", ["E4M3", "E1M3", "INT5", "UE3M2"])
@pytest.mark.parametrize("layout", ["channels_last", "strided", "empty", "scalar", "long"])
def test_torch_keeps_the_layout_and_the_input(name, layout):
    format = parse_format(name)
    base = torch.randn(4, 6, 8, 10, generator=torch.Generator().manual_seed(0))
    x = {
        "channels_last": base.contiguous(memory_format=torch.channels_last),
        "strided": base[:, ::2, 1:, ::3],
        "empty": base[:0],
        "scalar": base[0, 0, 0, 0],
        "long": base.repeat(40, 2, 1, 1)[:159, :11, :7, :9].contiguous(),  # many vectors and a rest
    }[layout]
    before = x.clone()
    out = torch_quantisers.round_to_format(x, format)
    assert torch.equal(x, before)
    np.testing.assert_array_equal(out.numpy(), quantisers.round_to_format(x.numpy(), format))
    assert layout == "strided" or out.stride() == x.stride()
    torch_quantisers.round_to_format_(x, format)
    assert torch.equal(x, out)


@pytest.mark.parametrize("name", ["E4M3", "E2M0", "INT4", "UINT8"])
@pytest.mark.parametrize("axis", [None, 0])
def test_scaled_torch_quantiser_equals_numpy(name, axis):
    format = parse_format(name)
    w = np.random.default_rng(1).standard_t(3, size=(8, 5, 3, 3)).astype(np.float32)
    w[2] = 0  # a pruned channel
    scale = quantisers.abs_max_scale(w, format, axis=axis)
    torch_scale = torch_quantisers.abs_max_scale(torch.from_numpy(w), format, axis=axis)
    np.testing.assert_array_equal(torch_scale.numpy(), scale)
    given = torch.from_numpy(w)
    ours = torch_quantisers.quantise(given, format, torch_scale)
    np.testing.assert_array_equal(ours.numpy(), quantisers.quantise(w, format, scale))
    assert not ours[2].any()
    if axis is None:
        elsewhere = torch_quantisers.round_in_steps_(torch.empty_like(given), given, format, torch_scale)
        assert torch.equal(elsewhere, ours)


def test_percentile_scale_clips_the_tail():
    x = np.arange(-1000, 1001, dtype=np.float32)
    scale = quantisers.percentile_scale(x, parse_format("INT8"), 50)
    assert np.abs(quantisers.quantise(x, parse_format("INT8"), scale)).max() == pytest.approx(500, rel=1e-6)


def test_what_float32_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="UE8M0"):
        torch_quantisers.round_to_format(torch.ones(1), parse_format("UE8M0"))
    with pytest.raises(TypeError, match="float32"):
        torch_quantisers.round_to_format(torch.ones(1).double(), parse_format("E4M3"))
