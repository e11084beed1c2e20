"""Multipliers and multiply-accumulate logic mapped onto a standard-cell library by yosys and ABC.

A netlist is combinational: what lies between two registers of a systolic cell. Either the multiplier has a pipeline
stage of its own, or the addition to the partial sum shares it ("fused"): HALO does not say which (section 2.3).
Ports: weight w, activation a, both 8-bit two's complement; own stage: product p; fused: partial sum c, sum y.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import Module, Signal, signed

from stages.hardware.cell_library import Technology
from stages.hardware.config import STANDARD_CELL_MULTIPLIERS
from stages.hardware.multipliers import product
from stages.hardware.yosys import run_yosys
from stages.lib.core.errors import InputError

OPERAND_BITS = 8
# no circuit here is as fast: ABC then makes each of them as fast as it can
TARGET_PS = 300


@dataclass(frozen=True, kw_only=True)
class MacStage:
    """One netlist to synthesise.

    swapped           the weight is the first operand and the activation the second: rows of an array and Booth digits
                      are the second operand's, the weight's if not swapped
    accumulator_bits  width of the fused addition, 0 for a multiplier of its own stage
    """

    microarchitecture: str
    swapped: bool = False
    accumulator_bits: int = 0

    @property
    def name(self) -> str:
        accumulate = f"_mac{self.accumulator_bits}" if self.accumulator_bits else ""
        return self.microarchitecture + ("_swapped" if self.swapped else "") + accumulate


def mac_stage(name: str) -> MacStage:
    """The netlist of a name such as "array", "booth_swapped" or "array_mac24"."""
    kind, swapped, bits = re.fullmatch(r"(.*?)(_swapped)?(?:_mac(\d+))?", name, re.DOTALL).groups()
    if kind not in STANDARD_CELL_MULTIPLIERS:
        raise InputError(
            f"there is no netlist {name!r}; choose one of {', '.join(STANDARD_CELL_MULTIPLIERS)}, "
            "with _swapped where the weight is the first operand, with _mac24 where a 24-bit sum is in the same stage"
        )
    if bits and not 2 * OPERAND_BITS <= int(bits) <= 48:
        raise InputError(f"netlist {name!r}: the accumulator must have {2 * OPERAND_BITS} to 48 bits")
    return MacStage(microarchitecture=kind, swapped=bool(swapped), accumulator_bits=int(bits or 0))


def stage_rtlil(stage: MacStage) -> str:
    """The RTL as yosys' intermediate language, module named after the stage."""
    m = Module()
    w, a = Signal(signed(OPERAND_BITS), name="w"), Signal(signed(OPERAND_BITS), name="a")
    operands = (w, a) if stage.swapped else (a, w)
    result = product(m, *operands, microarchitecture=stage.microarchitecture)
    if stage.accumulator_bits:
        c = Signal(signed(stage.accumulator_bits), name="c")
        y = Signal(signed(stage.accumulator_bits), name="y")
        m.d.comb += y.eq(c + result)
        ports = [w, a, c, y]
    else:
        p = Signal(signed(2 * OPERAND_BITS), name="p")
        m.d.comb += p.eq(result)
        ports = [w, a, p]
    return rtlil.convert(m, name=stage.name, ports=ports, emit_src=False)


def synthesise(stage: MacStage, technology: Technology, *, library: Path, folder: Path) -> None:
    """Write NAME.json and NAME.v of a stage into `folder`.

    One process for each: within a process yosys numbers its names on, and ABC maps the same logic in another way.
    library  the Liberty file that ABC reads, inside `folder`: yosys reaches nothing else
    """
    (folder / f"{stage.name}.il").write_text(stage_rtlil(stage), encoding="utf-8")
    # without driving cell and load ABC sizes and buffers nothing
    (folder / "drive.constr").write_text(
        f"set_driving_cell {technology.driving_cell}\nset_load {technology.output_load_ff} [all_outputs]\n",
        encoding="utf-8",
    )
    run_yosys(_stage_script(stage, library.name), folder=folder)


def _stage_script(stage: MacStage, library: str) -> list[str]:
    booth = " -booth" if stage.microarchitecture == "booth" else ""
    return [
        f"read_rtlil {stage.name}.il",
        f"synth -flatten -top {stage.name}{booth}",
        f"abc -liberty {library} -constr drive.constr -D {TARGET_PS}",
        "opt_clean -purge",
        "rename -enumerate",  # so that names in JSON and Verilog agree
        f"write_json {stage.name}.json",
        f"write_verilog -noattr -noexpr -nodec {stage.name}.v",
    ]
