"""The event simulation against Icarus Verilog: edges of all gates, settle times and values of every vector.

Every instance of a random netlist gets a cell of its own with random delays, which `assign #(rise, fall)` has too.
"""

import json
import shutil
import subprocess

import numpy as np
import pytest

from stages.hardware.gate_simulation import simulate
from stages.hardware.liberty import read_library
from stages.hardware.netlist import read_netlist
from tests.unit.hardware.tiny_gates import CELLS, Arc, Line, library_text, random_netlist

VECTORS = 200
VERILOG = {
    "INV": "~{A}",
    "BUF": "{A}",
    "NAND2": "~({A} & {B})",
    "XOR2": "{A} ^ {B}",
    "AOI21": "~(({A} & {B}) | {C})",
}
VERILOG_HA = {"S": "{A} ^ {B}", "CO": "{A} & {B}"}
BENCH = """`timescale 1ns/1fs
module bench;
  reg [{last}:0] in; reg [{last}:0] rows [0:{vectors}]; integer i, edges; realtime start, settled;
  {wires}
  {assigns}
  initial begin
    $readmemb("rows.txt", rows); in = rows[0]; #1000;
    for (i = 1; i <= {vectors}; i = i + 1) begin
      edges = 0; start = $realtime; settled = start; in = rows[i]; #1000;
      $display("%0d %0.6f %b", edges, settled - start, {{{outputs}}});
    end
  end
  {counters}
endmodule
"""


@pytest.mark.parametrize("seed", range(6))
def test_edges_settle_times_and_values_are_those_of_icarus_verilog(tmp_path, seed):
    if shutil.which("iverilog") is None:
        pytest.skip("Icarus Verilog is not installed; on Debian: apt-get install iverilog")
    rng = np.random.default_rng(seed)
    path = random_netlist(tmp_path / "n.json", rng, widths={"a": 6}, gates=60)
    raw = json.loads(path.read_text())
    module, cells, delays = raw["modules"]["top"], {}, {}
    for name, cell in module["cells"].items():
        inputs, outputs = CELLS[cell["type"]]
        cells[name], delays[name] = (inputs, {}), {}
        for output, (function, _) in outputs.items():
            fall, rise = rng.integers(20_000, 120_000, 2) / 1e6  # ns, whole femtoseconds
            delays[name][output] = (fall, rise)
            cells[name][1][output] = (function, [Arc(pin, Line(fall), Line(rise)) for pin in inputs])
    rows = rng.integers(0, 64, VECTORS + 1)
    expected = icarus(tmp_path, module, delays, rows)

    for name, cell in module["cells"].items():
        cell["type"] = name
    path.write_text(json.dumps(raw))
    (tmp_path / "cells.lib").write_text(library_text(cells))
    netlist = read_netlist(path, read_library(tmp_path / "cells.lib"), output_load_ff=1.0)
    activity = simulate(netlist, {}, {"a": rows}, input_slew_ns=0.05)
    assert activity.toggles[0].tolist() == [edges for edges, _, _ in expected]
    assert activity.outputs["y"][0].tolist() == [value for _, _, value in expected]
    np.testing.assert_allclose(activity.settle_ns[0], [settled for _, settled, _ in expected], atol=2e-6)
    assert activity.toggles.sum() > 1.2 * activity.settled_toggles.sum()  # there are glitches to count


def icarus(folder, module, delays, rows):
    """(edges, settle time in ns, output value) of every vector."""
    inputs = {net: f"in[{bit}]" for bit, net in enumerate(module["ports"]["a"]["bits"])}
    outputs = module["ports"]["y"]["bits"]
    wires, assigns, counters = [], [], []
    for name, cell in module["cells"].items():
        pins = {pin: inputs.get(bits[0], f"n{bits[0]}") for pin, bits in cell["connections"].items()}
        for output, (fall, rise) in delays[name].items():
            function = (VERILOG_HA[output] if cell["type"] == "HA" else VERILOG[cell["type"]]).format(**pins)
            wires.append(f"wire {pins[output]};")
            assigns.append(f"assign #({rise:.6f}, {fall:.6f}) {pins[output]} = {function};")
            last = "settled = $realtime;" if cell["connections"][output][0] in outputs else ""
            counters.append(f"always @({pins[output]}) begin edges = edges + 1; {last} end")
    text = BENCH.format(
        last=len(inputs) - 1,
        vectors=VECTORS,
        wires=" ".join(wires),
        assigns="\n  ".join(assigns),
        outputs=", ".join(f"n{net}" for net in reversed(outputs)),
        counters="\n  ".join(counters),
    )
    (folder / "bench.v").write_text(text)
    (folder / "rows.txt").write_text("\n".join(format(row, f"0{len(inputs)}b") for row in rows))
    subprocess.run(["iverilog", "-o", "bench", "bench.v"], cwd=folder, check=True)
    done = subprocess.run(["vvp", "bench"], cwd=folder, check=True, capture_output=True, text=True)
    lines = [line.split() for line in done.stdout.splitlines() if len(line.split()) == 3]
    assert len(lines) == VECTORS
    return [(int(edges), float(settled), int(value, 2)) for edges, settled, value in lines]
