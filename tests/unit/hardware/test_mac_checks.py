"""What mapped operators are compared with: decoded values and the nearest code."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.hardware.config import MacConfig
from stages.hardware.mac_checks import code_values, nearest_code, to_bits
from stages.hardware.mac_design import MacDesign, output_shift
from stages.lib.core.errors import InputError
from stages.lib.numerics.decode import decode_table
from stages.lib.numerics.formats import all_formats, parse_format
from stages.lib.numerics.quantisers import round_to_format

FORMATS = [f for bits in range(3, 9) for signed in (True, False) for f in all_formats(bits, signed=signed)]


@pytest.mark.parametrize("format", FORMATS, ids=lambda f: f.name)
def test_the_nearest_code_is_that_of_the_quantiser(format):
    shift = 4
    rng = np.random.default_rng(0)
    largest = int(format.max_value / format.min_positive) << shift
    totals = [int(x) for x in rng.uniform(-1.2, 1.2, 300) * largest] + list(range(-200, 200))
    x = np.array([total / 2**shift for total in totals]) * format.min_positive
    codes = [nearest_code(total, format, shift=shift) for total in totals]
    np.testing.assert_array_equal(decode_table(format)[codes], round_to_format(x, format))


@given(st.lists(st.integers(-(2**99), 2**99 - 1), min_size=1), st.integers(100, 120))
def test_bits_are_twos_complement(values, width):
    bits = to_bits(values, width)
    weights = [1 << i for i in range(width - 1)] + [-(1 << (width - 1))]
    assert [sum(w for w, bit in zip(weights, row, strict=True) if bit) for row in bits.tolist()] == values


@pytest.mark.parametrize("name", ["E4M3", "E7M0", "INT8", "FULLINT4", "UE3M2"])
def test_values_are_whole_steps(name):
    format = parse_format(name)
    steps = code_values(format)
    table = decode_table(format)
    assert {code: value * format.min_positive for code, value in steps.items()} == {
        code: value for code, value in enumerate(table.tolist()) if not np.isnan(value)
    }


def test_designs_and_settings_refuse_what_does_not_exist():
    int8 = parse_format("INT8")
    for wrong in ({"pipeline": 3}, {"microarchitecture": "wallace"}, {"accumulator": "short"}, {"length": 0}):
        with pytest.raises(InputError, match="choose"):
            MacDesign(**{"weight": int8, "activation": int8, "length": 10, **wrong})
    with pytest.raises(ValueError, match="formats: E9M9 has 19 bits"):
        MacConfig(formats=("E9M9",))


def test_the_output_shift_fits_a_random_walk():
    # INT8 at n = 4608: 127 * 127 * sqrt(4608) = 1.09 M, which 2^-14 brings to 67 and 2^-13 to 134
    int8 = parse_format("INT8")
    assert output_shift(MacDesign(weight=int8, activation=int8, length=4608)) == 14
