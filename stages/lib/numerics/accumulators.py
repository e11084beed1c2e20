"""Width of an accumulator that never overflows: the exact need, and the paper's formulas (section 2.4)."""

from math import ceil, log2

from stages.lib.core.errors import InputError
from stages.lib.numerics.formats import Format, IntegerFormat, values_in_steps


def exact_accumulator_bits(a: Format, b: Format, *, length: int) -> int:
    """Two's-complement bits that hold every dot product of `length` products a * b, in units of their smallest step.

    The paper's notes write this as floor(log2(n * mx_a * mx_b)) + 2 for symmetric operands.
    """
    products = [x * y for x in values_in_steps(a) for y in values_in_steps(b)]
    low, high = length * min(0, *products), length * max(0, *products)
    # ~low = -low - 1: two's complement reaches one further below zero than above
    return 1 + max(high.bit_length(), (~low).bit_length() if low < 0 else 0)


def paper_accumulator_bits(a: Format, b: Format, *, length: int) -> int:
    """The published formulas, for two integers or two minifloats (InputError for one of each).

    Integers: r_a + r_b + ceil(log2 n) + 1; minifloats: 2^xa + ya + 2^xb + yb + ceil(log2 n) - 1.
    """
    growth = ceil(log2(length))
    if isinstance(a, IntegerFormat) and isinstance(b, IntegerFormat):
        return a.bits + b.bits + growth + 1
    if isinstance(a, IntegerFormat) or isinstance(b, IntegerFormat):
        raise InputError(f"the paper has no formula for {a.name} times {b.name}; use the exact width")
    operands = (2**f.exponent_bits + f.mantissa_bits for f in (a, b))
    return sum(operands) + growth - 1
