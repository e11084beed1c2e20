"""Static timing: tables against scipy, chains and edges by hand, constants by brute force, and laws."""

import itertools
import json
import re

import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from stages.hardware.liberty import read_library
from stages.hardware.netlist import Tables, read_netlist
from stages.hardware.static_timing import CHANGING, NEVER, case_delays_ns, case_timing, lookup
from tests.unit.hardware.tiny_gates import (
    CELLS,
    LOADS,
    PIN_FF,
    SLEWS,
    evaluate,
    library_text,
    random_netlist,
    write_library,
    write_netlist,
)

SLEW = 0.05
LOAD = 9.0


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return read_library(write_library(tmp_path_factory.mktemp("library")))


def test_lookup_is_bilinear_and_extrapolates_as_scipy_does():
    rng = np.random.default_rng(0)
    slew, load = np.sort(rng.random(5)), np.sort(rng.random(7)) * 30
    values = rng.random((5, 7))
    tables = Tables(
        shape=np.array([[5, 7]]), slew_ns=slew[None].repeat(1, 0), load_ff=load[None], values=values[None]
    )
    grid = RegularGridInterpolator((slew, load), values, bounds_error=False, fill_value=None)
    points = rng.uniform([-0.3, -10], [1.5, 50], size=(2000, 2))
    ours = [lookup(0, x, y, tables) for x, y in points]
    np.testing.assert_allclose(ours, grid(points), rtol=1e-9, atol=1e-9)


def test_a_gate_is_as_slow_as_its_tables_at_its_load(tmp_path):
    """Tables without any law, slews inside and outside the grid, loads between its points."""
    rng = np.random.default_rng(1)
    text = library_text()
    tables = iter(rng.random((4, len(SLEWS), len(LOADS))))
    drawn = {}

    def redraw(match):
        drawn[match[1]] = next(tables)
        rows = ", ".join('"' + ", ".join(map(str, row)) + '"' for row in drawn[match[1]])
        return f"{match[1]} (grid) {{ values ({rows}); }}"

    text = re.sub(r"(\w+) \(grid\) \{ values \(.*?\); \}", redraw, text, count=4, flags=re.DOTALL)
    assert set(drawn) == {
        "cell_fall",
        "cell_rise",
        "fall_transition",
        "rise_transition",
    }  # of INV, the first cell
    (tmp_path / "kinked.lib").write_text(text)
    library = read_library(tmp_path / "kinked.lib")
    path = write_netlist(tmp_path / "n.json", {"a": 1}, {"y": [3]}, [("INV", {"A": 2, "Y": 3})])
    for load in (0.5, 2.0, 9.0, 60.0):
        netlist = read_netlist(path, library, output_load_ff=load)
        for slew in (0.003, 0.01, 0.07, 0.1, 0.25, 0.8):
            timing = case_timing(netlist, {}, input_slew_ns=slew)
            for found, names in (
                (timing.arrival_ns, ("cell_fall", "cell_rise")),
                (timing.slew_ns, ("fall_transition", "rise_transition")),
            ):
                grids = [
                    RegularGridInterpolator((SLEWS, LOADS), drawn[n], bounds_error=False, fill_value=None)
                    for n in names
                ]
                expected = [max(0.0, grid((slew, load)).item()) for grid in grids]
                np.testing.assert_allclose(np.maximum(found[netlist.output_nets[0]], 0), expected, rtol=1e-9)


def test_a_chain_of_inverters_adds_up_by_hand(tmp_path, library):
    n = 5
    gates = [("INV", {"A": 2 + i, "Y": 3 + i}) for i in range(n)]
    path = write_netlist(tmp_path / "n.json", {"a": 1}, {"y": [2 + n]}, gates)
    netlist = read_netlist(path, library, output_load_ff=LOAD)
    arc = CELLS["INV"][1]["Y"][1][0]
    edges = {}
    for first in ("fall", "rise"):
        edge, time, slew = first, 0.0, SLEW
        for i in range(n):
            load = PIN_FF if i < n - 1 else LOAD
            edge = "rise" if edge == "fall" else "fall"
            time, slew = time + getattr(arc, edge)(slew, load), getattr(arc, f"{edge}_slew")(slew, load)
        edges[edge] = (time, slew)
    timing = case_timing(netlist, {}, input_slew_ns=SLEW)
    last = netlist.ports["y"].nets[0]
    np.testing.assert_allclose(timing.arrival_ns[last], [edges["fall"][0], edges["rise"][0]], rtol=1e-12)
    np.testing.assert_allclose(timing.slew_ns[last], [edges["fall"][1], edges["rise"][1]], rtol=1e-12)
    assert case_delays_ns(netlist, {}, input_slew_ns=SLEW)[0] == timing.arrival_ns[last].max()


@pytest.mark.parametrize("b", [0, 1])
def test_a_constant_leaves_an_xor_one_arc_and_one_direction(tmp_path, library, b):
    """An inverter before the XOR makes its falling edge late: which edge arrives last tells the direction."""
    gates = [("INV", {"A": 3, "Y": 4}), ("XOR2", {"A": 4, "B": 2, "Y": 5})]
    path = write_netlist(tmp_path / "n.json", {"b": 1, "a": 1}, {"y": [5]}, gates)
    netlist = read_netlist(path, library, output_load_ff=LOAD)
    inverter, arcs = CELLS["INV"][1]["Y"][1][0], CELLS["XOR2"][1]["Y"][1]
    arc = arcs[b]  # when !B, when B
    expected = {}
    for edge in ("fall", "rise"):
        out = edge if b == 0 else {"fall": "rise", "rise": "fall"}[edge]
        start = getattr(inverter, edge)(SLEW, PIN_FF)
        slew = getattr(inverter, f"{edge}_slew")(SLEW, PIN_FF)
        expected[out] = start + getattr(arc, out)(slew, LOAD)
    timing = case_timing(netlist, {"b": b}, input_slew_ns=SLEW)
    found = timing.arrival_ns[netlist.ports["y"].nets[0]]
    np.testing.assert_allclose(found, [expected["fall"], expected["rise"]], rtol=1e-12)


def test_an_and_with_a_constant_zero_has_no_path(tmp_path, library):
    gates = [("NAND2", {"A": 2, "B": 3, "Y": 4}), ("INV", {"A": 4, "Y": 5})]
    path = write_netlist(tmp_path / "n.json", {"w": 1, "a": 1}, {"y": [5]}, gates)
    netlist = read_netlist(path, library, output_load_ff=LOAD)
    delays = case_delays_ns(netlist, {"w": np.array([0, 1])}, input_slew_ns=SLEW)
    assert delays[0] == 0 < delays[1]
    timing = case_timing(netlist, {"w": 0}, input_slew_ns=SLEW)
    assert (timing.arrival_ns[netlist.ports["y"].nets] == NEVER).all()


def test_laws_on_random_netlists(tmp_path, library):
    """A net called constant is so for every input; constants never lengthen a path; a sweep is its single cases."""
    for seed in range(15):
        rng = np.random.default_rng(seed)
        path = random_netlist(tmp_path / "n.json", rng, widths={"w": 3, "a": 3}, gates=20)
        netlist = read_netlist(path, library, output_load_ff=LOAD)
        weights = np.arange(8)
        delays = case_delays_ns(netlist, {"w": weights}, input_slew_ns=SLEW)
        assert (delays <= case_delays_ns(netlist, {}, input_slew_ns=SLEW)[0]).all()
        numbers = _net_numbers(path, netlist)
        for w in weights:
            timing = case_timing(netlist, {"w": int(w)}, input_slew_ns=SLEW)
            assert delays[w] == max(0.0, timing.arrival_ns[netlist.output_nets].max())
            runs = [evaluate(path, {"w": int(w), "a": a}) for a in range(8)]
            for net, value in ((net, timing.values[k]) for net, k in numbers.items()):
                assert value == CHANGING or {run[net] for run in runs} == {bool(value)}


def _net_numbers(path, netlist):
    """The file's net -> ours, from the order in which both are met: ports, then pins of the instances."""
    module = json.loads(path.read_text())["modules"]["top"]
    bits = itertools.chain(
        (bit for port in module["ports"].values() for bit in port["bits"]),
        (bits[0] for cell in module["cells"].values() for bits in cell["connections"].values()),
    )
    return {bit: k + 2 for k, bit in enumerate(dict.fromkeys(bits))}
