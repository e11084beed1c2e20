"""The operators' emitted Verilog, simulated by Icarus Verilog, against exact integers: no result differs.

The operands' values come from the decode tables; the simulator, the netlist and the arithmetic of the judge have
nothing in common with the compiled simulator that the pipeline uses on mapped netlists.
"""

import os
import shutil
import subprocess
from itertools import accumulate, product
from pathlib import Path

import numpy as np
import pytest

from stages.hardware.mac_checks import code_values, nearest_code
from stages.hardware.mac_design import MacDesign, output_shift
from stages.lib.numerics.formats import parse_format

ROOT = Path(__file__).resolve().parents[2]
LENGTH = 4608

# every microarchitecture, pipeline, accumulator, mixed and unsigned operands, both ends of the exponent range
OPERATORS = [
    ("INT6", "INT5", {"microarchitecture": "rows"}),
    ("FULLINT8", "UINT8", {"microarchitecture": "array"}),
    ("INT8", "INT5", {"microarchitecture": "booth", "pipeline": 1}),
    ("FULLINT8", "FULLINT8", {"microarchitecture": "booth_array"}),
    ("INT6", "INT8", {"microarchitecture": "sign_magnitude"}),
    ("E4M3", "E4M3", {"pipeline": 2}),
    ("E4M3", "INT8", {"microarchitecture": "rows"}),
    ("INT4", "UE4M4", {"microarchitecture": "array", "pipeline": 1}),
    ("E2M1", "E5M2", {"accumulator": "paper"}),
    ("E3M0", "UE3M5", {"microarchitecture": "booth_array"}),
    ("E1M6", "E3M4", {"microarchitecture": "sign_magnitude", "pipeline": 1}),
    ("E7M0", "E1M1", {}),
]
CONVERTED = ["INT8", "UINT4", "E4M3", "UE3M3", "E2M1", "E3M0", "E1M3", "E5M2"]

BENCH = """
module bench;
  reg clk = 0; reg [{w}:0] w; reg [{a}:0] a; reg clear; wire [{acc}:0] acc; wire unused;
  reg [{row}:0] rows [0:{last}]; reg [{acc}:0] wanted [0:{last}]; integer i, bad;
  mac dut(.clk(clk), .w(w), .a(a), .clear(clear), .acc(acc));
  initial begin
    $readmemh("rows.hex", rows); $readmemh("wanted.hex", wanted); bad = 0;
    for (i = 0; i <= {last} + {latency}; i = i + 1) begin
      if (i <= {last}) {{clear, a, w}} = rows[i];
      #1;
      if (i >= {latency} && acc !== wanted[i - {latency}]) bad = bad + 1;
      clk = 1; #1; clk = 0; #1;
    end
    $display("mismatches %0d", bad);
  end
endmodule
"""
CONVERTER_BENCH = """
module bench;
  reg [{acc}:0] acc; wire [{code}:0] code;
  reg [{acc}:0] rows [0:{last}]; reg [{code}:0] wanted [0:{last}]; integer i, bad;
  converter dut(.acc(acc), .code(code));
  initial begin
    $readmemh("rows.hex", rows); $readmemh("wanted.hex", wanted); bad = 0;
    for (i = 0; i <= {last}; i = i + 1) begin acc = rows[i]; #1; if (code !== wanted[i]) bad = bad + 1; end
    $display("mismatches %0d", bad);
  end
endmodule
"""


@pytest.fixture(autouse=True)
def _tools():
    if shutil.which("iverilog") is None:
        pytest.skip("iverilog is not installed (Debian package iverilog)")
    if not (ROOT / ".venv/hardware/bin/python").exists() and not os.environ.get("CI"):
        pytest.skip("the environment hardware is not there; run ./repro setup hardware")


@pytest.mark.parametrize(("weight", "activation", "options"), OPERATORS)
def test_every_product_and_the_longest_dot_products_are_exact(tmp_path, weight, activation, options):
    design = MacDesign(
        weight=parse_format(weight), activation=parse_format(activation), length=LENGTH, **options
    )
    emit(tmp_path, weight, activation, options)
    values = [code_values(f) for f in (design.weight, design.activation)]
    singles = list(product(*values))
    extremes = [[max(v, key=v.get), min(v, key=v.get)] for v in values]
    chains = [[pair] * LENGTH for pair in product(*extremes)]
    rng = np.random.default_rng(0)
    chains.append(list(zip(*(rng.choice(list(v), LENGTH).tolist() for v in values), strict=True)))
    pairs, clear, wanted = (
        list(singles),
        [1] * len(singles),
        [values[0][w] * values[1][a] for w, a in singles],
    )
    for chain in chains:
        pairs += chain
        clear += [1] + [0] * (LENGTH - 1)
        wanted += accumulate(values[0][w] * values[1][a] for w, a in chain)
    w_bits, a_bits = design.weight.bits, design.activation.bits
    rows = [c << (w_bits + a_bits) | a << w_bits | w for (w, a), c in zip(pairs, clear, strict=True)]
    text = BENCH.format(
        w=w_bits - 1,
        a=a_bits - 1,
        acc=design.accumulator_bits - 1,
        row=w_bits + a_bits,
        last=len(rows) - 1,
        latency=design.latency,
    )
    assert mismatches(tmp_path, text, rows, [x % 2**design.accumulator_bits for x in wanted]) == 0
    # the width is needed: the extreme sums do not fit into one bit less
    if design.accumulator == "exact":
        half = 2 ** (design.accumulator_bits - 2)
        assert not all(-half <= x < half for x in wanted)


@pytest.mark.parametrize("name", CONVERTED)
def test_the_way_back_rounds_to_the_nearest_value(tmp_path, name):
    format = parse_format(name)
    design = MacDesign(weight=parse_format(name.removeprefix("U")), activation=format, length=LENGTH)
    emit(tmp_path, design.weight.name, name, {}, "--converter")
    bits, shift = design.accumulator_bits, output_shift(design)
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, bits, 3000).tolist()
    totals = [
        sign * (int.from_bytes(rng.bytes(16), "little") % 2**size) for size in sizes for sign in (1, -1)
    ]
    wanted = [nearest_code(total, format, shift=shift) for total in totals]
    text = CONVERTER_BENCH.format(acc=bits - 1, code=format.bits - 1, last=len(totals) - 1)
    assert mismatches(tmp_path, text, [t % 2**bits for t in totals], wanted) == 0


def emit(folder: Path, weight: str, activation: str, options: dict[str, object], *flags: str) -> None:
    command = [ROOT / "envs/py", "hardware", "-m", "stages.hardware.emit_mac", "--verilog", folder / "dut.v"]
    command += ["--weight", weight, "--activation", activation, "--length", str(LENGTH), *flags]
    command += [word for key, value in options.items() for word in (f"--{key}", str(value))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def mismatches(folder: Path, bench: str, rows: list[int], wanted: list[int]) -> int:
    (folder / "bench.v").write_text(bench)
    (folder / "rows.hex").write_text("\n".join(f"{row:x}" for row in rows))
    (folder / "wanted.hex").write_text("\n".join(f"{value:x}" for value in wanted))
    subprocess.run(["iverilog", "-g2005", "-o", "bench", "bench.v", "dut.v"], cwd=folder, check=True)
    done = subprocess.run(["vvp", "-n", "bench"], cwd=folder, capture_output=True, text=True, check=True)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("mismatches")]
    return int(line.split()[1])
