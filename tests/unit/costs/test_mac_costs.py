"""Choosing operators and forming ratios, on a table small enough to do by hand."""

import pandas as pd
import pytest

from stages.lib.core.errors import InputError
from stages.lib.costs.mac_costs import cheapest_operators, minifloat_ratios, read_mac_costs


def row(format, microarchitecture, lut, convert_lut, **more):
    return {
        **{"weight_format": format, "activation_format": format, "signed_w": True, "signed_a": True},
        **{"bits_w": 4, "bits_a": 4, "microarchitecture": microarchitecture, "pipeline": 0},
        **{"dsp_allowed": False, "accumulator": "exact", "accumulator_bits": 20, "lut": lut},
        **{
            "ff": 9,
            "carry": 5,
            "dsp": 0,
            "convert_lut": convert_lut,
            "ecp5_fmax_mhz": None,
            "tool_version": "",
        },
        **more,
    }


COSTS = pd.DataFrame(
    [
        row("INT4", "default", 69, 10),
        row("INT4", "rows", 40, 10),
        row("INT4", "rows", 5, 10, dsp_allowed=True),  # its DSP block is no look-up table
        row("INT4", "rows", 30, 10, pipeline=1),  # another operator: it takes a clock more
        row("E2M1", "default", 50, 30),
        row("E2M1", "rows", 60, 30),
        row("E2M1", "rows", 1, 1, activation_format="INT4"),  # mixed pairs have no integer of their width
    ]
)


def test_the_cheapest_operator_has_no_dsp_and_no_inner_register():
    best = cheapest_operators(COSTS).set_index(["weight_format", "activation_format"])
    assert best["lut"].to_dict() == {("INT4", "INT4"): 40, ("E2M1", "E2M1"): 50, ("E2M1", "INT4"): 1}


def test_ratios_are_to_the_integer_of_the_same_width():
    (ratio,) = minifloat_ratios(COSTS).to_dict("records")
    assert ratio["weight_format"] == "E2M1"
    assert ratio["ratio"] == 50 / 40
    assert ratio["ratio_converted"] == (50 + 30) / 40
    assert ratio["ratio_both_converted"] == (50 + 30) / (40 + 10)
    (plain,) = minifloat_ratios(COSTS, integer="default").to_dict("records")
    assert plain["ratio"] == 50 / 69


def test_a_file_that_is_no_cost_table_is_refused(tmp_path):
    (tmp_path / "text.parquet").write_text("lut\n1\n")
    with pytest.raises(InputError, match="is not a parquet table; make it with synthesise_macs"):
        read_mac_costs(tmp_path / "text.parquet")
    COSTS.drop(columns="carry").to_parquet(tmp_path / "short.parquet")
    with pytest.raises(InputError, match="lacks the column carry"):
        read_mac_costs(tmp_path / "short.parquet")
