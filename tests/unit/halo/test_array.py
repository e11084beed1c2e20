"""Modelled time and energy against closed forms: one big layer that waits for arithmetic alone, or for memory alone."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from stages.halo.array import (
    BASE,
    BASE_GHZ,
    LOW_V,
    SPMV_LANES,
    Arm,
    Multiplier,
    Stored,
    at_equal_power,
    baselines,
    costs_of,
    counted,
    divided,
    halo_arm,
    raised,
    transitions,
)
from stages.lib.core.errors import InputError
from stages.lib.costs.dvfs import HALO_ARRAY_LEVELS, DvfsLevel
from stages.lib.costs.model_shapes import decoder_layers, decoder_shape
from stages.lib.costs.systolic import ArrayEnergy, SystolicArray

ARRAY = SystolicArray(double_buffered=True)
ENERGY = ArrayEnergy(mac_fj=0.0)
M, K, N, TIMES = 4096, 1024, 512, 3


def layers(*names: str) -> pd.DataFrame:
    table = pd.DataFrame({"m": M, "k": K, "n": N, "groups": 1, "weight_name": list(names) or ["w"] * TIMES})
    return counted(table).assign(pass_name="prompt")


def arm(**changes) -> Arm:
    return replace(
        Arm(name="W8A8", weight_bits=8, levels=(BASE,), mac_fj=(100.0,), plain_fj=100.0), **changes
    )


def cost(a: Arm, table=None, array=ARRAY, **options) -> pd.Series:
    return costs_of(a, layers() if table is None else table, array, ENERGY, **options).loc["prompt"]


def test_time_and_energy_in_closed_form():
    found = cost(arm())
    tiles = K // 128 * (N // 128)
    cycles = TIMES * (128 + tiles * (M + 254))
    assert found["time_ms"] == pytest.approx(cycles / BASE_GHZ / 1e6)
    assert found["energy_mj"] == pytest.approx(TIMES * M * K * N * 100 / 1e12)
    assert found["power_w"] == pytest.approx(found["energy_mj"] / found["time_ms"])


def test_classes_follow_each_other_and_energy_goes_with_the_square_of_the_voltage():
    low, high = HALO_ARRAY_LEVELS[2], HALO_ARRAY_LEVELS[1]
    mixed = cost(arm(levels=(low, high), level_share=(0.3, 0.7), mac_fj=(50.0, 80.0)))
    plain = cost(arm())
    assert mixed["time_ms"] / plain["time_ms"] == pytest.approx(0.3 * 1.9 / 3.7 + 0.7 * 1.9 / 2.4)
    assert mixed["energy_mj"] / plain["energy_mj"] == pytest.approx((0.3 * 50 * 1.44 + 0.7 * 80 * 1.21) / 100)


def test_a_pass_that_waits_for_memory_gains_from_bits_and_not_from_the_clock():
    slow = replace(ARRAY, dram_gb_s=1.0)
    plain, fast = (cost(arm(levels=levels), array=slow) for levels in ((BASE,), (HALO_ARRAY_LEVELS[2],)))
    assert fast["time_ms"] == pytest.approx(plain["time_ms"])
    one_token = layers().assign(m=1)
    ratio = cost(arm(weight_bits=4), one_token, slow)["time_ms"] / cost(arm(), one_token, slow)["time_ms"]
    assert ratio == pytest.approx(0.5, abs=0.01)


def test_attention_runs_at_the_base_level_beside_halos_tiles():
    both = cost(arm(levels=HALO_ARRAY_LEVELS[2:], mac_fj=(0.0,)), layers("w"))
    levels = (HALO_ARRAY_LEVELS[2], HALO_ARRAY_LEVELS[1])
    halo = arm(levels=levels, mac_fj=(0.0, 0.0), level_share=(1.0, 0.0))
    with_attention = cost(halo, layers("w", ""))
    assert with_attention["time_ms"] - both["time_ms"] == pytest.approx(cost(arm(), layers("w"))["time_ms"])
    assert with_attention["energy_mj"] == pytest.approx(M * K * N * 100 / 1e12)


def test_weights_apart_work_beside_the_array_until_they_take_longer():
    few, many = (cost(arm(sparse_share=share)) for share in (0.001, 0.5))
    assert few["time_ms"] == cost(arm())["time_ms"]
    assert few["energy_mj"] == pytest.approx(1.001 * cost(arm())["energy_mj"])
    assert many["time_ms"] == pytest.approx(0.5 * TIMES * M * K * N / SPMV_LANES / BASE_GHZ / 1e6)


@pytest.mark.parametrize("parts", [2, 4])
def test_a_divided_array_has_as_many_macs_and_as_much_bandwidth(parts):
    array = replace(ARRAY, dram_gb_s=100.0, activation_bytes_per_cycle=128.0)
    small = divided(array, parts)
    assert small.rows * small.columns * parts**2 == array.rows * array.columns
    assert small.dram_gb_s * parts**2 == array.dram_gb_s
    # fewer cycles to fill: tiles of 128 take m + 254, those of 32 m + 62
    tiles, side = K * N // 128**2 * parts**2, 128 // parts
    cycles = TIMES * (side + tiles * (M + 2 * side - 2)) / parts**2
    assert cost(arm(), parts=parts)["time_ms"] == pytest.approx(cycles / BASE_GHZ / 1e6)


def test_at_equal_power_the_power_is_equal():
    target = cost(arm())["power_w"]
    for a in (arm(mac_fj=(60.0,)), arm(levels=(raised(2.5, 1.1),))):
        moved = at_equal_power(a, layers(), ARRAY, ENERGY, watts={"prompt": target})["prompt"]
        assert cost(moved)["power_w"] == pytest.approx(target, rel=0.005)
        assert (moved.levels[0].voltage_v > a.levels[0].voltage_v) == (a.levels[0].voltage_v == 1.0)
    assert at_equal_power(arm(), layers(), ARRAY, ENERGY, watts={"prompt": 100 * target}) == {}


def multiplier(slow_ns: float = 1.0) -> Multiplier:
    """Values of fewer bits are faster; energy is the number of the value."""
    weight = np.arange(-128, 128)
    ones = np.array([bin(w & 255).count("1") for w in weight])
    return Multiplier(name="toy", delay_ns=slow_ns * (0.52 + 0.06 * ones), energy_fj=np.arange(256.0))


def test_clocks_come_from_delays():
    toy = multiplier()
    assert toy.class_ghz(range(-128, 128)) == BASE_GHZ
    assert toy.class_ghz([0, 1, 64]) == pytest.approx(BASE_GHZ * 1.0 / 0.58)
    assert multiplier(7.0).class_ghz([0, 1, 64]) == pytest.approx(toy.class_ghz([0, 1, 64]))
    counts = np.zeros(256)
    counts[[10, 20]] = 1, 3
    assert toy.mean_fj(counts) == pytest.approx(17.5)


def test_readings_of_halos_levels():
    stored = Stored(
        bits=3.5, low_counts=np.ones(256), high_counts=np.ones(256), low_share=0.4, sparse_share=0.01
    )
    books = {"low": (0, 1), "high": (0, 3)}

    def of(reading):
        return halo_arm("h", multiplier(), stored, books, reading=reading, plain_fj=1.0)

    assert of("published").levels == (HALO_ARRAY_LEVELS[2], HALO_ARRAY_LEVELS[1])
    free = of("iso_voltage").levels
    assert [level.frequency_ghz for level in free] == pytest.approx([BASE_GHZ / 0.58, BASE_GHZ / 0.64])
    assert {level.voltage_v for level in free} == {1.0}
    measured = of("measured").levels
    assert [level.voltage_v for level in measured] == [1.2, 1.1]
    assert measured[0].frequency_ghz == pytest.approx(raised(free[0].frequency_ghz, LOW_V).frequency_ghz)
    with pytest.raises(InputError, match="choose published"):
        of("guessed")


def test_baselines_differ_in_one_thing_each():
    ones = Stored(bits=8.1, low_counts=np.zeros(256), high_counts=np.ones(256))
    arms = {
        a.name: a for a in baselines(multiplier(), {"rtn-w8": ones, "rtn-w4-g64": replace(ones, bits=4.25)})
    }
    w8 = arms["W8A8"]
    assert arms["W4A8"] == replace(w8, name="W4A8", weight_bits=4.25)
    over = arms["W8A8 overclocked"]
    assert over == replace(w8, name=over.name, levels=(DvfsLevel(voltage_v=1.0, frequency_ghz=3.7),))
    assert arms["FP16"].mac_fj[0] == 5 * w8.mac_fj[0]


def test_layers_that_are_alike_are_counted():
    shape = decoder_shape("opt-1.3b")
    whole = decoder_layers(shape, tokens=16, context=16)
    few = counted(whole)
    assert len(few) < 10
    assert (few["times"] * few["m"] * few["k"] * few["n"] * few["groups"]).sum() == (
        whole["m"] * whole["k"] * whole["n"] * whole["groups"]
    ).sum()


def test_transitions_by_pass_and_by_layer():
    mixed = arm(
        levels=(HALO_ARRAY_LEVELS[2], HALO_ARRAY_LEVELS[1]), mac_fj=(1.0, 1.0), level_share=(0.5, 0.5)
    )
    found = transitions(mixed, layers(), time_ns=1000)
    # three layers, each with both classes: one change inside of each, and one back to the first for the next pass
    assert found == {
        "transitions_by_pass": 2, "transition_ms_by_pass": 0.002,
        "transitions_by_layer": 4, "transition_ms_by_layer": 0.004,
    }  # fmt: skip
