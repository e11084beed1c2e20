"""The netlist reader: order and capacitances, and one sentence for everything that cannot be timed."""

import json

import numpy as np
import pytest

from stages.hardware.liberty import read_library
from stages.hardware.netlist import port_bits, port_values, read_netlist
from stages.lib.core.errors import InputError
from tests.unit.hardware.tiny_gates import PIN_FF, random_netlist, write_library, write_netlist


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return read_library(write_library(tmp_path_factory.mktemp("library")))


def test_gates_follow_what_they_read(tmp_path, library):
    for seed in range(20):
        path = random_netlist(
            tmp_path / "n.json", np.random.default_rng(seed), widths={"w": 3, "a": 3}, gates=25
        )
        netlist = read_netlist(path, library, output_load_ff=1.0)
        known = {0, 1, *(n for name in netlist.inputs for n in netlist.ports[name].nets.tolist())}
        gates = netlist.gates
        for g in range(gates.output.size):
            assert set(gates.inputs[g, : gates.fan_in[g]].tolist()) <= known
            known.add(int(gates.output[g]))
        assert known == set(range(netlist.n_nets))


def test_a_net_carries_its_pins_and_the_load_of_its_port(tmp_path, library):
    gates = [("INV", {"A": 2, "Y": 3}), ("NAND2", {"A": 3, "B": 2, "Y": 4}), ("INV", {"A": 3, "Y": 5})]
    path = write_netlist(tmp_path / "n.json", {"a": 1}, {"y": [3, 4]}, gates)
    netlist = read_netlist(path, library, output_load_ff=7.0)
    nets = {name: port.nets for name, port in netlist.ports.items()}
    capacitance = netlist.nets.capacitance_ff[:, 0]
    assert capacitance[nets["a"][0]] == 2 * PIN_FF
    assert capacitance[nets["y"][0]] == 2 * PIN_FF + 7.0
    assert capacitance[nets["y"][1]] == 7.0


def test_bits_and_integers_go_back_and_forth():
    values = np.arange(-128, 128)
    assert (port_values(port_bits(values, 8)) == values % 256).all()


INV = ("INV", {"A": 2, "Y": 3})
MISTAKES = {
    "unknown cell": (
        [("NOR7", {"A": 2, "Y": 3})],
        r"n\.json: instance g0 is a NOR7, which .*tiny\.lib does not have",
    ),
    "sequential": ([("DFF", {"D": 2, "CK": 2, "Q": 3})], r"instance g0 is the sequential cell DFF"),
    "input left out": ([("NAND2", {"A": 2, "Y": 3})], r"instance g0 \(NAND2\): its input B is not connected"),
    "input undefined": ([("INV", {"A": "x", "Y": 3})], r"instance g0, input A is not connected"),
    "no driver": ([("INV", {"A": 9, "Y": 3})], r"input A of instance g0 is driven by nothing"),
    "output without driver": ([("INV", {"A": 2, "Y": 4})], r"port y is driven by nothing"),
    "two drivers": (
        [INV, ("INV", {"A": 2, "Y": 3})],
        r"instance g1 drives a net that instance g0 drives too",
    ),
    "loop": (
        [("NAND2", {"A": 2, "B": 3, "Y": 4}), ("INV", {"A": 4, "Y": 3})],
        r"instance g\d lies in, or behind, a combinational loop",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_cannot_be_timed_is_named(tmp_path, library, mistake):
    gates, sentence = MISTAKES[mistake]
    path = write_netlist(tmp_path / "n.json", {"a": 1}, {"y": [3]}, gates)
    with pytest.raises(InputError, match=sentence):
        read_netlist(path, library, output_load_ff=1.0)


def test_modules_and_ports_that_are_not_there_are_named(tmp_path, library):
    path = write_netlist(tmp_path / "n.json", {"a": 1}, {"y": [3]}, [INV])
    with pytest.raises(InputError, match=r"n\.json has no module mac; it holds top"):
        read_netlist(path, library, output_load_ff=1.0, top="mac")
    netlist = read_netlist(path, library, output_load_ff=1.0)
    with pytest.raises(InputError, match=r"netlist top has no input port w; it has a"):
        netlist.port("w", "input")
    raw = json.loads(path.read_text())
    raw["modules"]["INV"] = raw["modules"]["top"]
    path.write_text(json.dumps(raw))
    with pytest.raises(InputError, match=r"holds the modules top, INV; say which one"):
        read_netlist(path, library, output_load_ff=1.0)
    with pytest.raises(InputError, match=r"instance g0 is the module INV; flatten the netlist"):
        read_netlist(path, library, output_load_ff=1.0, top="top")
    path.write_text(path.read_text()[:200])
    with pytest.raises(InputError, match="is not JSON"):
        read_netlist(path, library, output_load_ff=1.0)
