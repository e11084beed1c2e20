"""Integer-exact matrix products with a finite accumulator, as a fixed-point MAC forms them term by term.

An operand is an integer: its value in units of the format's smallest positive one ("steps"). A product of two
steps is then the unit of the accumulator (Kulisch accumulation; Shedding the Bits, section 2.4 of its notes), and
no sum is ever rounded. Every dot product also tells the two's-complement width that all of its partial sums need:
one pass thus counts the overflows of every narrower accumulator.

Three kernels, chosen by a proven bound on the partial sums: 32-bit sums, 64-bit sums, and two 64-bit limbs.
Weights of zero are skipped: they change no partial sum.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numba import njit

from stages.lib.core.errors import InputError
from stages.lib.numerics.formats import Format, values_in_steps
from stages.lib.numerics.quantisers import round_to_format

Overflow = Literal["wrap", "saturate"]
OVERFLOWS = ("wrap", "saturate")
MAX_WIDTH_BITS = 127  # of the histogram; the two limbs hold less (see _limb_bits)

_PACKED = 2**17  # elements of the operand block that stays in the second-level cache: 512 KiB of int32
_UNROLL = 4  # terms between loading and storing a column's running sum


@dataclass(frozen=True, kw_only=True)
class ExactSums:
    """Sums of products, in units of the product of both operands' steps.

    high         (O, N) int64: the sums, or their upper limb
    low          (O, N) int64 in 0 .. 2^shift - 1: sum = high * 2^shift + low; None: high is the whole sum
    shift        bits of the lower limb
    needed_bits  (MAX_WIDTH_BITS + 1,) int64: dot products by the width that all of their partial sums need,
                 on an accumulator that starts at 0; index = bits
    """

    high: np.ndarray
    low: np.ndarray | None
    shift: int
    needed_bits: np.ndarray

    def to_float64(self) -> np.ndarray:
        """(O, N): exact below 2^53, and within one unit in the last place above it."""
        if self.low is None:
            return self.high.astype(np.float64)
        # by magnitude: with limbs of opposite signs the sum of two rounded limbs would cancel
        negative = self.high < 0
        low = np.where(negative & (self.low > 0), 2**self.shift - self.low, self.low)
        high = np.where(negative, -self.high - (self.low > 0), self.high)
        magnitude = np.ldexp(high.astype(np.float64), self.shift) + low
        return np.where(negative, -magnitude, magnitude)

    def to_integers(self) -> np.ndarray:
        """(O, N) Python integers (dtype object), for any width."""
        if self.low is None:
            return self.high.astype(object)
        return self.high.astype(object) * 2**self.shift + self.low.astype(object)

    def overflows(self, accumulator_bits: int) -> int:
        """Dot products with at least one overflow in an accumulator of that width.

        Until its first overflow a wrapping and a saturating accumulator both hold the exact partial sum, so that
        the number is the same for both.
        """
        return int(self.needed_bits[accumulator_bits + 1 :].sum())


def steps_of(values: np.ndarray, format: Format) -> np.ndarray:
    """int64: unscaled values of a format in units of its smallest positive value; same shape.

    E2M1: 0, 1, 2, 3, 4, 6, 8, 12 and their negatives. Raises InputError where the format's steps exceed 63 bits
    (more than five exponent bits), and ValueError at the first value that is not in the format.
    """
    if max(map(abs, values_in_steps(format))) >= 2**62:
        raise InputError(
            f"{format.name} spans {values_in_steps(format)[1].bit_length()} bits in units of its smallest value;"
            " integer-exact sums hold formats of up to five exponent bits"
        )
    values = np.asarray(values, dtype=np.float64)
    if np.any(wrong := round_to_format(values, format) != values):
        raise ValueError(f"{values[wrong][0]} is not a value of {format.name}; round to the format first")
    return (values / format.min_positive).astype(np.int64)  # a division by a power of two is exact


def exact_matmul(
    w_steps: np.ndarray,
    x_steps: np.ndarray,
    *,
    accumulator_bits: int | None = None,
    overflow: Overflow = "wrap",
) -> ExactSums:
    """w (O, K) times x (K, N), both integers, summed in the order of k.

    accumulator_bits  two's-complement width; None: wide enough
    overflow          wrap: modulo 2^bits, as the RTL does; saturate: clamped after each term
    needed_bits of the result describe exact partial sums, whatever the accumulator.
    Raises InputError where the sums may exceed both limbs.
    """
    w, x = _integers(w_steps, np.int64), _integers(x_steps, x_steps.dtype)
    if overflow not in OVERFLOWS:
        raise InputError(f"overflow is {overflow!r}: choose {' or '.join(OVERFLOWS)}")
    if accumulator_bits is not None and not 2 <= accumulator_bits <= MAX_WIDTH_BITS:
        raise InputError(f"accumulator_bits is {accumulator_bits}: choose 2 to {MAX_WIDTH_BITS}, or none")
    sums = _exact_sums(w, x)
    if accumulator_bits is None or sums.overflows(accumulator_bits) == 0:
        return sums
    if overflow == "saturate":
        return _saturated(w, x, sums, accumulator_bits)
    return _wrapped(sums, accumulator_bits)


def _integers(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """C-contiguous int32 or int64: the kernels are compiled for these two only."""
    kind = np.int32 if dtype == np.int32 else np.int64
    return values.astype(kind, order="C", casting="same_kind", copy=False)  # floats raise TypeError


def _largest(values: np.ndarray) -> int:
    return max(int(values.max(initial=0)), -int(values.min(initial=0)))


def _partial_sum_bound(w: np.ndarray, x: np.ndarray) -> int:
    """A bound on |partial sum| over all dot products: the largest row sum of |w| times the largest |x|."""
    row = _largest(w) * w.shape[1]
    if row < 2**63:
        row = int(np.abs(w).sum(1).max(initial=0))
    return row * _largest(x)


def _exact_sums(w: np.ndarray, x: np.ndarray) -> ExactSums:
    bound = _partial_sum_bound(w, x)
    if bound < 2**31:
        return _narrow_sums(w, x, np.int32)
    return _narrow_sums(w, x, np.int64) if bound < 2**63 else _wide_sums(w, x, bound)


def _narrow_sums(w: np.ndarray, x: np.ndarray, dtype: type) -> ExactSums:
    # a product of 32-bit operands is one instruction for both widths of the sum
    operand = np.int32 if max(_largest(w), _largest(x)) < 2**31 else np.int64
    sums = np.empty((len(w), x.shape[1]), dtype=dtype)
    needed_bits = np.zeros(MAX_WIDTH_BITS + 1, dtype=np.int64)
    packed = np.empty((w.shape[1], _columns(*x.shape)), dtype=operand)
    _accumulate_(sums, needed_bits, packed, w.astype(operand), x)
    return ExactSums(high=sums.astype(np.int64, copy=False), low=None, shift=0, needed_bits=needed_bits)


def _wide_sums(w: np.ndarray, x: np.ndarray, bound: int) -> ExactSums:
    shift = _limb_bits(w, bound)
    high, low = (np.empty((len(w), x.shape[1]), dtype=np.int64) for _ in range(2))
    needed_bits = np.zeros(MAX_WIDTH_BITS + 1, dtype=np.int64)
    packed = np.empty((2, w.shape[1], _columns(*x.shape)), dtype=np.int64)
    _accumulate_limbs_(high, low, needed_bits, packed, w, x, shift)
    return ExactSums(high=high, low=low, shift=shift, needed_bits=needed_bits)


def _limb_bits(w: np.ndarray, bound: int) -> int:
    """Bits of the lower limb: as many as leave |w| times a lower limb, and a carry, below 2^63."""
    shift = max(62 - _largest(w).bit_length(), 0)
    if bound >= 2 ** (62 + shift):
        raise InputError(
            f"sums of up to {bound.bit_length() + 1} bits exceed the {63 + shift} of the integer-exact"
            " product; use formats of up to five exponent bits"
        )
    return shift


def _wrapped(sums: ExactSums, bits: int) -> ExactSums:
    if sums.low is None or bits > sums.shift:
        high, low = _modulo(sums.high, bits - sums.shift), sums.low
    else:
        whole = _modulo(sums.low, bits)
        high, low = whole >> sums.shift, whole & (2**sums.shift - 1)
    return ExactSums(high=high, low=low, shift=sums.shift, needed_bits=sums.needed_bits)


def _modulo(values: np.ndarray, bits: int) -> np.ndarray:
    """int64 values modulo 2^bits, in -2^(bits - 1) .. 2^(bits - 1) - 1."""
    unused = max(64 - bits, 0)
    return values << unused >> unused


def _saturated(w: np.ndarray, x: np.ndarray, sums: ExactSums, bits: int) -> ExactSums:
    # two limbs whatever the width: speed matters little here, and one kernel is less to trust
    shift = sums.shift or _limb_bits(w, 0)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    limits = np.array([[limit >> shift, limit & (2**shift - 1)] for limit in (low, high)], dtype=np.int64)
    result = np.empty((2, *sums.high.shape), dtype=np.int64)
    packed = np.empty((2, w.shape[1], _columns(*x.shape)), dtype=np.int64)
    _saturate_limbs_(result[0], result[1], packed, w, x, shift, limits)
    if sums.low is None:
        whole = (result[0] << shift) + result[1]
        return ExactSums(high=whole, low=None, shift=0, needed_bits=sums.needed_bits)
    return ExactSums(high=result[0], low=result[1], shift=shift, needed_bits=sums.needed_bits)


def _columns(terms: int, columns: int) -> int:
    """Columns of x that one block takes: its terms stay in the cache, and vectors are filled."""
    block = min(max(_PACKED // max(terms, 1), 64), 1024)
    return min(block, max(columns, 1))


@njit(cache=True)
def _accumulate_(
    sums: np.ndarray, needed_bits: np.ndarray, packed: np.ndarray, w: np.ndarray, x: np.ndarray
) -> None:
    """Fills sums (O, N) int32 or int64 and adds to needed_bits. w (O, K) and packed (K, block) have one dtype.

    max(s, ~s) is s or, below zero, -s - 1: the bits that s needs beside its sign. The or over all partial sums
    has the bit length of the longest one.
    """
    kind = sums.dtype.type
    block = packed.shape[1]
    total, used = np.empty(block, dtype=sums.dtype), np.empty(block, dtype=sums.dtype)
    term, factor = _terms(w)
    for start in range(0, x.shape[1], block):
        width = min(block, x.shape[1] - start)
        for k in range(x.shape[0]):
            for c in range(width):
                packed[k, c] = x[k, start + c]
        for o in range(w.shape[0]):
            total[:] = 0
            used[:] = 0
            for i in range(0, _nonzero_(term, factor, w[o]), _UNROLL):
                x0, x1, x2, x3 = (
                    packed[term[i]],
                    packed[term[i + 1]],
                    packed[term[i + 2]],
                    packed[term[i + 3]],
                )
                w0, w1, w2, w3 = (
                    kind(factor[i]),
                    kind(factor[i + 1]),
                    kind(factor[i + 2]),
                    kind(factor[i + 3]),
                )
                for c in range(width):
                    s0 = kind(total[c] + w0 * kind(x0[c]))
                    s1 = kind(s0 + w1 * kind(x1[c]))
                    s2 = kind(s1 + w2 * kind(x2[c]))
                    s3 = kind(s2 + w3 * kind(x3[c]))
                    total[c] = s3
                    used[c] |= (
                        max(s0, kind(~s0)) | max(s1, kind(~s1)) | max(s2, kind(~s2)) | max(s3, kind(~s3))
                    )
            for c in range(width):
                sums[o, start + c] = total[c]
                needed_bits[1 + _bit_length(used[c])] += 1


@njit(cache=True)
def _accumulate_limbs_(
    high: np.ndarray,
    low: np.ndarray,
    needed_bits: np.ndarray,
    packed: np.ndarray,
    w: np.ndarray,
    x: np.ndarray,
    shift: int,
) -> None:
    """As _accumulate_, with sums in two limbs; packed (2, K, block) holds those of x. All arrays int64."""
    mask = (np.int64(1) << shift) - 1
    block = packed.shape[2]
    upper, lower = np.empty(block, dtype=np.int64), np.empty(block, dtype=np.int64)
    used_upper, used_lower = np.empty(block, dtype=np.int64), np.empty(block, dtype=np.int64)
    term, factor = _terms(w)
    for start in range(0, x.shape[1], block):
        width = min(block, x.shape[1] - start)
        _split_(packed, x, start, width, shift)
        for o in range(w.shape[0]):
            upper[:], lower[:], used_upper[:], used_lower[:] = 0, 0, 0, 0
            for i in range(_nonzero_(term, factor, w[o])):
                x_upper, x_lower, a = packed[0, term[i]], packed[1, term[i]], factor[i]
                for c in range(width):
                    carried = lower[c] + a * x_lower[c]
                    total = upper[c] + a * x_upper[c] + (carried >> shift)
                    rest = carried & mask
                    upper[c], lower[c] = total, rest
                    negative = total >> 63
                    used_upper[c] |= total ^ negative
                    used_lower[c] |= rest ^ (negative & mask)
            for c in range(width):
                high[o, start + c], low[o, start + c] = upper[c], lower[c]
                length = shift + _bit_length(used_upper[c]) if used_upper[c] else _bit_length(used_lower[c])
                needed_bits[1 + length] += 1


@njit(cache=True)
def _saturate_limbs_(
    high: np.ndarray,
    low: np.ndarray,
    packed: np.ndarray,
    w: np.ndarray,
    x: np.ndarray,
    shift: int,
    limits: np.ndarray,
) -> None:
    """Sums clamped after each term to limits (2, 2): both limbs of the smallest value, then of the largest."""
    mask = (np.int64(1) << shift) - 1
    block = packed.shape[2]
    upper, lower = np.empty(block, dtype=np.int64), np.empty(block, dtype=np.int64)
    term, factor = _terms(w)
    (min_upper, min_lower), (max_upper, max_lower) = limits
    for start in range(0, x.shape[1], block):
        width = min(block, x.shape[1] - start)
        _split_(packed, x, start, width, shift)
        for o in range(w.shape[0]):
            upper[:], lower[:] = 0, 0
            for i in range(_nonzero_(term, factor, w[o])):
                x_upper, x_lower, a = packed[0, term[i]], packed[1, term[i]], factor[i]
                for c in range(width):
                    carried = lower[c] + a * x_lower[c]
                    total = upper[c] + a * x_upper[c] + (carried >> shift)
                    rest = carried & mask
                    above = (total > max_upper) | ((total == max_upper) & (rest > max_lower))
                    below = (total < min_upper) | ((total == min_upper) & (rest < min_lower))
                    upper[c] = max_upper if above else (min_upper if below else total)
                    lower[c] = max_lower if above else (min_lower if below else rest)
            high[o, start : start + width], low[o, start : start + width] = upper[:width], lower[:width]


@njit(cache=True)
def _split_(packed: np.ndarray, x: np.ndarray, start: int, width: int, shift: int) -> None:
    mask = (np.int64(1) << shift) - 1
    for k in range(x.shape[0]):
        for c in range(width):
            value = np.int64(x[k, start + c])
            packed[0, k, c], packed[1, k, c] = value >> shift, value & mask


@njit(cache=True)
def _terms(w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Room for the indices and factors of one row's terms, rounded up to a whole number of unrolled steps."""
    room = w.shape[1] + _UNROLL
    return np.empty(room, dtype=np.int64), np.empty(room, dtype=w.dtype)


@njit(cache=True)
def _nonzero_(term: np.ndarray, factor: np.ndarray, row: np.ndarray) -> int:
    """Fills in the terms of a row whose weight is not 0, then zeros up to a whole step; returns their number."""
    n = 0
    for k in range(row.size):
        if row[k] != 0:
            term[n], factor[n] = k, row[k]
            n += 1
    term[n : n + _UNROLL], factor[n : n + _UNROLL] = 0, 0
    return n


@njit(cache=True)
def _bit_length(value: int) -> int:
    """Bits of a non-negative int64."""
    value, n = np.int64(value), 0
    for half in (32, 16, 8, 4, 2, 1):
        if value >> half:
            value >>= half
            n += half
    return n + value
