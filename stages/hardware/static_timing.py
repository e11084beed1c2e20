"""Static timing with case analysis: the longest path of a netlist while some inputs are constant.

Levelised, NLDM tables, worst slew at every net. Constants are propagated through whole truth tables (three values: 0,
1, changing); an arc counts for those edges that truth table, `when` and constants leave possible. As in OpenSTA, the
slew takes all edges of an arc that is possible at all. Times are ns from the inputs' change at 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit

from stages.hardware.liberty import MAX_INPUTS
from stages.hardware.netlist import Gates, Netlist, Tables

CHANGING = 2
NEVER = -np.inf  # arrival at a net that does not change


class Curves(NamedTuple):
    """Delay and output slew of every arc over the input slew alone: a gate's load is the same in every case.

    axes (n, P)  the distinct input slew axes in ns, with `points` (n,) each
    axis (A, 2, 2), curve (A, 2, P, 2)  by arc, edge of the output, [point of the axis,] and 0 delay, 1 slew
    """

    axes: np.ndarray
    points: np.ndarray
    axis: np.ndarray
    curve: np.ndarray


@dataclass(frozen=True, kw_only=True)
class CaseTiming:
    """values (nets,) 0, 1 or CHANGING; arrival_ns (NEVER where there is no edge) and slew_ns (nets, 2) [fall, rise]."""

    values: np.ndarray
    arrival_ns: np.ndarray
    slew_ns: np.ndarray


def case_values(netlist: Netlist, constants: Mapping[str, np.ndarray]) -> np.ndarray:
    """Net values (cases, nets) int8 before propagation: 0, 1 or CHANGING.

    constants  input port -> its value in each case, two's complement; ports not named change
    """
    cases = len(next(iter(constants.values()))) if constants else 1
    values = np.full((cases, netlist.n_nets), CHANGING, dtype=np.int8)
    values[:, 0], values[:, 1] = 0, 1
    for name, numbers in constants.items():
        for bit, net in enumerate(netlist.port(name, "input").nets):
            values[:, net] = (np.asarray(numbers, dtype=np.int64) >> bit) & 1
    return values


def case_delays_ns(
    netlist: Netlist, constants: Mapping[str, np.ndarray], *, input_slew_ns: float
) -> np.ndarray:
    """Longest path to any output in each case, 0 where every output is constant.

    constants  as in `case_values`; none gives one case, the netlist's full delay
    """
    values = case_values(netlist, constants)
    return _sweep(
        values, input_nets(netlist), netlist.output_nets, input_slew_ns, netlist.gates, curves(netlist)
    )


def case_timing(netlist: Netlist, constants: Mapping[str, int], *, input_slew_ns: float) -> CaseTiming:
    """Everything that is known of one case."""
    values = case_values(netlist, {name: np.array([value]) for name, value in constants.items()})[0]
    lines = curves(netlist)
    arrival, slew = np.empty((netlist.n_nets, 2)), np.empty((netlist.n_nets, 2))
    position = np.zeros((netlist.n_nets, 2, len(lines.axes)), dtype=np.int64)
    fraction = np.zeros(position.shape)
    sources = input_nets(netlist)
    propagate_(values, arrival, slew, position, fraction, sources, input_slew_ns, netlist.gates, lines)
    return CaseTiming(values=values, arrival_ns=arrival, slew_ns=slew)


def input_nets(netlist: Netlist) -> np.ndarray:
    return np.concatenate([netlist.ports[name].nets for name in netlist.inputs])


def curves(netlist: Netlist) -> Curves:
    """The arcs' tables at the loads that their gates drive."""
    gates, tables = netlist.gates, netlist.tables
    padded = np.where(np.arange(tables.slew_ns.shape[1]) < tables.shape[:, :1], tables.slew_ns, np.inf)
    axes, axis_of_table = np.unique(padded, axis=0, return_inverse=True)
    axis_of_table = axis_of_table.reshape(-1)
    points = np.isfinite(axes).sum(axis=1)
    gate_of_arc = np.repeat(np.arange(gates.output.size), np.diff(gates.arc_start))
    load_ff = netlist.nets.capacitance_ff[gates.output[gate_of_arc]]
    curve = np.zeros((gate_of_arc.size, 2, max(2, axes.shape[1]), 2))
    axis = np.zeros((gate_of_arc.size, 2, 2), dtype=np.int64)
    for kind, numbers in enumerate((gates.arc_delay, gates.arc_slew)):
        axis[:, :, kind] = axis_of_table[numbers]
        _at_load_(curve[..., kind], numbers, load_ff, tables)
    # a constant is a flat line, so that the kernel always interpolates between two points
    axes = np.pad(axes, ((0, 0), (0, curve.shape[2] - axes.shape[1])))
    axes[points == 1, 1] = axes[points == 1, 0] + 1
    flat = points[axis] == 1
    curve[:, :, 1, :] = np.where(flat, curve[:, :, 0, :], curve[:, :, 1, :])
    return Curves(axes=axes, points=np.maximum(points, 2), axis=axis, curve=curve)


@njit(cache=True)
def _at_load_(curve: np.ndarray, numbers: np.ndarray, load_ff: np.ndarray, tables: Tables) -> None:
    """curve (A, 2, P): the tables `numbers` (A, 2) interpolated, or extrapolated, to load_ff (A, 2)."""
    for arc in range(numbers.shape[0]):
        for out in range(2):
            table = numbers[arc, out]
            if table >= 0:
                for row in range(tables.shape[table, 0]):
                    curve[arc, out, row] = row_at_load(table, row, load_ff[arc, out], tables)


@njit(cache=True)
def row_at_load(table: int, row: int, load_ff: float, tables: Tables) -> float:
    columns = tables.shape[table, 1]
    if columns == 1:
        return tables.values[table, row, 0]
    j = 0
    while j < columns - 2 and load_ff >= tables.load_ff[table, j + 1]:
        j += 1
    v = (load_ff - tables.load_ff[table, j]) / (tables.load_ff[table, j + 1] - tables.load_ff[table, j])
    return tables.values[table, row, j] * (1 - v) + tables.values[table, row, j + 1] * v


@njit(cache=True)
def lookup(table: int, slew_ns: float, load_ff: float, tables: Tables) -> float:
    """Bilinear between the four points around, or nearest to, slew and load: beyond the grid it extrapolates."""
    rows = tables.shape[table, 0]
    if rows == 1:
        return row_at_load(table, 0, load_ff, tables)
    i = 0
    while i < rows - 2 and slew_ns >= tables.slew_ns[table, i + 1]:
        i += 1
    u = (slew_ns - tables.slew_ns[table, i]) / (tables.slew_ns[table, i + 1] - tables.slew_ns[table, i])
    low = row_at_load(table, i, load_ff, tables)
    return low * (1 - u) + row_at_load(table, i + 1, load_ff, tables) * u


@njit(cache=True)
def input_masks() -> np.ndarray:
    """Of each of six inputs, the assignments in which it is 1, as a truth table of 64 bits."""
    masks = np.zeros(MAX_INPUTS, dtype=np.uint64)
    for pin in range(MAX_INPUTS):
        for j in range(64):
            if (j >> pin) & 1:
                masks[pin] |= np.uint64(1) << np.uint64(j)
    return masks


@njit(cache=True)
def propagate_(
    values: np.ndarray,
    arrival: np.ndarray,
    slew: np.ndarray,
    position: np.ndarray,
    fraction: np.ndarray,
    sources: np.ndarray,
    input_slew_ns: float,
    gates: Gates,
    curves: Curves,
) -> None:
    """One case, gate by gate in topological order. Filled in place:

    values (N,)                            0, 1, CHANGING: given at the sources, on return at every net
    arrival, slew (N, 2) [fall, rise]      latest arrival and widest slew in ns, where the net changes
    position, fraction (N, 2, axes)        the slew's place on each slew axis
    """
    ones = input_masks()
    arrival[:] = NEVER
    slew[:] = 0.0
    for net in sources:
        if values[net] == CHANGING:
            arrival[net] = 0.0
            slew[net] = input_slew_ns
            _place_(net, slew, position, fraction, curves)
    for g in range(gates.output.size):
        q, net, truth = gates.fan_in[g], gates.output[g], gates.truth[g]
        every = ~np.uint64(0)
        if q < MAX_INPUTS:
            every = (np.uint64(1) << np.uint64(1 << q)) - np.uint64(1)
        possible = every
        for pin in range(q):
            value = values[gates.inputs[g, pin]]
            if value == 1:
                possible &= ones[pin]
            elif value == 0:
                possible &= ~ones[pin]
        if not (truth & possible):
            values[net] = 0
            continue
        if not (~truth & possible):
            values[net] = 1
            continue
        values[net] = CHANGING
        for arc in range(gates.arc_start[g], gates.arc_start[g + 1]):
            pin = gates.arc_input[arc]
            source = gates.inputs[g, pin]
            if values[source] != CHANGING:
                continue
            step, flipped = np.uint64(1 << pin), truth >> np.uint64(1 << pin)
            # assignments with the pin at 0 where raising it changes the output
            both = (
                gates.arc_when[arc] & (gates.arc_when[arc] >> step) & every & ~ones[pin] & (truth ^ flipped)
            )
            now = both & possible & (possible >> step)
            if not now:
                continue
            for edge in range(2):
                for out in range(2):
                    # an input edge gives the same edge where the truth table rises with the pin
                    follows = flipped if edge == out else truth
                    if not both & follows:
                        continue
                    axis = curves.axis[arc, out, 1]
                    i, u = position[source, edge, axis], fraction[source, edge, axis]
                    slew[net, out] = max(slew[net, out], interpolate(curves.curve, arc, out, 1, i, u))
                    if not now & follows:
                        continue
                    axis = curves.axis[arc, out, 0]
                    i, u = position[source, edge, axis], fraction[source, edge, axis]
                    late = arrival[source, edge] + interpolate(curves.curve, arc, out, 0, i, u)
                    arrival[net, out] = max(arrival[net, out], late)
        _place_(net, slew, position, fraction, curves)


@njit(cache=True)
def interpolate(curve: np.ndarray, arc: int, out: int, kind: int, i: int, u: float) -> float:
    """Delay (kind 0) or output slew (kind 1) of an arc in ns, a share u of the way from point i to the next."""
    return curve[arc, out, i, kind] * (1 - u) + curve[arc, out, i + 1, kind] * u


@njit(cache=True)
def _place_(net: int, slew: np.ndarray, position: np.ndarray, fraction: np.ndarray, curves: Curves) -> None:
    for edge in range(2):
        for axis in range(curves.axes.shape[0]):
            i = 0
            while i < curves.points[axis] - 2 and slew[net, edge] >= curves.axes[axis, i + 1]:
                i += 1
            low = curves.axes[axis, i]
            position[net, edge, axis] = i
            fraction[net, edge, axis] = (slew[net, edge] - low) / (curves.axes[axis, i + 1] - low)


@njit(cache=True)
def _sweep(
    values: np.ndarray,
    sources: np.ndarray,
    outputs: np.ndarray,
    input_slew_ns: float,
    gates: Gates,
    curves: Curves,
) -> np.ndarray:
    nets, axes = values.shape[1], curves.axes.shape[0]
    delays = np.zeros(values.shape[0])
    arrival, slew = np.empty((nets, 2)), np.empty((nets, 2))
    position, fraction = np.zeros((nets, 2, axes), dtype=np.int64), np.zeros((nets, 2, axes))
    for case in range(values.shape[0]):
        propagate_(values[case], arrival, slew, position, fraction, sources, input_slew_ns, gates, curves)
        for net in outputs:
            delays[case] = max(delays[case], arrival[net, 0], arrival[net, 1])
    return delays
