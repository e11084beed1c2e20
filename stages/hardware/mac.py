"""Multiply-accumulate operators for any pair of formats, in Amaranth.

An operand is taken apart into sign, significand and shift: value = (-1)^sign * significand * 2^shift, in units of
the format's smallest sub-normal. Significands are multiplied, the product is shifted by the sum of the shifts, and a
negative one is subtracted from a fixed-point accumulator: no bit is ever lost (Kulisch accumulation; Shedding the
Bits, sections 2.4 and 2.1 of its notes). Integers are the case without sign bit and shift.
"""

from dataclasses import dataclass

from amaranth.back import rtlil
from amaranth.hdl import Cat, ClockDomain, Const, Module, Mux, Signal, Value, signed, unsigned

from stages.hardware.mac_design import MacDesign
from stages.hardware.multipliers import product
from stages.lib.numerics.formats import Format, MinifloatFormat


@dataclass(frozen=True, kw_only=True)
class Design:
    """A module with its ports by name."""

    module: Module
    ports: dict[str, Signal]

    def rtlil(self, name: str) -> str:
        """The module as yosys' RTLIL, under that name."""
        return rtlil.convert(self.module, name=name, ports=list(self.ports.values()), emit_src=False)


def build_mac(design: MacDesign) -> Design:
    """The operator with registers. Ports: clk, w, a, clear in; acc out; a register stands behind every input."""
    m = Module()
    # no reset: `clear` starts a dot product, and an FPGA's registers start at zero
    m.domains.sync = clock = ClockDomain("sync", reset_less=True)
    w, a, clear = (
        Signal(design.weight.bits, name="w"),
        Signal(design.activation.bits, name="a"),
        Signal(name="clear"),
    )
    acc = Signal(signed(design.accumulator_bits), name="acc")
    delayed_clear: Value = _register(m, clear)
    operands = [_take_apart(_register(m, w), design.weight), _take_apart(_register(m, a), design.activation)]
    magnitude = product(
        m, operands[0].significand, operands[1].significand, microarchitecture=design.microarchitecture
    )
    negative, shift = _sign_and_shift(operands)
    if design.pipeline == 2:
        magnitude, negative, shift, delayed_clear = (
            _register(m, x) for x in (magnitude, negative, shift, delayed_clear)
        )
    term = magnitude << shift
    if design.pipeline:
        term, negative, delayed_clear = (_register(m, x) for x in (term, negative, delayed_clear))
    m.d.sync += acc.eq(_add(Mux(delayed_clear, 0, acc), term, negative))
    return Design(module=m, ports={"clk": clock.clk, "w": w, "a": a, "clear": clear, "acc": acc})


@dataclass(frozen=True, kw_only=True)
class _Operand:
    """significand  signed for integers, else unsigned; sign and shift are None where the format has none."""

    significand: Value
    sign: Value | None
    shift: Value | None


def _take_apart(code: Value, format: Format) -> _Operand:
    if not isinstance(format, MinifloatFormat):
        return _Operand(significand=code.as_signed() if format.signed else code, sign=None, shift=None)
    x, y = format.exponent_bits, format.mantissa_bits
    exponent = code[y : y + x]
    normal = exponent.any()
    return _Operand(
        significand=Cat(code[:y], normal),
        sign=code[-1] if format.signed else None,
        # sub-normals share the exponent of the smallest normals; with one exponent bit there is no other
        shift=(exponent - normal)[:x] if x > 1 else None,
    )


def _sign_and_shift(operands: list[_Operand]) -> tuple[Value, Value]:
    signs = [o.sign for o in operands if o.sign is not None]
    shifts = [o.shift for o in operands if o.shift is not None]
    negative = signs[0] ^ signs[1] if len(signs) == 2 else Cat(*signs)
    return negative, (shifts[0] + shifts[1] if len(shifts) == 2 else Cat(*shifts))


def _add(total: Value, term: Value, negative: Value) -> Value:
    """total - term where `negative`, else total + term: one adder, whose carry-in completes the complement."""
    if len(negative) == 0:
        return total + term
    flipped = Cat(negative, term.as_unsigned(), term[-1] if term.shape().signed else Const(0, 1))
    flipped = (flipped ^ Cat(Const(0, 1), negative.replicate(len(flipped) - 1))).as_signed()
    return (Cat(Const(1, 1), total).as_signed() + flipped) >> 1


def _register(m: Module, value: Value) -> Value:
    if len(value) == 0:
        return value
    register = Signal(signed(len(value)) if value.shape().signed else unsigned(len(value)))
    m.d.sync += register.eq(value)
    return register
