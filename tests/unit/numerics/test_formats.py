"""Formats and decode tables, exhaustively, against a second enumeration and against what the notes state."""

import numpy as np
import pytest

from stages.lib.core.errors import InputError
from stages.lib.numerics.decode import decode_table, encode
from stages.lib.numerics.formats import IntegerFormat, all_formats, minifloats, parse_format
from stages.quantization.verification import ML_DTYPES, check_tables

EVERY = [f for signed in (True, False) for bits in range(3, 9) for f in all_formats(bits, signed=signed)]


def test_tables_match_the_enumeration_in_fractions():
    count = check_tables()
    assert count.compared == 27 + 33  # signed: n - 1 formats of n bits; unsigned: n
    assert count.mismatches == 0


@pytest.mark.parametrize("format", EVERY, ids=lambda f: f.name)
def test_every_code_survives_decoding_and_encoding(format):
    table = decode_table(format)
    codes = np.flatnonzero(~np.isnan(table))
    back = encode(table[codes], format)
    negative_zero = (table[codes] == 0) & np.signbit(table[codes])
    np.testing.assert_array_equal(back[~negative_zero], codes[~negative_zero])
    assert np.all(back[negative_zero] == 0)


def test_stated_limits():
    # table of section 2.4 of the notes
    stated = {"E2M0": (4, 1), "E3M0": (16, 0.25), "E2M1": (6, 0.5), "E4M1": (384, 2**-7), "E3M4": (31, 2**-6)}
    stated |= {"E4M3": (480, 2**-9), "E5M2": (114688, 2**-16), "E2M5": (7.875, 2**-5), "INT8": (127, 1)}
    assert {n: (parse_format(n).max_value, parse_format(n).min_positive) for n in stated} == stated


def test_variants_leave_the_reserved_codes_without_a_value():
    table = decode_table(ML_DTYPES["float8_e4m3fn"])
    assert np.nanmax(table) == 448
    assert np.flatnonzero(np.isnan(table)).tolist() == [0x7F, 0xFF]


@pytest.mark.parametrize("format", EVERY, ids=lambda f: f.name)
def test_a_format_is_found_by_its_name(format):
    assert parse_format(format.name) == format


def test_integer_kinds():
    full, narrow, unsigned = (parse_format(n) for n in ("FULLINT4", "INT4", "UINT4"))
    assert (full.min_value, narrow.min_value, unsigned.min_value) == (-8, -7, 0)
    assert (full.max_value, unsigned.max_value) == (7, 15)
    assert decode_table(full)[8] == -8
    assert np.isnan(decode_table(narrow)[8])


@pytest.mark.parametrize(
    "name", ["E9M9", "INT99", "E0M3", "E4M", "float8", "", "INT1", "UINT9", "e4m3", "E4M3 "]
)
def test_what_is_no_format_is_refused_with_the_range(name):
    with pytest.raises(InputError, match="2 to 8"):
        parse_format(name)


def test_encoding_refuses_a_value_between_codes():
    with pytest.raises(ValueError, match=r"0\.3 is not a value of E2M1"):
        encode(np.array([0.5, 0.3]), parse_format("E2M1"))


def test_all_formats_of_four_bits():
    assert [f.name for f in all_formats(4)] == ["E1M2", "E2M1", "E3M0", "INT4"]
    assert [f.name for f in minifloats(3, signed=False)] == ["UE1M2", "UE2M1", "UE3M0"]
    assert IntegerFormat(bits=4).name == "INT4"
