"""The Liberty reader: functions against Python's operators, units and table layouts, what it says of a bad file."""

import itertools

import numpy as np
import pytest

from stages.hardware.liberty import read_library
from stages.hardware.liberty_syntax import truth_table
from stages.lib.core.errors import InputError
from tests.unit.hardware.tiny_gates import CELLS, HIDDEN_FJ, LOADS, SLEWS, library_text

EXPRESSIONS = {
    "!(A & B)": lambda A, B, C, D: not (A and B),
    "(A'B) + C": lambda A, B, C, D: (not A and B) or C,
    "A B ^ C | D": lambda A, B, C, D: (A and (B != C)) or D,  # ^ binds tighter than "and"
    "!A * B' + !(C D)'": lambda A, B, C, D: (not A and not B) or (C and D),
    "(A & 1) ^ (B | 0)": lambda A, B, C, D: A != B,
}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_functions_have_the_truth_table_of_pythons_operators(expression):
    table = truth_table(expression, "ABCD")
    for values in itertools.product((False, True), repeat=4):
        assignment = sum(v << i for i, v in enumerate(values))
        assert bool(table >> assignment & 1) == bool(EXPRESSIONS[expression](*values))


@pytest.mark.parametrize("expression", ["A &", "(A", "A ) B", "A & E", ""])
def test_an_expression_that_is_none_is_refused(expression):
    with pytest.raises(ValueError, match=r"names|lacks|should end"):
        truth_table(expression, "ABCD")


@pytest.fixture
def read(tmp_path):
    def read(text, **options):
        path = tmp_path / "cells.lib"
        path.write_text(text)
        return read_library(path, **options)

    return read


def test_tables_hold_what_the_file_says(read):
    library = read(library_text())
    arc = library.cell("NAND2").outputs[0].timing[1]
    expected = [[CELLS["NAND2"][1]["Y"][1][1].rise(slew, load) for load in LOADS] for slew in SLEWS]
    np.testing.assert_allclose(arc.delay[1].values, expected)
    np.testing.assert_array_equal(arc.delay[1].slew_ns, SLEWS)
    np.testing.assert_array_equal(arc.delay[1].load_ff, LOADS)
    assert library.cell("XOR2").outputs[0].timing[0].when == 0b0011  # !B: assignments 0 and 1
    assert library.cell("HA").input_energy[0].energy[0].values.ravel().tolist() == [HIDDEN_FJ] * 3


def test_units_and_the_order_of_axes_do_not_change_a_cell(read):
    plain = read(library_text()).cell("AOI21").outputs[0]
    other = library_text().replace('time_unit : "1ns"', 'time_unit : "1ps"').replace("(1, ff)", "(0.01, pf)")
    # the same numbers in the new units: 1 ns = 1000 ps, 1 fF = 0.1 of 10 fF
    other = _scaled(other, SLEWS, 1000)
    other = _scaled(other, LOADS, 0.1)
    for table in ("cell_fall", "cell_rise", "fall_transition", "rise_transition"):
        other = _scaled_tables(other, table, 1000)
    scaled = read(other).cell("AOI21").outputs[0]
    for arc, twin in zip(plain.timing, scaled.timing, strict=True):
        for table, same in zip((*arc.delay, *arc.slew), (*twin.delay, *twin.slew), strict=True):
            for name in ("slew_ns", "load_ff", "values"):
                np.testing.assert_allclose(getattr(same, name), getattr(table, name), rtol=1e-12)


def test_a_table_with_the_load_first_is_turned_round(read):
    text = library_text()
    swapped = text.replace(
        "variable_1 : input_net_transition; variable_2 : total_output_net_capacitance",
        "variable_1 : total_output_net_capacitance; variable_2 : input_net_transition",
    )
    table = read(swapped).cell("INV").outputs[0].timing[0].delay[0]
    # the same 12 numbers, now read as 3 loads by 4 slews
    original = read(text).cell("INV").outputs[0].timing[0].delay[0]
    np.testing.assert_array_equal(table.values, original.values.T)
    np.testing.assert_array_equal(table.load_ff, SLEWS)
    np.testing.assert_array_equal(table.slew_ns, LOADS)


def test_the_wire_load_is_an_option(read):
    assert read(library_text()).wire_load is None
    wire = read(library_text(), wire_load=True).wire_load
    # length 1 at fan-out 1, 4 at 3, between them on a line, 2 more for every further load; 0.5 fF a unit
    assert [wire.net_capacitance_ff(n) for n in (0, 1, 2, 3, 5)] == [0, 0.5, 1.25, 2.0, 4.0]


def test_a_file_that_is_cut_off_anywhere_says_so(read):
    text = library_text().rstrip()
    for end in range(0, len(text) - 1, 97):
        with pytest.raises(InputError, match=r"cut off|not a Liberty file"):
            read(text[:end])


@pytest.mark.parametrize(
    ("old", "new", "cell", "sentence"),
    [
        (
            "cell_rise (grid)",
            "cell_rice (grid)",
            "NAND2",
            r"cell NAND2 lacks the table cell_rise from A to Y",
        ),
        ('related_pin : "B"', 'related_pin : "A"', "NAND2", r"cell NAND2 lacks a timing arc from B to Y"),
        ("index_2", "index_3", "INV", r"cell INV has a table cell_fall without index_2"),
        ('function : "!A"', 'function : "!Z"', "INV", r"cell INV has an expression .* names 'Z'"),
        ("total_output_net_capacitance", "related_out_capacitance", "INV", r"over related_out_capacitance"),
        ("", "", "NOR9", r"has no cell NOR9"),
        ("", "", "DFF", r"cell DFF is sequential"),
    ],
)
def test_what_is_missing_is_named_when_the_cell_is_used(read, old, new, cell, sentence):
    library = read(library_text().replace(old, new))
    with pytest.raises(InputError, match=sentence):
        library.cell(cell)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("table_lookup", "generic_cmos", "delay model generic_cmos"),
        ("capacitive_load_unit (1, ff);", "", "capacitive_load_unit"),
        ("nom_voltage : 2.0;", "", "nom_voltage"),
        ('time_unit : "1ns"', 'time_unit : "1fortnight"', "fortnight"),
        ('default_wire_load : "small"', 'default_wire_load : "huge"', "huge"),
    ],
)
def test_a_header_that_cannot_be_used_is_refused(read, old, new, sentence):
    with pytest.raises(InputError, match=sentence):
        read(library_text().replace(old, new), wire_load=True)


def _scaled(text, axis, factor):
    return text.replace(
        ", ".join(repr(float(x)) for x in axis), ", ".join(repr(float(x) * factor) for x in axis)
    )


def _scaled_tables(text, table, factor):
    head, *parts = text.split(f"{table} (grid) {{ values (")
    for i, part in enumerate(parts):
        numbers, rest = part.split(");", 1)
        rows = [
            '"' + ", ".join(repr(float(x) * factor) for x in row.strip().strip('"').split(",")) + '"'
            for row in numbers.split(", \\\n")
        ]
        parts[i] = ", \\\n".join(rows) + ");" + rest
    return f"{table} (grid) {{ values (".join([head, *parts])
