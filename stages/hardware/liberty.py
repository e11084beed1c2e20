"""Liberty cell libraries: what static timing and switching energy need of their combinational cells.

Read are the non-linear delay model (NLDM) tables of delay and output slew, the internal_power tables, Boolean
functions and `when` conditions, pin capacitances and the default wire load. Everything is turned into ns, fF, fJ.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from stages.hardware.liberty_syntax import Group, flips, parse_liberty, truth_table
from stages.lib.core.errors import InputError

MAX_INPUTS = 6  # a truth table is kept in 64 bits
EDGES = ("fall", "rise")  # index 0 and 1 wherever an axis is an edge

_COMBINATIONAL = ("combinational", "combinational_rise", "combinational_fall")
_SLEW_AXES = ("input_net_transition", "input_transition_time")
_LOAD_AXES = ("total_output_net_capacitance",)
_TIME_NS = {"s": 1e9, "ms": 1e6, "us": 1e3, "ns": 1.0, "ps": 1e-3, "fs": 1e-6}
_CAPACITANCE_FF = {"ff": 1.0, "pf": 1e3}
_VOLTAGE_V = {"v": 1.0, "mv": 1e-3}


@dataclass(frozen=True, kw_only=True)
class LookupTable:
    """values (n, m) over slew_ns (n,) and load_ff (m,), in ns or fJ; an axis of one point means "constant"."""

    slew_ns: np.ndarray
    load_ff: np.ndarray
    values: np.ndarray


@dataclass(frozen=True, kw_only=True)
class TimingArc:
    """From one input to an output, for those assignments that `when` holds. Pairs are (fall, rise) of the output."""

    input: int
    when: int
    delay: tuple[LookupTable | None, LookupTable | None]
    slew: tuple[LookupTable | None, LookupTable | None]


@dataclass(frozen=True, kw_only=True)
class EnergyArc:
    """Internal energy of one switching, (fall, rise) of the output, or of the input for `Cell.input_energy`."""

    input: int
    when: int
    energy: tuple[LookupTable | None, LookupTable | None]


@dataclass(frozen=True, kw_only=True)
class Output:
    name: str
    truth: int
    timing: tuple[TimingArc, ...]
    energy: tuple[EnergyArc, ...]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A combinational cell; capacitance_ff holds (fall, rise) for each input."""

    name: str
    area_um2: float
    inputs: tuple[str, ...]
    capacitance_ff: tuple[tuple[float, float], ...]
    input_energy: tuple[EnergyArc, ...]
    outputs: tuple[Output, ...]


@dataclass(frozen=True, kw_only=True)
class WireLoad:
    """Estimated wire of a net: a length for each fan-out, `slope` more for every fan-out beyond the table."""

    capacitance_ff: float  # per unit of length
    lengths: dict[int, float]
    slope: float

    def net_capacitance_ff(self, fanout: int) -> float:
        if not fanout:
            return 0.0
        known = sorted(self.lengths)
        beyond = max(0, fanout - known[-1])
        length = float(np.interp(fanout, known, [self.lengths[n] for n in known]))
        return self.capacitance_ff * (length + self.slope * beyond)


@dataclass(kw_only=True)
class Library:
    """A technology. Cells are built when asked for: an odd cell that no netlist uses does no harm."""

    name: str
    path: Path
    voltage_v: float
    wire_load: WireLoad | None
    time_ns: float
    capacitance_ff: float
    energy_fj: float
    templates: dict[str, Group]
    cell_groups: dict[str, Group]
    _cells: dict[str, Cell] = field(default_factory=dict)

    def is_sequential(self, name: str) -> bool:
        group = self.cell_groups[name]
        return any(group.all(kind) for kind in ("ff", "latch", "ff_bank", "latch_bank", "statetable"))

    def cell(self, name: str) -> Cell:
        """Raises InputError for a cell that is not there, is not combinational or lacks a table."""
        if name not in self.cell_groups:
            raise InputError(
                f"{self.path} has no cell {name}; synthesise the netlist for this library, or name the other one"
            )
        if name not in self._cells:
            self._cells[name] = _CellReader(self, self.cell_groups[name]).cell()
        return self._cells[name]


def read_library(path: str | Path, *, wire_load: bool = False) -> Library:
    """A Liberty file. wire_load: add the capacitance of its default wire load to every net.

    Without it nets have no wires: the regime in which delays equal OpenSTA's to rounding.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"the library {path} cannot be read ({error.strerror}); check the path") from error
    top = parse_liberty(text, path)
    if (model := top.attributes.get("delay_model", "table_lookup")) != "table_lookup":
        raise InputError(f"{path} has the delay model {model}; only table_lookup (NLDM) is supported")
    time_ns = _unit(top.attributes.get("time_unit", "1ns"), _TIME_NS, path)
    capacitance_ff = _unit("".join(_one_list(top, "capacitive_load_unit", path)), _CAPACITANCE_FF, path)
    volt = _unit(top.attributes.get("voltage_unit", "1V"), _VOLTAGE_V, path)
    return Library(
        name=top.arguments[0] if top.arguments else path.stem,
        path=path,
        voltage_v=_number(top, "nom_voltage", path) * volt,
        wire_load=_wire_load(top, capacitance_ff, path) if wire_load else None,
        time_ns=time_ns,
        capacitance_ff=capacitance_ff,
        energy_fj=capacitance_ff
        * volt**2,  # Liberty: internal energy is in capacitance unit x voltage unit^2
        templates={
            g.arguments[0]: g for g in top.groups if g.name in ("lu_table_template", "power_lut_template")
        },
        cell_groups={group.arguments[0]: group for group in top.all("cell")},
    )


class _CellReader:
    """Builds a Cell from its group; keeps what every error message names."""

    def __init__(self, library: Library, group: Group):
        self.library, self.group, self.name = library, group, group.arguments[0]
        pins = {pin.arguments[0]: pin for pin in group.all("pin")}
        self.pins = pins
        self.inputs = tuple(n for n, p in pins.items() if p.attributes.get("direction") == "input")
        self.outputs = tuple(n for n, p in pins.items() if p.attributes.get("direction") == "output")

    def fail(self, what: str) -> InputError:
        return InputError(f"{self.library.path}: cell {self.name} {what}; use a library that is complete")

    def cell(self) -> Cell:
        if self.library.is_sequential(self.name):
            raise InputError(
                f"{self.library.path}: cell {self.name} is sequential; only combinational cells can be profiled"
            )
        if len(self.inputs) > MAX_INPUTS:
            raise self.fail(f"has {len(self.inputs)} inputs, more than the {MAX_INPUTS} supported")
        if not self.outputs:
            raise self.fail("has no output pin")
        every = (1 << (1 << len(self.inputs))) - 1
        return Cell(
            name=self.name,
            area_um2=float(self.group.attributes.get("area", 0)),
            inputs=self.inputs,
            capacitance_ff=tuple(self.capacitance(self.pins[name]) for name in self.inputs),
            input_energy=tuple(
                EnergyArc(input=i, when=self.when(g, every), energy=self.tables(g, "{}_power"))
                for i, name in enumerate(self.inputs)
                for g in self.pins[name].all("internal_power")
            ),
            outputs=tuple(self.output(name, every) for name in self.outputs),
        )

    def capacitance(self, pin: Group) -> tuple[float, float]:
        mean = pin.attributes.get("capacitance")
        both = [pin.attributes.get(f"{edge}_capacitance", mean) for edge in EDGES]
        if None in both:
            raise self.fail(f"has no capacitance at pin {pin.arguments[0]}")
        fall, rise = (float(c) * self.library.capacitance_ff for c in both)
        return fall, rise

    def output(self, name: str, every: int) -> Output:
        pin = self.pins[name]
        if "function" not in pin.attributes or "three_state" in pin.attributes:
            raise self.fail(f"has an output {name} without a plain Boolean function")
        truth = self.boolean(pin.attributes["function"])
        timing = tuple(
            TimingArc(
                input=i,
                when=self.when(g, every),
                delay=self.tables(g, "cell_{}"),
                slew=self.tables(g, "{}_transition"),
            )
            for g in pin.all("timing")
            if g.attributes.get("timing_type", "combinational") in _COMBINATIONAL
            for i in self.related(g)
        )
        self.check(name, truth, timing, every)
        energy = tuple(
            EnergyArc(input=i, when=self.when(g, every), energy=self.tables(g, "{}_power"))
            for g in pin.all("internal_power")
            for i in self.related(g)
        )
        return Output(name=name, truth=truth, timing=timing, energy=energy)

    def check(self, output: str, truth: int, timing: Sequence[TimingArc], every: int) -> None:
        """Every change of the output that an input can cause needs an arc, and that arc its tables."""
        n = len(self.inputs)
        for i, name in enumerate(self.inputs):
            falls, rises = flips(truth, every, i, n)
            for arc in timing:
                if arc.input != i:
                    continue
                # raising the input lets the output fall and lowering it lets it rise, or the other way round
                covered_falls, covered_rises = flips(truth, arc.when, i, n)
                if covered_falls or covered_rises:
                    self.check_tables(arc, name, output)
                falls, rises = falls & ~covered_falls, rises & ~covered_rises
            if falls or rises:
                raise self.fail(f"lacks a timing arc from {name} to {output}")

    def check_tables(self, arc: TimingArc, input: str, output: str) -> None:
        for edge in range(2):
            if arc.delay[edge] is None or arc.slew[edge] is None:
                kind = f"cell_{EDGES[edge]}" if arc.delay[edge] is None else f"{EDGES[edge]}_transition"
                raise self.fail(f"lacks the table {kind} from {input} to {output}")

    def related(self, group: Group) -> list[int]:
        names = group.attributes.get("related_pin", "").split()
        if unknown := [name for name in names if name not in self.inputs]:
            raise self.fail(f"relates an output to {unknown[0]}, which is no input")
        return [self.inputs.index(name) for name in names]

    def when(self, group: Group, every: int) -> int:
        return self.boolean(group.attributes["when"]) if "when" in group.attributes else every

    def boolean(self, expression: str) -> int:
        try:
            return truth_table(expression, self.inputs)
        except ValueError as error:
            raise self.fail(f"has an expression that cannot be read: {error}") from None

    def tables(self, group: Group, pattern: str) -> tuple[LookupTable | None, LookupTable | None]:
        fall, rise = (self.table(group, pattern.format(edge)) for edge in EDGES)
        return fall, rise

    def table(self, group: Group, name: str) -> LookupTable | None:
        if not (found := group.all(name)):
            return None
        table = found[0]
        template = self.library.templates.get(table.arguments[0]) if table.arguments else None
        unit = self.library.energy_fj if name.endswith("_power") else self.library.time_ns
        axes = []
        for k in (1, 2):
            variable = template.attributes.get(f"variable_{k}") if template else None
            if variable:
                axes.append((variable, self.numbers(table, template, f"index_{k}")))
        if len(table.lists.get("values", [])) != 1:
            raise self.fail(f"has a table {name} without values")
        values = self.floats(table.lists["values"][0], name) * unit
        if values.size != np.prod([index.size for _, index in axes], dtype=int):
            raise self.fail(f"has a table {name} whose {values.size} values do not fit its axes")
        return self.normalise(name, axes, values)

    def normalise(self, name: str, axes: list[tuple[str, np.ndarray]], values: np.ndarray) -> LookupTable:
        slew_ns, load_ff = np.zeros(1), np.zeros(1)
        for variable, index in axes:
            if variable in _SLEW_AXES:
                slew_ns = index * self.library.time_ns
            elif variable in _LOAD_AXES:
                load_ff = index * self.library.capacitance_ff
            else:
                raise self.fail(f"has a table {name} over {variable}, which is not supported")
        load_first = len(axes) == 2 and axes[0][0] in _LOAD_AXES
        shape = (load_ff.size, slew_ns.size) if load_first else (slew_ns.size, load_ff.size)
        values = values.reshape(shape)
        return LookupTable(slew_ns=slew_ns, load_ff=load_ff, values=values.T if load_first else values)

    def numbers(self, table: Group, template: Group, name: str) -> np.ndarray:
        holder = table if name in table.lists else template
        if name not in holder.lists:
            raise self.fail(f"has a table {table.name} without {name}")
        index = self.floats(holder.lists[name][0], table.name)
        if (np.diff(index) <= 0).any():
            raise self.fail(f"has a table {table.name} whose {name} does not increase")
        return index

    def floats(self, words: list[str], name: str) -> np.ndarray:
        try:
            return np.array([float(x) for word in words for x in word.replace(",", " ").split()])
        except ValueError as error:
            raise self.fail(f"has a table {name} that cannot be read ({error})") from None


def _one_list(top: Group, name: str, path: Path) -> list[str]:
    if name not in top.lists:
        raise InputError(f"{path} does not say {name}; add it to the library")
    return top.lists[name][0]


def _number(top: Group, name: str, path: Path) -> float:
    try:
        return float(top.attributes[name])
    except (KeyError, ValueError):
        raise InputError(f"{path} does not say {name} as a number; add it to the library") from None


def _unit(text: str, factors: dict[str, float], path: Path) -> float:
    match = re.fullmatch(r"([\d.eE+-]*?)\s*([A-Za-z]+)", text.strip())
    factor = factors.get(match[2].lower()) if match else None
    if factor is None:
        raise InputError(f"{path} has the unit {text!r}; known are {', '.join(factors)}")
    return float(match[1] or 1) * factor


def _wire_load(top: Group, capacitance_ff: float, path: Path) -> WireLoad | None:
    name = top.attributes.get("default_wire_load")
    if name is None:
        return None
    found = [group for group in top.all("wire_load") if group.arguments == [name]]
    if not found:
        raise InputError(f"{path}: default_wire_load names {name}, which is not there; mend the library")
    group = found[0]
    return WireLoad(
        capacitance_ff=float(group.attributes.get("capacitance", 0)) * capacitance_ff,
        lengths={int(float(fanout)): float(n) for fanout, n, *_ in group.lists.get("fanout_length", [])},
        slope=float(group.attributes.get("slope", 0)),
    )
