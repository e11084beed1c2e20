"""A yosys JSON netlist on a cell library, as the flat arrays that timing and simulation run over.

Nets 0 and 1 are the constants. A gate is one output of a cell instance; gates stand in topological order.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stages.hardware.liberty import MAX_INPUTS, Cell, EnergyArc, Library, LookupTable, Output
from stages.lib.core.artifacts import read_json
from stages.lib.core.errors import InputError

NO_TABLE = -1


class Tables(NamedTuple):
    """All lookup tables, padded to one size. Rows are input slews, columns output loads; `shape` (n, 2) counts them."""

    shape: np.ndarray
    slew_ns: np.ndarray
    load_ff: np.ndarray
    values: np.ndarray


class Gates(NamedTuple):
    """Gates and, in compressed rows `X_start[g] .. X_start[g + 1]`, their arcs. int64, masks uint64.

    output (G,), inputs (G, 6) nets, fan_in (G,), truth (G,)
    arc_*     timing arcs: input, when, delay and slew tables of the (falling, rising) output
    energy_*  internal energy of a switching output, by the input that causes it
    hidden_*  internal energy of a switching input, whatever the output does: (falling, rising) input
    """

    output: np.ndarray
    inputs: np.ndarray
    fan_in: np.ndarray
    truth: np.ndarray
    arc_start: np.ndarray
    arc_input: np.ndarray
    arc_when: np.ndarray
    arc_delay: np.ndarray
    arc_slew: np.ndarray
    energy_start: np.ndarray
    energy_input: np.ndarray
    energy_when: np.ndarray
    energy_table: np.ndarray
    hidden_start: np.ndarray
    hidden_input: np.ndarray
    hidden_when: np.ndarray
    hidden_table: np.ndarray


class Nets(NamedTuple):
    """Per net: capacitance_ff (N, 2) for (fall, rise), and the gate pins it drives, in compressed rows."""

    capacitance_ff: np.ndarray
    load_start: np.ndarray
    load_gate: np.ndarray
    load_pin: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Port:
    direction: str  # "input" or "output"
    nets: np.ndarray  # least significant bit first


@dataclass(frozen=True, kw_only=True)
class Netlist:
    name: str
    library: str
    voltage_v: float
    ports: dict[str, Port]
    gates: Gates
    nets: Nets
    tables: Tables
    cells: int
    levels: int  # gates on the longest path
    area_um2: float

    @property
    def n_nets(self) -> int:
        return len(self.nets.capacitance_ff)

    @property
    def inputs(self) -> list[str]:
        return [name for name, port in self.ports.items() if port.direction == "input"]

    @property
    def output_nets(self) -> np.ndarray:
        return np.concatenate([port.nets for port in self.ports.values() if port.direction == "output"])

    def port(self, name: str, direction: str) -> Port:
        port = self.ports.get(name)
        if port is None or port.direction != direction:
            names = [n for n, p in self.ports.items() if p.direction == direction]
            raise InputError(f"netlist {self.name} has no {direction} port {name}; it has {', '.join(names)}")
        return port


class _Instance(NamedTuple):
    name: str
    cell: Cell
    nets: dict[str, int]


def read_netlist(
    path: str | Path, library: Library, *, output_load_ff: float, top: str | None = None
) -> Netlist:
    """A flattened, combinational netlist that yosys wrote with write_json.

    output_load_ff  capacitance at every bit of an output port
    top             the module; the only one where the file holds only one
    Raises InputError, naming file and instance, for an unknown or sequential cell, a submodule, an input without a
    driver, a net with two, and a combinational loop.
    """
    raw = read_json(path)
    name, module = _module(path, raw, top)
    numbering = {"0": 0, "1": 1}
    ports = {
        name: Port(
            direction=port["direction"], nets=_numbers(port["bits"], numbering, f"{path}: port {name}")
        )
        for name, port in module["ports"].items()
    }
    instances = [
        _instance(path, name, cell, library, numbering, raw["modules"])
        for name, cell in module["cells"].items()
    ]
    gates = [(instance, output) for instance in instances for output in instance.cell.outputs]
    gates = [(instance, output) for instance, output in gates if output.name in instance.nets]
    _check_drivers(path, ports, gates, instances, numbering)
    gates, levels = _levelise(path, gates)
    tables = _TableStore()
    return Netlist(
        name=name,
        library=library.name,
        voltage_v=library.voltage_v,
        ports=ports,
        gates=_gate_arrays(gates, tables),
        nets=_net_arrays(len(numbering), ports, gates, instances, library, output_load_ff),
        tables=tables.packed(),
        cells=len(instances),
        levels=levels,
        area_um2=sum(instance.cell.area_um2 for instance in instances),
    )


def port_values(bits: np.ndarray) -> np.ndarray:
    """Unsigned integers of bits (..., width), least significant first."""
    return (bits.astype(np.int64) << np.arange(bits.shape[-1])).sum(axis=-1)


def port_bits(values: np.ndarray, width: int) -> np.ndarray:
    """Two's complement bits (..., width) uint8 of integers, least significant first."""
    return ((np.asarray(values, dtype=np.int64)[..., None] >> np.arange(width)) & 1).astype(np.uint8)


def _module(path: str | Path, raw: Any, top: str | None) -> tuple[str, dict[str, Any]]:
    modules = raw.get("modules") if isinstance(raw, dict) else None
    if not modules:
        raise InputError(f"{path} holds no module; write it with the yosys command write_json")
    if top is None and len(modules) > 1:
        raise InputError(f"{path} holds the modules {', '.join(modules)}; say which one is the top")
    top = top or next(iter(modules))
    if top not in modules:
        raise InputError(f"{path} has no module {top}; it holds {', '.join(modules)}")
    return top, modules[top]


def _numbers(bits: Iterable[int | str], numbering: dict[int | str, int], where: str) -> np.ndarray:
    """Nets 0, 1, 2, ... of yosys' bits, given out in the order in which they are met."""
    bits = list(bits)
    if "x" in bits or "z" in bits:
        raise InputError(f"{where} is not connected to anything; connect it and synthesise again")
    return np.array([numbering.setdefault(bit, len(numbering)) for bit in bits], dtype=np.int64)


def _instance(
    path: str | Path,
    name: str,
    raw: Mapping[str, Any],
    library: Library,
    numbering: dict[int | str, int],
    modules: Mapping[str, Any],
) -> _Instance:
    kind = raw["type"]
    where = f"{path}: instance {name}"
    if kind in modules:
        raise InputError(
            f"{where} is the module {kind}; flatten the netlist (yosys: flatten) and write it again"
        )
    if kind not in library.cell_groups:
        raise InputError(
            f"{where} is a {kind}, which {library.path} does not have; map the netlist to this library, "
            "or give the library it is mapped to"
        )
    if library.is_sequential(kind):
        raise InputError(
            f"{where} is the sequential cell {kind}; give the combinational logic between two registers only"
        )
    cell = library.cell(kind)
    nets = {}
    for pin, bits in raw["connections"].items():
        if bits and (pin in cell.inputs or bits[0] not in ("x", "z")):
            nets[pin] = int(_numbers(bits, numbering, f"{where}, input {pin}")[0])
    if missing := [pin for pin in cell.inputs if pin not in nets]:
        raise InputError(
            f"{where} ({kind}): its input {missing[0]} is not connected; connect it and synthesise again"
        )
    return _Instance(name, cell, nets)


def _check_drivers(
    path: str | Path,
    ports: Mapping[str, Port],
    gates: list[tuple[_Instance, Output]],
    instances: list[_Instance],
    numbering: Mapping[int | str, int],
) -> None:
    """Every net that is read has exactly one driver: a constant, an input port or a gate."""
    drivers = {0: "the constant 0", 1: "the constant 1"}
    sources = [
        (net, f"port {n}") for n, p in ports.items() if p.direction == "input" for net in p.nets.tolist()
    ]
    sources += [(instance.nets[output.name], f"instance {instance.name}") for instance, output in gates]
    for net, source in sources:
        if net in drivers:
            raise InputError(
                f"{path}: {source} drives a net that {drivers[net]} drives too; give every net one driver"
            )
        drivers[net] = source
    if both := [n for n, p in ports.items() if p.direction not in ("input", "output")]:
        raise InputError(
            f"{path}: port {both[0]} is {ports[both[0]].direction}; only inputs and outputs are known"
        )
    readers = [(i.nets[pin], f"input {pin} of instance {i.name}") for i in instances for pin in i.cell.inputs]
    readers += [
        (net, f"port {n}") for n, p in ports.items() if p.direction == "output" for net in p.nets.tolist()
    ]
    for net, reader in readers:
        if net not in drivers:
            raise InputError(f"{path}: {reader} is driven by nothing; connect it and synthesise again")


def _levelise(
    path: str | Path, gates: list[tuple[_Instance, Output]]
) -> tuple[list[tuple[_Instance, Output]], int]:
    """Gates in topological order, equal levels in the order of the file, and the number of levels."""
    driver = {instance.nets[output.name]: g for g, (instance, output) in enumerate(gates)}
    before = [
        {driver[instance.nets[pin]] for pin in instance.cell.inputs if instance.nets[pin] in driver}
        for instance, _ in gates
    ]
    after: list[list[int]] = [[] for _ in gates]
    for g, sources in enumerate(before):
        for source in sources:
            after[source].append(g)
    waiting = [len(sources) for sources in before]
    ready = [g for g, count in enumerate(waiting) if not count]
    order, levels = [], 0
    while ready:
        levels += 1
        order += ready
        following = []
        for g in ready:
            for reader in after[g]:
                waiting[reader] -= 1
                if not waiting[reader]:
                    following.append(reader)
        ready = sorted(following)
    if len(order) < len(gates):
        looped = gates[next(g for g, count in enumerate(waiting) if count)][0]
        raise InputError(
            f"{path}: instance {looped.name} lies in, or behind, a combinational loop; break the loop with a register"
        )
    return [gates[g] for g in order], levels


class _TableStore:
    """Numbers the lookup tables that are in use."""

    def __init__(self) -> None:
        self.tables: list[LookupTable] = []
        self.index: dict[int, int] = {}  # cells keep their tables alive, so that their ids stay theirs

    def number(self, table: LookupTable | None) -> int:
        if table is None:
            return NO_TABLE
        if id(table) not in self.index:
            self.index[id(table)] = len(self.tables)
            self.tables.append(table)
        return self.index[id(table)]

    def packed(self) -> Tables:
        shape = np.array([t.values.shape for t in self.tables], dtype=np.int64).reshape(-1, 2)
        size = int(shape.max(initial=1))
        n = len(self.tables)
        slew_ns, load_ff, values = np.zeros((n, size)), np.zeros((n, size)), np.zeros((n, size, size))
        for t, table in enumerate(self.tables):
            rows, columns = table.values.shape
            slew_ns[t, :rows], load_ff[t, :columns] = table.slew_ns, table.load_ff
            values[t, :rows, :columns] = table.values
        return Tables(shape=shape, slew_ns=slew_ns, load_ff=load_ff, values=values)


def _gate_arrays(gates: list[tuple[_Instance, Output]], store: _TableStore) -> Gates:
    output, inputs, fan_in, truth = [], [], [], []
    timing: list[list[tuple[int, int, list[int], list[int]]]] = []
    energy: list[list[tuple[int, int, list[int]]]] = []
    hidden: list[list[tuple[int, int, list[int]]]] = []
    for instance, out in gates:
        cell = instance.cell
        output.append(instance.nets[out.name])
        nets = [instance.nets[pin] for pin in cell.inputs]
        inputs.append(nets + [0] * (MAX_INPUTS - len(nets)))
        fan_in.append(len(nets))
        truth.append(out.truth)
        timing.append(
            [
                (a.input, a.when, [store.number(t) for t in a.delay], [store.number(t) for t in a.slew])
                for a in out.timing
            ]
        )
        energy.append(_energy_rows(out.energy, store))
        # an input's own energy is spent once, however many outputs the cell has
        first = next(o for o in cell.outputs if o.name in instance.nets)
        hidden.append(_energy_rows(cell.input_energy, store) if out is first else [])
    return Gates(
        output=_ints(output),
        inputs=_ints(inputs).reshape(-1, MAX_INPUTS),
        fan_in=_ints(fan_in),
        truth=np.array(truth, dtype=np.uint64),
        arc_start=_starts(timing),
        arc_input=_ints([a[0] for row in timing for a in row]),
        arc_when=np.array([a[1] for row in timing for a in row], dtype=np.uint64),
        arc_delay=_ints([a[2] for row in timing for a in row]).reshape(-1, 2),
        arc_slew=_ints([a[3] for row in timing for a in row]).reshape(-1, 2),
        energy_start=_starts(energy),
        energy_input=_ints([e[0] for row in energy for e in row]),
        energy_when=np.array([e[1] for row in energy for e in row], dtype=np.uint64),
        energy_table=_ints([e[2] for row in energy for e in row]).reshape(-1, 2),
        hidden_start=_starts(hidden),
        hidden_input=_ints([e[0] for row in hidden for e in row]),
        hidden_when=np.array([e[1] for row in hidden for e in row], dtype=np.uint64),
        hidden_table=_ints([e[2] for row in hidden for e in row]).reshape(-1, 2),
    )


def _energy_rows(arcs: Iterable[EnergyArc], store: _TableStore) -> list[tuple[int, int, list[int]]]:
    return [(arc.input, arc.when, [store.number(table) for table in arc.energy]) for arc in arcs]


def _net_arrays(
    n: int,
    ports: Mapping[str, Port],
    gates: list[tuple[_Instance, Output]],
    instances: list[_Instance],
    library: Library,
    output_load_ff: float,
) -> Nets:
    capacitance_ff, fanout = np.zeros((n, 2)), np.zeros(n, dtype=np.int64)
    for instance in instances:
        for pin, both in zip(instance.cell.inputs, instance.cell.capacitance_ff, strict=True):
            capacitance_ff[instance.nets[pin]] += both
            fanout[instance.nets[pin]] += 1
    for port in ports.values():
        if port.direction == "output":
            np.add.at(capacitance_ff, port.nets, output_load_ff)
    if library.wire_load:
        capacitance_ff += np.array([library.wire_load.net_capacitance_ff(int(f)) for f in fanout])[:, None]
    loads: list[list[tuple[int, int]]] = [[] for _ in range(n)]
    for g, (instance, _) in enumerate(gates):
        for pin, name in enumerate(instance.cell.inputs):
            loads[instance.nets[name]].append((g, pin))
    return Nets(
        capacitance_ff=capacitance_ff,
        load_start=_starts(loads),
        load_gate=_ints([g for row in loads for g, _ in row]),
        load_pin=_ints([pin for row in loads for _, pin in row]),
    )


def _starts(rows: list[list[Any]]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)


def _ints(values: list[Any]) -> np.ndarray:
    return np.array(values, dtype=np.int64)
