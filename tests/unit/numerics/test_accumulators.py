"""Accumulator widths against a search over all products of codes, and against the table of the notes."""

import pytest

from stages.lib.numerics.accumulators import exact_accumulator_bits, paper_accumulator_bits
from stages.lib.numerics.formats import parse_format
from stages.quantization.verification import LENGTH, accumulator_bits_by_search, check_accumulators

# section 2.4 of the notes: (paper's formula, exact bound) at 4,608 products
TABLE = {
    "E1M1": (18, 17), "E2M0": (20, 18), "E1M2": (20, 19), "E2M1": (22, 21), "E3M0": (28, 26),
    "E1M3": (22, 21), "E2M2": (24, 23), "E3M1": (30, 29), "E2M3": (26, 25), "E3M2": (32, 31),
    "E4M1": (46, 45), "E2M4": (28, 28), "E3M3": (34, 33), "E4M2": (48, 47), "E2M5": (30, 30),
    "E3M4": (36, 36), "E4M3": (50, 49), "E5M2": (80, 79), "INT4": (22, 19),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_table_of_the_notes(name):
    format = parse_format(name)
    widths = (f(format, format, length=LENGTH) for f in (paper_accumulator_bits, exact_accumulator_bits))
    assert tuple(widths) == TABLE[name]


@pytest.mark.parametrize("a", ["E3M2", "UE3M1", "INT4", "FULLINT5", "UINT4"])
@pytest.mark.parametrize("b", ["E2M3", "FULLINT4", "UINT3"])
@pytest.mark.parametrize("length", [1, 27, 4608])
def test_mixed_operands_match_the_search(a, b, length):
    a, b = parse_format(a), parse_format(b)
    assert exact_accumulator_bits(a, b, length=length) == accumulator_bits_by_search(a, b, length=length)


def test_stated_excess_of_the_formulas():
    assert check_accumulators(LENGTH).mismatches == 0
    assert check_accumulators(4096).mismatches > 0  # a power of two: the check can fail
