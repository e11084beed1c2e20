"""Verilog of one multiply-accumulate operator, or of the way back from its accumulator to the activation's format.

python -m stages.hardware.emit_mac --weight E4M3 --activation INT8 --verilog mac.v
    [--length 4608 --microarchitecture array --pipeline 1 --accumulator exact --converter]

Module `mac`: clk, w, a, clear in; acc out, (2 + pipeline) clock edges later, in units of the product of both formats'
smallest positive values. Module `converter`: acc in, code out, combinational.
"""

import argparse
import tempfile
from pathlib import Path

from stages.hardware.converter import converter
from stages.hardware.fpga import ROWS, Job, multiplier_passes
from stages.hardware.mac import build_mac
from stages.hardware.mac_design import ACCUMULATORS, MICROARCHITECTURES, PIPELINES, MacDesign, output_shift
from stages.hardware.yosys import run_yosys
from stages.lib.core.artifacts import write_text
from stages.lib.core.errors import run
from stages.lib.numerics.formats import parse_format


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    design = MacDesign(
        weight=parse_format(args.weight),
        activation=parse_format(args.activation),
        length=args.length,
        microarchitecture=args.microarchitecture,
        accumulator=args.accumulator,
        pipeline=args.pipeline,
    )
    if args.converter:
        block = converter(
            design.activation, accumulator_bits=design.accumulator_bits, shift=output_shift(design)
        )
        text = verilog(Job(rtlil=block.rtlil("converter")), "converter")
        print(
            f"{design.accumulator_bits} bits, scaled by 2^-{output_shift(design)}, to {design.activation.name}"
        )
    else:
        text = verilog(
            Job(rtlil=build_mac(design).rtlil("mac"), microarchitecture=design.microarchitecture), "mac"
        )
        print(f"accumulator of {design.accumulator_bits} bits, {design.latency} clock edges of latency")
    write_text(args.verilog, text)


def verilog(job: Job, name: str) -> str:
    """The design as Verilog, with its multiplier in the microarchitecture that was asked for."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "design.il").write_text(job.rtlil, encoding="utf-8")
        script = [
            "read_rtlil design.il",
            f"hierarchy -top {name}",
            *multiplier_passes(job),
            "proc",
            "flatten",
        ]
        # the adders of "rows" and "booth" are cells of yosys' own, which Verilog can only write as gates
        script += ["techmap t:$alu t:$fa", "opt_clean", "write_verilog -noattr design.v"]
        run_yosys(script, folder=folder, files=[ROWS])
        return (folder / "design.v").read_text(encoding="utf-8")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weight", required=True, help="format: E4M3, UE4M4, INT8, UINT8, FULLINT8")
    parser.add_argument("--activation", required=True, help="format of the other operand")
    parser.add_argument("--length", type=int, default=4608, help="products in the longest dot product")
    parser.add_argument("--microarchitecture", choices=MICROARCHITECTURES, default="default")
    parser.add_argument("--pipeline", type=int, choices=PIPELINES, default=0, help="registers inside")
    parser.add_argument("--accumulator", choices=tuple(ACCUMULATORS), default="exact")
    parser.add_argument("--converter", action="store_true", help="the way back instead of the operator")
    parser.add_argument("--verilog", required=True, help="file to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
