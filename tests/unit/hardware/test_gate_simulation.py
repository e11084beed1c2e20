"""The event simulation: values by Python's operators, delays within static timing, energies and pulses by hand."""

import numpy as np
import pytest

from stages.hardware.gate_simulation import simulate
from stages.hardware.liberty import read_library
from stages.hardware.netlist import read_netlist
from stages.hardware.static_timing import case_delays_ns
from tests.unit.hardware.tiny_gates import (
    CELLS,
    ENERGY_FJ,
    HIDDEN_FJ,
    PIN_FF,
    VOLTAGE,
    evaluate,
    output_value,
    random_netlist,
    write_library,
    write_netlist,
)

SLEW = 0.05
LOAD = 9.0


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return read_library(write_library(tmp_path_factory.mktemp("library")))


def test_values_are_exact_and_no_output_settles_later_than_static_timing_says(tmp_path, library):
    compared = 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        path = random_netlist(tmp_path / "n.json", rng, widths={"w": 3, "a": 4}, gates=30)
        netlist = read_netlist(path, library, output_load_ff=LOAD)
        weights, activations = np.arange(8), rng.integers(0, 16, 60)
        activity = simulate(netlist, {"w": weights}, {"a": activations}, input_slew_ns=SLEW)
        static = case_delays_ns(netlist, {"w": weights}, input_slew_ns=SLEW)
        assert (activity.settle_ns <= static[:, None]).all()
        for w in weights:
            expected = [
                output_value(path, evaluate(path, {"w": int(w), "a": int(a)})) for a in activations[1:]
            ]
            assert activity.outputs["y"][w].tolist() == expected
        compared += activity.outputs["y"].size
        assert (activity.settled_toggles <= activity.toggles).all()
        # a net that switches more often than it changes does so an even number of times more
        assert ((activity.toggles - activity.settled_toggles) % 2 == 0).all()
    assert compared == 25 * 8 * 59


def test_the_only_path_of_a_chain_is_as_slow_as_static_timing_says(tmp_path, library):
    gates = [("INV", {"A": 2 + i, "Y": 3 + i}) for i in range(5)]
    netlist = read_netlist(
        write_netlist(tmp_path / "n.json", {"a": 1}, {"y": [7]}, gates), library, output_load_ff=LOAD
    )
    activity = simulate(netlist, {}, {"a": np.array([0, 1, 0])}, input_slew_ns=SLEW)
    assert activity.settle_ns.max() == case_delays_ns(netlist, {}, input_slew_ns=SLEW)[0]
    assert activity.toggles.tolist() == [[5, 5]]


def test_energy_is_that_of_each_edge(tmp_path, library):
    """Inverter: internal energy and 0.5 C V^2 of one edge. Half adder: both outputs, and the input's own energy."""
    netlist = read_netlist(
        write_netlist(tmp_path / "n.json", {"a": 1}, {"y": [3]}, [("INV", {"A": 2, "Y": 3})]),
        library,
        output_load_ff=LOAD,
    )
    activity = simulate(netlist, {}, {"a": np.array([0, 1, 0, 0])}, input_slew_ns=SLEW)
    fall, rise = ENERGY_FJ["INV"]
    charge = 0.5 * LOAD * VOLTAGE**2
    np.testing.assert_allclose(activity.energy_fj, [[fall + charge, rise + charge, 0]])

    adder = [("HA", {"A": 2, "B": 3, "S": 4, "CO": 5})]
    path = write_netlist(
        tmp_path / "h.json", {"b": 1, "a": 1}, {"y": [4, 5]}, [("HA", {**adder[0][1], "A": 3, "B": 2})]
    )
    netlist = read_netlist(path, library, output_load_ff=LOAD)
    activity = simulate(netlist, {"b": np.array([0, 1])}, {"a": np.array([0, 1])}, input_slew_ns=SLEW)
    fall, rise = ENERGY_FJ["HA"]
    # b = 0: S rises and A's energy is spent; b = 1: S falls and CO rises
    np.testing.assert_allclose(
        activity.energy_fj[:, 0], [rise + charge + HIDDEN_FJ, fall + rise + 2 * charge]
    )


@pytest.mark.parametrize("buffers", [0, 1])
def test_a_pulse_shorter_than_the_gate_is_swallowed(tmp_path, library, buffers):
    """a XOR delayed a: through one inverter the pulse is shorter than the XOR's delay, with a buffer it is longer."""
    gates = [
        ("INV", {"A": 2, "Y": 3}),
        ("BUF", {"A": 3, "Y": 4}),
        ("XOR2", {"A": 2, "B": 3 + buffers, "Y": 5}),
    ]
    netlist = read_netlist(
        write_netlist(tmp_path / "n.json", {"a": 1}, {"y": [5]}, gates), library, output_load_ff=LOAD
    )
    inverter, xor = CELLS["INV"][1]["Y"][1][0], CELLS["XOR2"][1]["Y"][1]
    assert inverter.fall(SLEW, 3 * PIN_FF) < xor[1].fall(SLEW, LOAD)
    assert CELLS["BUF"][1]["Y"][1][0].fall(0, 0) > xor[1].fall(SLEW, LOAD)
    activity = simulate(netlist, {}, {"a": np.array([0, 1])}, input_slew_ns=SLEW)
    # inverter and buffer switch once each; the XOR not at all, or down and up again
    assert activity.toggles[0, 0] == 2 + 2 * buffers
    assert activity.settled_toggles[0, 0] == 2
