"""A small cell library of our own and small netlists on it, for the tests of timing and simulation.

Every table holds a + b * slew + c * load on a grid: bilinear interpolation gives that formula back, so that expected
delays can be written down. Times in ns, loads in fF.
"""

import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SLEWS = (0.01, 0.1, 0.4)
LOADS = (1.0, 4.0, 16.0, 40.0)
PIN_FF = 2.0  # every input pin, both edges
VOLTAGE = 2.0


@dataclass(frozen=True)
class Line:
    """a + b * slew_ns + c * load_ff."""

    a: float
    b: float = 0.0
    c: float = 0.0

    def __call__(self, slew_ns: float, load_ff: float) -> float:
        return self.a + self.b * slew_ns + self.c * load_ff


@dataclass(frozen=True)
class Arc:
    pin: str
    fall: Line
    rise: Line
    fall_slew: Line = Line(0.02, 0.1, 0.004)
    rise_slew: Line = Line(0.03, 0.1, 0.005)
    when: str = ""


# cell -> (inputs, {output: (function, arcs)})
CELLS = {
    "INV": ("A", {"Y": ("!A", [Arc("A", Line(0.01, 0.2, 0.002), Line(0.015, 0.25, 0.003))])}),
    "BUF": ("A", {"Y": ("A", [Arc("A", Line(0.1), Line(0.1))])}),
    "NAND2": (
        "AB",
        {
            "Y": (
                "!(A & B)",
                [
                    Arc("A", Line(0.02, 0.2, 0.003), Line(0.018, 0.15, 0.004)),
                    Arc("B", Line(0.024, 0.25, 0.003), Line(0.02, 0.2, 0.004)),
                ],
            )
        },
    ),
    "XOR2": (
        "AB",
        {
            "Y": (
                "A ^ B",
                [
                    Arc("A", Line(0.05, 0.1, 0.002), Line(0.06, 0.1, 0.002), when="!B"),
                    Arc("A", Line(0.03, 0.2, 0.003), Line(0.035, 0.2, 0.004), when="B"),
                    Arc("B", Line(0.055, 0.1, 0.003), Line(0.065, 0.1, 0.003)),
                ],
            )
        },
    ),
    "AOI21": (
        "ABC",
        {
            "Y": (
                "!((A & B) | C)",
                [
                    Arc("A", Line(0.03, 0.2, 0.003), Line(0.04, 0.2, 0.005)),
                    Arc("B", Line(0.032, 0.2, 0.003), Line(0.044, 0.2, 0.005)),
                    Arc("C", Line(0.02, 0.1, 0.003), Line(0.03, 0.1, 0.005)),
                ],
            )
        },
    ),
    "HA": (
        "AB",
        {
            "S": ("A ^ B", [Arc("A", Line(0.06), Line(0.07)), Arc("B", Line(0.065), Line(0.075))]),
            "CO": ("A B", [Arc("A", Line(0.04), Line(0.045)), Arc("B", Line(0.042), Line(0.05))]),
        },
    ),
}
# internal energy of an output's edge, fJ, by cell; and of HA's input A while B is 0
ENERGY_FJ = {name: (1.0 + i, 1.5 + i) for i, name in enumerate(CELLS)}
HIDDEN_FJ = 0.25
FUNCTIONS = {
    "INV": {"Y": lambda A: not A},
    "BUF": {"Y": lambda A: A},
    "NAND2": {"Y": lambda A, B: not (A and B)},
    "XOR2": {"Y": lambda A, B: A != B},
    "AOI21": {"Y": lambda A, B, C: not ((A and B) or C)},
    "HA": {"S": lambda A, B: A != B, "CO": lambda A, B: A and B},
}

HEADER = """library (tiny) {
  delay_model : table_lookup;  /* the only one
                                  that is read */
  time_unit : "1ns"; voltage_unit : "1V"; capacitive_load_unit (1, ff);
  nom_voltage : %s;
  lu_table_template (grid) { variable_1 : input_net_transition; variable_2 : total_output_net_capacitance;
    index_1 ("%s"); index_2 ("%s"); }
  power_lut_template (flat) { variable_1 : input_transition_time; index_1 ("%s"); }
  wire_load ("small") { capacitance : 0.5; slope : 2.0; fanout_length (1, 1.0); fanout_length (3, 4.0); }
  default_wire_load : "small";
"""


def library_text(cells: dict = CELLS) -> str:
    text = HEADER % (VOLTAGE, _numbers(SLEWS), _numbers(LOADS), _numbers(SLEWS))
    text += "".join(_cell(name, *cells[name]) for name in cells)
    text += 'cell (DFF) { area : 4; ff (IQ, IQN) { next_state : "D"; clocked_on : "CK"; }\n'
    text += (
        "  pin (D) { direction : input; capacitance : 1; } pin (CK) { direction : input; capacitance : 1; }\n"
    )
    text += '  pin (Q) { direction : output; function : "IQ"; } }\n'
    return text + "}\n"


def write_library(folder: Path) -> Path:
    path = folder / "tiny.lib"
    path.write_text(library_text())
    return path


def write_netlist(
    path: Path, inputs: dict[str, int], outputs: dict[str, list], gates: list[tuple[str, dict[str, object]]]
) -> Path:
    """inputs: port -> width, taking the nets 2, 3, ... in order; outputs: port -> nets; gates: (cell, {pin: net})."""
    ports, net = {}, 2
    for name, width in inputs.items():
        ports[name] = {"direction": "input", "bits": list(range(net, net + width))}
        net += width
    for name, bits in outputs.items():
        ports[name] = {"direction": "output", "bits": bits}
    cells = {
        f"g{i}": {"type": kind, "connections": {pin: [bit] for pin, bit in pins.items()}}
        for i, (kind, pins) in enumerate(gates)
    }
    path.write_text(json.dumps({"modules": {"top": {"ports": ports, "cells": cells}}}))
    return path


def random_netlist(path: Path, rng: np.random.Generator, *, widths: dict[str, int], gates: int) -> Path:
    """Every gate reads two or three different earlier nets; the nets that nothing reads are the output port y."""
    nets = list(range(2, 2 + sum(widths.values())))
    drawn, unread, net = [], set(), nets[-1] + 1
    for _ in range(gates):
        kind = str(rng.choice(list(CELLS)))
        inputs, outputs = CELLS[kind]
        # recent nets more often: a deep netlist
        recent = nets[-8:] if len(nets) >= 8 and rng.random() < 0.7 else nets
        sources = [int(n) for n in rng.choice(recent, len(inputs), replace=False)]
        pins = dict(zip(inputs, sources, strict=True))
        unread -= set(sources)
        for output in outputs:
            pins[output] = net
            nets.append(net)
            unread.add(net)
            net += 1
        drawn.append((kind, pins))
    order = rng.permutation(len(drawn))  # a file need not be sorted
    return write_netlist(path, widths, {"y": sorted(unread)}, [drawn[i] for i in order])


def evaluate(path: Path, values: dict[str, int]) -> dict[int, bool]:
    """Every net of a netlist by Python's own Boolean operators, straight from the file."""
    module = json.loads(path.read_text())["modules"]["top"]
    nets = {
        net: bool(values[name] >> bit & 1)
        for name, port in module["ports"].items()
        if port["direction"] == "input"
        for bit, net in enumerate(port["bits"])
    }
    waiting = list(module["cells"].values())
    for _ in itertools.count():
        left = []
        for cell in waiting:
            pins = {pin: bits[0] for pin, bits in cell["connections"].items()}
            functions = FUNCTIONS[cell["type"]]
            inputs = {pin: nets.get(net) for pin, net in pins.items() if pin not in functions}
            if None in inputs.values():
                left.append(cell)
                continue
            for output, function in functions.items():
                nets[pins[output]] = bool(function(**inputs))
        if not left:
            return nets
        assert len(left) < len(waiting)
        waiting = left
    raise AssertionError


def output_value(path: Path, nets: dict[int, bool]) -> int:
    bits = json.loads(path.read_text())["modules"]["top"]["ports"]["y"]["bits"]
    return sum(nets[net] << bit for bit, net in enumerate(bits))


def _cell(name: str, inputs: str, outputs: dict[str, tuple[str, list[Arc]]]) -> str:
    text = f"cell ({name}) {{ area : {len(inputs)}.5;\n"
    for pin in inputs:
        hidden = ""
        if name == "HA" and pin == "A":
            tables = "".join(
                f'{e}_power (flat) {{ values ("{_numbers([HIDDEN_FJ] * 3)}"); }} ' for e in ("rise", "fall")
            )
            hidden = f'internal_power () {{ when : "!B"; {tables}}}'
        text += f"  pin ({pin}) {{ direction : input; capacitance : {PIN_FF}; {hidden} }}\n"
    for output, (function, arcs) in outputs.items():
        text += f'  pin ({output}) {{ direction : output; function : "{function}";\n'
        text += "".join(_arc(arc) for arc in arcs)
        fall, rise = ENERGY_FJ.get(name, (1.0, 1.0))
        text += f'    internal_power () {{ related_pin : "{" ".join(inputs)}";\n'
        text += f'      fall_power (scalar) {{ values ("{fall}"); }} rise_power (scalar) {{ values ("{rise}"); }} }}\n'
        text += "  }\n"
    return text + "}\n"


def _arc(arc: Arc) -> str:
    when = f'when : "{arc.when}"; ' if arc.when else ""
    text = f'    timing () {{ related_pin : "{arc.pin}"; {when}\n'
    lines = {
        "cell_fall": arc.fall,
        "cell_rise": arc.rise,
        "fall_transition": arc.fall_slew,
        "rise_transition": arc.rise_slew,
    }
    for table, line in lines.items():
        rows = ", \\\n".join('"' + _numbers([line(slew, load) for load in LOADS]) + '"' for slew in SLEWS)
        text += f"      {table} (grid) {{ values ({rows}); }}\n"
    return text + "    }\n"


def _numbers(values) -> str:
    return ", ".join(repr(float(v)) for v in values)
