"""The simulator of mapped netlists, on netlists written by hand, against integer arithmetic."""

import itertools

import numpy as np
import pytest

from stages.hardware.lut_netlist import count_cells, read_lut_netlist, simulate
from stages.hardware.mac_checks import to_bits
from stages.lib.core.errors import InputError


def cell(kind, init=None, **pins):
    connections = {pin: bits if isinstance(bits, list) else [bits] for pin, bits in pins.items()}
    return {"type": kind, "parameters": {} if init is None else {"INIT": init}, "connections": connections}


def module(inputs, outputs, **cells):
    ports = {name: {"direction": "input", "bits": bits} for name, bits in inputs.items()}
    ports |= {name: {"direction": "output", "bits": bits} for name, bits in outputs.items()}
    return {"ports": ports, "cells": cells}


def numbers(bits):
    return (bits.astype(int) << np.arange(bits.shape[1])).sum(axis=1)


def test_an_adder_on_a_carry_chain_adds():
    a, b, total = [2, 3, 4, 5], [6, 7, 8, 9], [14, 15, 16, 17]
    selects, carries = [10, 11, 12, 13], [18, 19, 20, 21]
    tables = {f"x{i}": cell("LUT2", "0110", I0=a[i], I1=b[i], O=selects[i]) for i in range(4)}
    chain = cell("CARRY4", CI="0", CYINIT="1", DI=a, S=selects, O=total, CO=carries)
    adder = module({"a": a, "b": b}, {"total": total, "carry": carries[3:]}, chain=chain, **tables)
    pairs = np.array(list(itertools.product(range(16), repeat=2)))
    stimuli = {name: to_bits(pairs[:, i].tolist(), 4) for i, name in enumerate("ab")}
    netlist = read_lut_netlist(adder)
    want = pairs.sum(axis=1) + 1
    np.testing.assert_array_equal(numbers(simulate(netlist, stimuli, output="total")), want % 16)
    np.testing.assert_array_equal(simulate(netlist, stimuli, output="carry")[:, 0], want // 16)
    counts = count_cells(adder)
    assert (counts.lut, counts.carry, counts.ff) == (4, 1, 0)


def test_tables_and_multiplexers_read_their_inputs_in_order():
    rng = np.random.default_rng(0)
    inputs = list(range(2, 8))
    init = "".join(rng.choice(["0", "1"], 64))
    low, high = cell("LUT6", init, **{f"I{i}": inputs[i] for i in range(6)}, O=10), cell("INV", I=10, O=11)
    mux = cell("MUXF7", I0=10, I1=11, S=8, O=12)
    netlist = read_lut_netlist(module({"x": inputs, "s": [8]}, {"y": [12]}, mux=mux, high=high, low=low))
    patterns = np.arange(128)
    out = simulate(
        netlist,
        {"x": to_bits((patterns % 64).tolist(), 6), "s": to_bits((patterns // 64).tolist(), 1)},
        output="y",
    )
    # INIT is written with the pattern of all ones first
    want = [int(init[63 - pattern % 64]) ^ (pattern // 64) for pattern in patterns]
    np.testing.assert_array_equal(out[:, 0], want)


@pytest.mark.parametrize(("kind", "pin", "value"), [("FDRE", "R", 0), ("FDSE", "S", 1)])
def test_registers_hold_reset_and_start_at_zero(kind, pin, value):
    register = cell(kind, C=2, D=3, CE=4, Q=6, **{pin: 5})
    netlist = read_lut_netlist(module({"d": [3], "enable": [4], "reset": [5]}, {"q": [6]}, register=register))
    rng = np.random.default_rng(1)
    d, enable, reset = rng.integers(0, 2, (3, 200, 1)).astype(np.uint8)
    seen = simulate(netlist, {"d": d, "enable": enable, "reset": reset}, output="q")[:, 0]
    held = 0
    for cycle in range(200):
        assert seen[cycle] == held
        held = value if reset[cycle] else d[cycle] if enable[cycle] else held


def test_what_cannot_be_simulated_is_named():
    with pytest.raises(InputError, match="cell block of type DSP48E2"):
        read_lut_netlist(module({"a": [2]}, {"y": [3]}, block=cell("DSP48E2", A=2, P=3)))
    loop = {"x": cell("INV", I=3, O=4), "y": cell("INV", I=4, O=3)}
    with pytest.raises(InputError, match="combinational loop"):
        read_lut_netlist(module({"a": [2]}, {"y": [3]}, **loop))
