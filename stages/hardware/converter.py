"""From the accumulator back to a number format: a block of its own, whose cost is counted with and without.

The accumulator holds an integer; times 2^-shift it is a multiple of the format's smallest positive value, and is rounded
to the nearest value, ties to the even multiple of the local step, saturating (Shedding the Bits, section 2.2).
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed

from stages.hardware.mac import Design
from stages.lib.numerics.formats import Format, MinifloatFormat


def converter(format: Format, *, accumulator_bits: int, shift: int) -> Design:
    """Combinational. Ports: acc in (signed), code out."""
    m = Module()
    acc = Signal(signed(accumulator_bits), name="acc")
    code = Signal(format.bits, name="code")
    if isinstance(format, MinifloatFormat):
        m.d.comb += code.eq(_to_minifloat(m, acc, format, shift))
    else:
        m.d.comb += code.eq(_to_integer(m, acc, format, shift))
    return Design(module=m, ports={"acc": acc, "code": code})


def _to_minifloat(m: Module, acc: Signal, format: MinifloatFormat, shift: int) -> Value:
    """Magnitude, normalised by right shifts that keep a sticky bit; then code = (binade << y) + significand.

    Adding the rounded significand, hidden bit and all, makes the carry of a rounding up into the next binade come
    out by itself.
    """
    x, y = format.exponent_bits, format.mantissa_bits
    negative = acc[-1]
    magnitude = Signal(len(acc), name="magnitude")
    m.d.comb += magnitude.eq(Mux(negative, -acc, acc))
    # layout: sticky, guard (worth half a step), then whole steps
    value: Value = _with_guard(magnitude, shift)
    binade: Value = Const(0, 1)
    if x > 1:
        for step in reversed(range(x)):
            value, binade = _normalise(m, value, binade, significand_bits=y + 1, step=step)
    significand = value[2 : 2 + y + 1]
    # what still stands above the significand after the largest shift is past the last binade
    overflow = value[2 + y + 1 :].any()
    rounded = Signal(x + y + 2, name="rounded")
    m.d.comb += rounded.eq((binade << y) + significand + _round_up(value))
    largest = 2 ** (x + y) - 1
    body = Mux(overflow | (rounded > largest), largest, rounded)[: x + y]
    if format.signed:
        # zero has one code: what rounds to it loses its sign
        return Cat(body, negative & body.any())
    return Mux(negative, 0, body)


def _normalise(
    m: Module, value: Value, binade: Value, *, significand_bits: int, step: int
) -> tuple[Value, Value]:
    """Shift right by 2^step where the part above the significand is at least that long."""
    distance = 2**step
    above = value[2 + significand_bits + distance - 1 :]
    if len(above) == 0:
        return value, binade
    long = Signal(name=f"long{step}")
    m.d.comb += long.eq(above.any())
    shifted = Cat(value[: distance + 1].any(), value[distance + 1 :])
    chosen = Signal(len(value), name=f"normal{step}")
    m.d.comb += chosen.eq(Mux(long, shifted, value))
    return chosen, binade + (long << step)


def _to_integer(m: Module, acc: Signal, format: Format, shift: int) -> Value:
    value = _with_guard(acc, shift)
    rounded = Signal(signed(len(value) - 1), name="rounded")
    m.d.comb += rounded.eq(value[2:].as_signed() + _round_up(value))
    low, high = int(format.min_value), int(format.max_value)
    return Mux(rounded > high, high, Mux(rounded < low, low, rounded))[: format.bits]


def _with_guard(value: Value, shift: int) -> Value:
    """value * 2^-shift in steps of one quarter: a sticky bit, a guard bit and the whole part."""
    if shift == 0:
        return Cat(Const(0, 2), value)
    if shift == 1:
        return Cat(Const(0, 1), value)
    return Cat(value[: shift - 1].any(), value[shift - 1 :])


def _round_up(value: Value) -> Value:
    # more than half a step, or just half above an odd multiple
    return value[1] & (value[0] | value[2])
