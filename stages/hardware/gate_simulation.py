"""Event-driven simulation of a netlist: settle time, switching energy and glitches of every input vector.

Two values, inertial delays (a pulse shorter than a gate's delay is swallowed), one delay and one internal energy for
every cause of every gate's switching, 0.5 C V^2 for every edge of a gate's output. Delays use the slews of static
timing in the same case, so that no output settles later than static timing says.
Not counted: leakage, the clock, registers, and what drives the inputs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit

from stages.hardware.netlist import Gates, Netlist, Nets, Tables, port_bits, port_values
from stages.hardware.static_timing import (
    CHANGING,
    Curves,
    case_values,
    curves,
    input_nets,
    interpolate,
    lookup,
    propagate_,
)


@dataclass(frozen=True, kw_only=True)
class Activity:
    """What each vector of each case did, arrays (cases, vectors).

    settle_ns           last change of any output port, 0 where none changed
    energy_fj           of all gates
    toggles             edges at gate outputs; settled_toggles: gates whose value differs from the vector before
    outputs             output port -> settled value, unsigned
    """

    settle_ns: np.ndarray
    energy_fj: np.ndarray
    toggles: np.ndarray
    settled_toggles: np.ndarray
    outputs: dict[str, np.ndarray]


class _Switching(NamedTuple):
    """Per gate, input pin and assignment after that pin's change, at start[g] + pin * 2^fan_in + assignment."""

    start: np.ndarray
    delay_ns: np.ndarray
    energy_fj: np.ndarray
    hidden_fj: np.ndarray


def simulate(
    netlist: Netlist,
    constants: Mapping[str, np.ndarray],
    stimulus: Mapping[str, np.ndarray],
    *,
    input_slew_ns: float,
) -> Activity:
    """All cases in turn, each with the same vectors.

    constants  input port -> value in each case (cases,), two's complement
    stimulus   every other input port -> (vectors + 1,) values; the first sets the state and is not counted
    """
    left = [name for name in netlist.inputs if name not in constants and name not in stimulus]
    assert not left, f"no stimulus for {left}"
    values = case_values(netlist, constants)
    bits = [port_bits(numbers, netlist.ports[name].nets.size) for name, numbers in stimulus.items()]
    stimulus_nets = np.concatenate([netlist.port(name, "input").nets for name in stimulus])
    fan_in = netlist.gates.fan_in
    start = np.concatenate([[0], np.cumsum(fan_in << fan_in)])
    settle_ns, energy_fj, toggles, settled, outputs = _simulate(
        values,
        np.concatenate(bits, axis=1),
        stimulus_nets,
        input_nets(netlist),
        netlist.output_nets,
        input_slew_ns,
        netlist.voltage_v,
        netlist.gates,
        netlist.nets,
        netlist.tables,
        curves(netlist),
        _Switching(start, *(np.zeros(start[-1]) for _ in range(3))),
    )
    numbers, first = {}, 0
    for name, port in netlist.ports.items():
        if port.direction == "output":
            numbers[name] = port_values(outputs[:, :, first : first + port.nets.size])
            first += port.nets.size
    return Activity(
        settle_ns=settle_ns, energy_fj=energy_fj, toggles=toggles, settled_toggles=settled, outputs=numbers
    )


@njit(cache=True)
def _simulate(
    case_values: np.ndarray,
    stimulus: np.ndarray,
    stimulus_nets: np.ndarray,
    sources: np.ndarray,
    outputs: np.ndarray,
    input_slew_ns: float,
    voltage_v: float,
    gates: Gates,
    nets: Nets,
    tables: Tables,
    curves: Curves,
    switching: _Switching,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    cases, n = case_values.shape
    vectors, axes = stimulus.shape[0] - 1, curves.axes.shape[0]
    arrival, slew = np.empty((n, 2)), np.empty((n, 2))
    position, fraction = np.zeros((n, 2, axes), dtype=np.int64), np.zeros((n, 2, axes))
    settle_ns, energy_fj = np.zeros((cases, vectors)), np.zeros((cases, vectors))
    toggles = np.zeros((cases, vectors), dtype=np.int64)
    settled_toggles = np.zeros((cases, vectors), dtype=np.int64)
    settled = np.zeros((cases, vectors, outputs.size), dtype=np.uint8)
    is_output = np.zeros(n, dtype=np.bool_)
    is_output[outputs] = True
    for case in range(cases):
        values = case_values[case]
        propagate_(values, arrival, slew, position, fraction, sources, input_slew_ns, gates, curves)
        _fill_(switching, values, slew, position, fraction, voltage_v, gates, nets, tables, curves)
        _simulate_case_(
            values,
            stimulus,
            stimulus_nets,
            outputs,
            is_output,
            gates,
            nets,
            switching,
            settle_ns[case],
            energy_fj[case],
            toggles[case],
            settled_toggles[case],
            settled[case],
        )
    return settle_ns, energy_fj, toggles, settled_toggles, settled


@njit(cache=True)
def _fill_(
    switching: _Switching,
    values: np.ndarray,
    slew: np.ndarray,
    position: np.ndarray,
    fraction: np.ndarray,
    voltage_v: float,
    gates: Gates,
    nets: Nets,
    tables: Tables,
    curves: Curves,
) -> None:
    """Delay and energy of every single-input change of one case. Gates with a constant output never switch."""
    one = np.uint64(1)
    for g in range(gates.output.size):
        net, q, truth = gates.output[g], gates.fan_in[g], gates.truth[g]
        for pin in range(q):
            source = gates.inputs[g, pin]
            if values[source] != CHANGING:
                continue
            for after in range(1 << q):
                place = switching.start[g] + (pin << q) + after
                before = after ^ (1 << pin)
                edge = (after >> pin) & 1
                hidden_fj = 0.0
                for h in range(gates.hidden_start[g], gates.hidden_start[g + 1]):
                    table = gates.hidden_table[h, edge]
                    if (
                        gates.hidden_input[h] == pin
                        and (gates.hidden_when[h] >> np.uint64(after)) & one
                        and table >= 0
                    ):
                        hidden_fj += lookup(table, slew[source, edge], 0.0, tables)
                switching.hidden_fj[place] = hidden_fj
                out = (truth >> np.uint64(after)) & one
                if values[net] != CHANGING or out == (truth >> np.uint64(before)) & one:
                    continue
                delay_ns = 0.0
                for arc in range(gates.arc_start[g], gates.arc_start[g + 1]):
                    when = gates.arc_when[arc]
                    holds = (when >> np.uint64(after)) & (when >> np.uint64(before)) & one
                    if gates.arc_input[arc] == pin and holds:
                        axis = curves.axis[arc, out, 0]
                        i, u = position[source, edge, axis], fraction[source, edge, axis]
                        delay_ns = max(delay_ns, interpolate(curves.curve, arc, out, 0, i, u))
                switching.delay_ns[place] = delay_ns
                load_ff = nets.capacitance_ff[net, out]
                internal_fj = _internal_fj(g, pin, after, out, slew[source, edge], load_ff, gates, tables)
                switching.energy_fj[place] = internal_fj + 0.5 * load_ff * voltage_v**2


@njit(cache=True)
def _internal_fj(
    g: int, pin: int, after: int, out: int, slew_ns: float, load_ff: float, gates: Gates, tables: Tables
) -> float:
    """Mean of the internal energies whose `when` holds; of all those of the pin where none does."""
    for strict in (True, False):
        total_fj, count = 0.0, 0
        for e in range(gates.energy_start[g], gates.energy_start[g + 1]):
            holds = (gates.energy_when[e] >> np.uint64(after)) & np.uint64(1)
            table = gates.energy_table[e, out]
            if gates.energy_input[e] == pin and table >= 0 and (holds or not strict):
                total_fj += lookup(table, slew_ns, load_ff, tables)
                count += 1
        if count:
            return total_fj / count
    return 0.0


@njit(cache=True)
def _simulate_case_(
    values: np.ndarray,
    stimulus: np.ndarray,
    stimulus_nets: np.ndarray,
    outputs: np.ndarray,
    is_output: np.ndarray,
    gates: Gates,
    nets: Nets,
    switching: _Switching,
    settle_ns: np.ndarray,
    energy_fj: np.ndarray,
    toggles: np.ndarray,
    settled_toggles: np.ndarray,
    settled: np.ndarray,
) -> None:
    """One case: fills settle_ns, energy_fj, toggles, settled_toggles (vectors,) and settled (vectors, outputs)."""
    # plain names: the loop below is the hot one
    output, fan_in, truth, start = gates.output, gates.fan_in, gates.truth, switching.start
    load_start, load_gate, load_pin = nets.load_start, nets.load_gate, nets.load_pin
    one = np.uint64(1)
    n = output.size
    value = np.zeros(values.size, dtype=np.uint8)
    for net in range(values.size):
        if values[net] != CHANGING:
            value[net] = values[net]
    value[stimulus_nets] = stimulus[0]
    assignment = np.zeros(n, dtype=np.int64)
    for g in range(n):
        for pin in range(fan_in[g]):
            assignment[g] |= np.int64(value[gates.inputs[g, pin]]) << pin
        value[output[g]] = (truth[g] >> np.uint64(assignment[g])) & one
    before = value.copy()
    # the one pending switch of each gate, and a heap of (time, gate) in which cancelled ones stay until met
    due_ns, due_fj = np.full(n, np.inf), np.zeros(n)
    heap_ns, heap_gate = np.zeros(1024), np.zeros(1024, dtype=np.int64)
    for vector in range(1, stimulus.shape[0]):
        size, k = 0, 0
        now_ns = last_ns = spent_fj = 0.0
        count = 0
        while True:
            if k < stimulus_nets.size:
                net = stimulus_nets[k]
                k += 1
                if value[net] == stimulus[vector, k - 1]:
                    continue
            elif size:
                now_ns, g = heap_ns[0], heap_gate[0]
                size = _pop_(heap_ns, heap_gate, size)
                if due_ns[g] != now_ns:  # cancelled, or put off since
                    continue
                due_ns[g] = np.inf
                net = output[g]
                spent_fj += due_fj[g]
                count += 1
                if is_output[net]:
                    last_ns = now_ns
            else:
                break
            value[net] ^= 1
            for load in range(load_start[net], load_start[net + 1]):
                g, pin = load_gate[load], load_pin[load]
                assignment[g] ^= 1 << pin
                place = start[g] + (pin << fan_in[g]) + assignment[g]
                spent_fj += switching.hidden_fj[place]
                if (truth[g] >> np.uint64(assignment[g])) & one == value[output[g]]:
                    due_ns[g] = np.inf  # the pulse is shorter than the gate's delay
                elif due_ns[g] == np.inf:
                    due_ns[g] = now_ns + switching.delay_ns[place]
                    due_fj[g] = switching.energy_fj[place]
                    if size == heap_ns.size:
                        heap_ns = np.concatenate((heap_ns, np.zeros(size)))
                        heap_gate = np.concatenate((heap_gate, np.zeros(size, dtype=np.int64)))
                    _push_(heap_ns, heap_gate, size, due_ns[g], g)
                    size += 1
        settle_ns[vector - 1], energy_fj[vector - 1], toggles[vector - 1] = last_ns, spent_fj, count
        for g in range(n):
            settled_toggles[vector - 1] += value[output[g]] != before[output[g]]
        before[:] = value
        for k in range(outputs.size):
            settled[vector - 1, k] = value[outputs[k]]


@njit(cache=True)
def _push_(heap_ns: np.ndarray, heap_gate: np.ndarray, size: int, time_ns: float, gate: int) -> None:
    child = size
    while child:
        parent = (child - 1) >> 1
        if heap_ns[parent] <= time_ns:
            break
        heap_ns[child], heap_gate[child] = heap_ns[parent], heap_gate[parent]
        child = parent
    heap_ns[child], heap_gate[child] = time_ns, gate


@njit(cache=True)
def _pop_(heap_ns: np.ndarray, heap_gate: np.ndarray, size: int) -> int:
    """Remove the first event; returns the new size."""
    size -= 1
    time_ns, gate = heap_ns[size], heap_gate[size]
    parent = 0
    while True:
        child = 2 * parent + 1
        if child >= size:
            break
        if child + 1 < size and heap_ns[child + 1] < heap_ns[child]:
            child += 1
        if heap_ns[child] >= time_ns:
            break
        heap_ns[parent], heap_gate[parent] = heap_ns[child], heap_gate[child]
        parent = child
    heap_ns[parent], heap_gate[parent] = time_ns, gate
    return size
