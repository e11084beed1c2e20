"""Mapped FPGA netlists (yosys JSON): count their cells, and simulate them cycle by cycle.

What is simulated is what is costed: the look-up tables, carry chains and registers after mapping. Every combinational
cell becomes look-up tables of at most six inputs, in topological order, which one compiled loop evaluates.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numba
import numpy as np

from stages.lib.core.errors import InputError

ZERO, ONE = 0, 1  # nets of the constants
_MUX = 0b1100_1010  # inputs (i0, i1, s): s ? i1 : i0
_XOR = 0b0110
_RESETS = {"FDRE": ("R", 0), "FDSE": ("S", 1)}  # pin and value of the synchronous reset


@dataclass(frozen=True, kw_only=True)
class LutNetlist:
    """inputs and outputs: port -> nets, lowest bit first.

    sources    (tables, 6) nets that a table reads, padded with ZERO; table bit i is the output for input pattern i
    registers  (registers, 5): nets d, q, enable and reset, and the value that reset gives
    """

    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    nets: int
    sources: np.ndarray
    tables: np.ndarray
    targets: np.ndarray
    registers: np.ndarray


@dataclass(frozen=True, kw_only=True)
class CellCounts:
    """Cells of a mapped design. carry: CARRY4 blocks; lut: LUT1 to LUT6, not paired into double outputs."""

    lut: int
    ff: int
    carry: int
    dsp: int
    muxf: int


def count_cells(module: Mapping[str, Any]) -> CellCounts:
    """Cells by kind of a module of yosys' JSON."""
    kinds = Counter(cell["type"] for cell in module["cells"].values())

    def of(*prefixes: str) -> int:
        return sum(count for kind, count in kinds.items() if kind.startswith(prefixes))

    return CellCounts(lut=of("LUT"), ff=of("FD"), carry=of("CARRY"), dsp=of("DSP"), muxf=of("MUXF"))


def read_lut_netlist(module: Mapping[str, Any]) -> LutNetlist:
    """The netlist of a module of yosys' JSON. Raises InputError at a cell that it cannot simulate (a DSP)."""
    nets: dict[int | str, int] = {"0": ZERO, "1": ONE, "x": ZERO}

    def net(bit: int | str) -> int:
        return nets.setdefault(bit, len(nets) - 1)

    ports = {"input": {}, "output": {}}
    for name, port in module["ports"].items():
        ports[port["direction"]][name] = np.array([net(bit) for bit in port["bits"]], dtype=np.int64)
    tables: list[tuple[list[int], int, int]] = []
    registers: list[tuple[int, ...]] = []
    for name, cell in module["cells"].items():
        pins = {pin: [net(bit) for bit in bits] for pin, bits in cell["connections"].items()}
        if cell["type"] in _RESETS:
            reset, value = _RESETS[cell["type"]]
            registers.append((pins["D"][0], pins["Q"][0], pins["CE"][0], pins[reset][0], value))
        else:
            tables += _tables_of(name, cell, pins)
    order = _topological_order(tables)
    sources = np.zeros((len(tables), 6), dtype=np.int64)
    for row, index in enumerate(order):
        sources[row, : len(tables[index][0])] = tables[index][0]
    return LutNetlist(
        inputs=ports["input"],
        outputs=ports["output"],
        nets=max(nets.values()) + 1,
        sources=sources,
        tables=np.array([tables[i][1] for i in order], dtype=np.uint64),
        targets=np.array([tables[i][2] for i in order], dtype=np.int64),
        registers=np.array(registers, dtype=np.int64).reshape(-1, 5),
    )


def simulate(netlist: LutNetlist, stimuli: Mapping[str, np.ndarray], *, output: str) -> np.ndarray:
    """Values of a port over time: uint8 bits (cycles, width), lowest bit first, as they stand before each clock edge.

    stimuli  input port -> uint8 bits (cycles, width); ports that are left out (the clock) stay 0. Registers start at 0.
    """
    given = [name for name in netlist.inputs if name in stimuli]
    driven = np.concatenate([netlist.inputs[name] for name in given])
    bits = np.concatenate([stimuli[name] for name in given], axis=1)
    return _run(
        np.ascontiguousarray(bits, dtype=np.uint8),
        driven,
        netlist.outputs[output],
        netlist.nets,
        netlist.sources,
        netlist.tables,
        netlist.targets,
        netlist.registers,
    )


def _tables_of(name: str, cell: Mapping[str, Any], pins: Mapping[str, list[int]]) -> Iterator[tuple]:
    kind = cell["type"]
    if kind.startswith("LUT"):
        table = int(cell["parameters"]["INIT"], 2)
        yield [pins[f"I{i}"][0] for i in range(int(kind[3:]))], table, pins["O"][0]
    elif kind == "INV":
        yield pins["I"], 0b01, pins["O"][0]
    elif kind in ("BUFG", "IBUF", "OBUF"):
        yield pins["I"], 0b10, pins["O"][0]
    elif kind in ("MUXF7", "MUXF8", "MUXF9"):
        yield [pins["I0"][0], pins["I1"][0], pins["S"][0]], _MUX, pins["O"][0]
    elif kind == "CARRY4":
        # the chain starts from CI or from CYINIT; the other one is a constant 0
        carry = pins["CI"][0] if pins["CI"][0] != ZERO else pins["CYINIT"][0]
        for data, select, total, out in zip(pins["DI"], pins["S"], pins["O"], pins["CO"], strict=True):
            yield [select, carry], _XOR, total
            yield [data, carry, select], _MUX, out
            carry = out
    else:
        raise InputError(f"the cell {name} of type {kind} cannot be simulated; map the design without it")


def _topological_order(tables: list[tuple[list[int], int, int]]) -> list[int]:
    drivers = {target: index for index, (_, _, target) in enumerate(tables)}
    graph = {
        index: [drivers[net] for net in sources if net in drivers]
        for index, (sources, _, _) in enumerate(tables)
    }
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise InputError("the netlist has a combinational loop; it cannot be simulated") from error


@numba.njit(cache=True)
def _run(bits, driven, observed, nets, sources, tables, targets, registers):
    """bits uint8 (cycles, inputs), C-contiguous -> uint8 (cycles, observed)."""
    value = np.zeros(nets, dtype=np.uint8)
    value[1] = 1
    held = np.zeros(registers.shape[0], dtype=np.uint8)
    seen = np.empty((bits.shape[0], observed.size), dtype=np.uint8)
    for cycle in range(bits.shape[0]):
        for i in range(driven.size):
            value[driven[i]] = bits[cycle, i]
        for i in range(held.size):
            value[registers[i, 1]] = held[i]
        for k in range(tables.size):
            pattern = 0
            for i in range(6):
                pattern |= value[sources[k, i]] << i
            value[targets[k]] = (tables[k] >> np.uint64(pattern)) & np.uint64(1)
        for i in range(held.size):
            if value[registers[i, 3]]:
                held[i] = registers[i, 4]
            elif value[registers[i, 2]]:
                held[i] = value[registers[i, 0]]
        for i in range(observed.size):
            seen[cycle, i] = value[observed[i]]
    return seen
