"""Number formats of at most 8 bits: minifloats ExMy and integers (Shedding the Bits, section 2.1 of its notes).

A minifloat here has no infinity and no NaN: every code is a number and conversion saturates. The published
8-bit floats that reserve codes (OCP, IEEE, FNUZ) are the same formats with another largest value or bias.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

from stages.lib.core.errors import InputError

MIN_BITS, MAX_BITS = 2, 8


@dataclass(frozen=True, kw_only=True)
class MinifloatFormat:
    """ExMy: sign, x exponent bits, y mantissa bits, sub-normals on.

    signed      an unsigned ExMy has no sign bit and no negative values
    bias        of the exponent; None: 2^(x - 1) - 1
    largest     largest value, where codes above it are reserved; None: the top code is a number
    """

    exponent_bits: int
    mantissa_bits: int
    signed: bool = True
    bias: int | None = None
    largest: float | None = None

    def __post_init__(self) -> None:
        if self.exponent_bits < 1 or self.mantissa_bits < 0 or not MIN_BITS <= self.bits <= MAX_BITS:
            raise InputError(
                f"{self.name} has {self.bits} bits: choose ExMy with x of 1 or more, y of 0 or more, and"
                f" {MIN_BITS} to {MAX_BITS} bits in all (1 + x + y signed, x + y unsigned)"
            )

    @property
    def bits(self) -> int:
        return self.signed + self.exponent_bits + self.mantissa_bits

    @property
    def name(self) -> str:
        return f"{'' if self.signed else 'U'}E{self.exponent_bits}M{self.mantissa_bits}"

    @property
    def exponent_bias(self) -> int:
        return 2 ** (self.exponent_bits - 1) - 1 if self.bias is None else self.bias

    @property
    def min_exponent(self) -> int:
        """Exponent of the smallest normal value and of all sub-normals."""
        return 1 - self.exponent_bias

    @property
    def max_value(self) -> float:
        if self.largest is not None:
            return self.largest
        return (2 - 2.0**-self.mantissa_bits) * 2.0 ** (2**self.exponent_bits - 1 - self.exponent_bias)

    @property
    def min_value(self) -> float:
        return -self.max_value if self.signed else 0.0

    @property
    def min_positive(self) -> float:
        return 2.0 ** (self.min_exponent - self.mantissa_bits)

    @property
    def uniform(self) -> bool:
        """One step everywhere: with one exponent bit both binades share the sub-normals' step."""
        return self.exponent_bits == 1


@dataclass(frozen=True, kw_only=True)
class IntegerFormat:
    """Two's complement or unsigned integers. narrow leaves out the one negative value without a positive twin."""

    bits: int
    signed: bool = True
    narrow: bool = True

    def __post_init__(self) -> None:
        if not MIN_BITS <= self.bits <= MAX_BITS:
            raise InputError(f"{self.name} has {self.bits} bits: choose {MIN_BITS} to {MAX_BITS}")

    @property
    def name(self) -> str:
        if not self.signed:
            return f"UINT{self.bits}"
        return f"INT{self.bits}" if self.narrow else f"FULLINT{self.bits}"

    @property
    def max_value(self) -> float:
        return 2.0 ** (self.bits - self.signed) - 1

    @property
    def min_value(self) -> float:
        if not self.signed:
            return 0.0
        return -self.max_value - (not self.narrow)

    @property
    def min_positive(self) -> float:
        return 1.0

    @property
    def uniform(self) -> bool:
        return True


Format = MinifloatFormat | IntegerFormat


def parse_format(name: str) -> Format:
    """The format of a name: E4M3, UE4M4 (unsigned), INT8 (symmetric, -127..127), FULLINT8 (-128..127), UINT8.

    Raises InputError with the valid range.
    """
    if match := re.fullmatch(r"(U?)E(\d{1,2})M(\d{1,2})", name):
        sign, exponent, mantissa = match.groups()
        return MinifloatFormat(exponent_bits=int(exponent), mantissa_bits=int(mantissa), signed=not sign)
    if match := re.fullmatch(r"(U|FULL)?INT(\d{1,2})", name):
        kind, bits = match.groups()
        return IntegerFormat(bits=int(bits), signed=kind != "U", narrow=kind != "FULL")
    raise InputError(
        f"{name!r} is not a number format: write ExMy (E4M3; UE4M4 for unsigned) or INTn (INT8, UINT8, FULLINT8)"
        f" of {MIN_BITS} to {MAX_BITS} bits"
    )


def minifloats(bits: int, *, signed: bool = True) -> tuple[MinifloatFormat, ...]:
    """Every ExMy of that many bits with x >= 1 and y >= 0, from few exponent bits to many."""
    body = bits - signed
    return tuple(
        MinifloatFormat(exponent_bits=x, mantissa_bits=body - x, signed=signed) for x in range(1, body + 1)
    )


def all_formats(bits: int, *, signed: bool = True) -> tuple[Format, ...]:
    """Every minifloat of that many bits, then the (symmetric) integer."""
    return (*minifloats(bits, signed=signed), IntegerFormat(bits=bits, signed=signed))


def values_in_steps(format: Format) -> tuple[int, int]:
    """(smallest, largest) value in units of the smallest positive one: what a fixed-point adder must hold."""
    step = Fraction(format.min_positive)
    return int(Fraction(format.min_value) / step), int(Fraction(format.max_value) / step)
