"""Weight profiles: the table and its mistakes, fast values, figures of the claims, and the whole command."""

import json

import numpy as np
import pandas as pd
import pytest

from stages.hardware import measure_weight_profiles, plot_weight_profiles, profile_weights
from stages.hardware.weight_profile import fastest_class_size, spread_statistics
from stages.lib.core.errors import InputError
from stages.lib.costs.weight_values import (
    class_delay_ns,
    class_energy_fj,
    fastest_values,
    one_netlist,
    read_weight_profile,
    single_bit_values,
)
from tests.unit.hardware.tiny_gates import CELLS, PIN_FF, library_text, write_library, write_netlist

WEIGHTS = np.arange(-128, 128)


def profile(delay_ns, *, netlist="array", library="tiny", energy_fj=None):
    bits = np.array([bin(w & 255).count("1") for w in WEIGHTS])
    return pd.DataFrame(
        {
            "netlist": netlist,
            "library": library,
            "microarchitecture": netlist,
            "accumulator_bits": 0,
            "weight": WEIGHTS,
            "delay_ns": delay_ns,
            "energy_fj": bits * 10.0 if energy_fj is None else energy_fj,
            "unconstrained_delay_ns": np.max(delay_ns) + 1,
        }
    )


def popcount_delay():
    """0 for weight 0, 1 ns for one bit, one more for every further bit."""
    return np.array([bin(w & 255).count("1") for w in WEIGHTS], dtype=float)


def test_fastest_values_are_ordered_and_ties_go_to_the_small_and_positive():
    table = profile(np.abs(WEIGHTS) / 100)
    assert fastest_values(table, 7).tolist() == [0, 1, -1, 2, -2, 3, -3]
    assert (
        fastest_values(table.sample(frac=1, random_state=0), 256).tolist()
        == fastest_values(table, 256).tolist()
    )
    # a difference below the resolution is rounding, not speed
    nudged = profile(np.abs(WEIGHTS) / 100 - 1e-9 * (WEIGHTS < 0))
    assert fastest_values(nudged, 7).tolist() == [0, 1, -1, 2, -2, 3, -3]
    with pytest.raises(InputError, match="300 values are asked"):
        fastest_values(table, 300)


def test_single_bit_values_are_the_fastest_of_a_popcount_delay():
    table = profile(popcount_delay())
    assert single_bit_values().tolist() == [0, 1, 2, 4, 8, 16, 32, 64, -128]
    assert set(fastest_values(table, 9)) == set(single_bit_values())
    assert class_delay_ns(table, single_bit_values()) == 1
    assert fastest_class_size(table) == 9  # the step to two bits is the largest
    assert (
        fastest_class_size(profile(1 + 0.1 * (np.abs(WEIGHTS) > 3))) == 7
    )  # -3 to 3, none of which stops it
    assert class_energy_fj(table, single_bit_values()) == pytest.approx(80 / 9)
    statistics = spread_statistics(table)
    assert statistics["delay_ratio_9"] == 8  # 8 bits over 1
    assert statistics["delay_ratio_16"] == 4  # the seven next have 2 bits
    assert statistics["energy_ratio_9"] == pytest.approx(40 / (80 / 9))  # mean popcount of 8 bits is 4
    assert statistics["relative_spread"] == pytest.approx(7 / 8)


@pytest.fixture
def write(tmp_path):
    def write(table):
        path = tmp_path / "profile.csv"
        table.to_csv(path, index=False)
        return path

    return write


def test_a_table_comes_back_sorted(write):
    table = pd.concat([profile(popcount_delay(), netlist="b"), profile(popcount_delay(), netlist="a")])
    back = read_weight_profile(
        write(table.sample(frac=1, random_state=1).sort_values("netlist", ascending=False))
    )
    assert back["netlist"].tolist() == ["b"] * 256 + ["a"] * 256
    assert one_netlist(back, "a")["weight"].tolist() == WEIGHTS.tolist()
    with pytest.raises(InputError, match="no netlist c on any library; it has a on tiny, b on tiny"):
        one_netlist(back, "c")


MISTAKES = {
    "no column": (lambda t: t.drop(columns="energy_fj"), "lacks the column energy_fj"),
    "not a number": (lambda t: t.assign(delay_ns=["fast", *t.delay_ns[1:]]), "row 2: delay_ns is fast"),
    "missing": (lambda t: t.assign(energy_fj=[np.nan, *t.energy_fj[1:]]), "row 2: energy_fj is nan"),
    "negative": (lambda t: t.assign(delay_ns=-t.delay_ns - 1), "delay_ns is -2.0"),
    "no int8": (lambda t: t.assign(weight=t.weight * 2), "weight is -256"),
    "twice": (lambda t: pd.concat([t, t[:1]]), "has weight -128 twice"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_table_that_is_wrong_says_where(write, mistake):
    change, sentence = MISTAKES[mistake]
    with pytest.raises(InputError, match=sentence):
        read_weight_profile(write(change(profile(popcount_delay()))))


def test_claims_count_netlists_and_figures_hold_their_tables(tmp_path):
    flat, positive = np.full(256, 0.5), np.where(WEIGHTS == 64, 3.0, 2.0) - 0.5 * (WEIGHTS == -127)
    tables = [profile(popcount_delay(), netlist="tree"), profile(flat, netlist="flat"), profile(positive)]
    pd.concat(tables).to_csv(tmp_path / "p.csv", index=False)
    measure_weight_profiles.main(
        ["--profiles", str(tmp_path / "p.csv"), "--measurements", str(tmp_path / "m.json")]
    )
    found = {m["claim"]: m for m in json.loads((tmp_path / "m.json").read_text())}
    assert found["H1"]["value"] == 1  # flat
    assert found["H2"]["value"] == 1  # tree
    assert found["H3"]["value"] == 2  # flat, and array where 64 is the slowest
    assert found["H2"]["controls"]["values in the fastest class, tree on tiny"] == 9
    assert found["H3"]["controls"]["delay of 64 over that of -127, array on tiny"] == 2

    names = ["delays.svg", "delays.csv", "sensitivity.svg", "sensitivity.csv"]
    options = ["--delays", "--drawn-delays", "--sensitivity", "--drawn-sensitivity"]
    outputs = [
        word for pair in zip(options, names, strict=True) for word in (pair[0], str(tmp_path / pair[1]))
    ]
    plot_weight_profiles.main(["--profiles", str(tmp_path / "p.csv"), *outputs])
    drawn = pd.read_csv(tmp_path / "sensitivity.csv").set_index("netlist")
    assert drawn.loc["tree", "delay_ratio_9"] == 8
    assert drawn.loc["flat", "delay_ratio_9"] == 1
    assert drawn.loc["tree", "single_bit_of_9"] == 9
    assert drawn.loc["tree", "tenth_over_ninth"] == 2
    histogram = pd.read_csv(tmp_path / "delays.csv")
    assert histogram.groupby("microarchitecture")["weights"].sum().tolist() == [256] * 3
    first = (tmp_path / "sensitivity.svg").read_bytes()
    plot_weight_profiles.main(["--profiles", str(tmp_path / "p.csv"), *outputs])
    assert (tmp_path / "sensitivity.svg").read_bytes() == first


@pytest.fixture
def command(tmp_path):
    """profile_weights on a 1-bit multiplier: w and a are 0 or -1, the product's low bit is their AND."""
    gates = [("NAND2", {"A": 2, "B": 3, "Y": 4}), ("INV", {"A": 4, "Y": 5})]
    netlist = write_netlist(tmp_path / "and.json", {"w": 1, "a": 1}, {"p": [5, "0"]}, gates)
    arguments = {"--netlist": netlist, "--library": write_library(tmp_path), "--profile": tmp_path / "p.csv"}
    arguments |= {"--input-slew-ns": 0.05, "--output-load-ff": 9, "--vectors": 50}

    def command(**changed):
        changed = {f"--{key.replace('_', '-')}": value for key, value in changed.items()}
        profile_weights.main([str(word) for pair in (arguments | changed).items() for word in pair])
        return pd.read_csv(tmp_path / "p.csv")

    return command


def test_the_command_profiles_a_netlist_and_library_of_ones_own(command):
    table = command()
    assert table["weight"].tolist() == [-1, 0]
    assert table["mismatches"].sum() == 0
    nand, inverter = CELLS["NAND2"][1]["Y"][1][1], CELLS["INV"][1]["Y"][1][0]  # from B
    slow = max(
        nand.fall(0.05, PIN_FF) + inverter.rise(nand.fall_slew(0.05, PIN_FF), 9),
        nand.rise(0.05, PIN_FF) + inverter.fall(nand.rise_slew(0.05, PIN_FF), 9),
    )
    np.testing.assert_allclose(table["delay_ns"], [slow, 0], rtol=1e-12)
    np.testing.assert_allclose(table["dynamic_delay_ns"], [slow, 0], rtol=1e-12)
    assert table["energy_fj"][1] == 0 < table["energy_fj"][0]
    assert table.equals(command())  # the same seed, the same table


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"weight_port": "x"}, "no input port x; it has w, a"),
        ({"activation_port": "x"}, "no input port x"),
        ({"vectors": 1}, "--vectors is 1; choose 2 or more"),
        ({"library": "nangate46"}, "there is no library nangate46"),
        ({"top": "mac"}, "no module mac"),
    ],
)
def test_a_mistake_leaves_nothing_half_written(command, tmp_path, wrong, sentence):
    with pytest.raises(InputError, match=sentence):
        command(**wrong)
    assert not (tmp_path / "p.csv").exists()


def test_a_library_that_is_cut_in_half_leaves_nothing_half_written(command, tmp_path):
    half = tmp_path / "half.lib"
    half.write_text(library_text()[: len(library_text()) // 2])
    with pytest.raises(InputError, match="cut off; fetch it again"):
        command(library=half)
    assert not (tmp_path / "p.csv").exists()
