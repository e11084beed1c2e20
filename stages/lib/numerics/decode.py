"""Decode tables: the value of each code, and the code of each value."""

import numpy as np

from stages.lib.numerics.formats import Format, IntegerFormat, MinifloatFormat


def decode_table(format: Format) -> np.ndarray:
    """(2^bits,) float64: the value of each code; NaN where a variant reserves the code.

    Minifloat codes are sign, exponent, mantissa from the top bit down (the code of -0 holds -0.0);
    integer codes are two's complement.
    """
    if isinstance(format, IntegerFormat):
        return _integer_table(format)
    return _minifloat_table(format)


def encode(values: np.ndarray, format: Format) -> np.ndarray:
    """Codes (uint8) of values that the format holds exactly; both zeros give code 0.

    Raises ValueError at the first value that is not in the format: round first.
    """
    values = np.asarray(values, dtype=np.float64)
    table = decode_table(format)
    codes = np.flatnonzero(~np.isnan(table) & ~((table == 0) & np.signbit(table)))
    order = codes[np.argsort(table[codes])]
    index = np.searchsorted(table[order], values).clip(max=len(order) - 1)
    found = order[index]
    if np.any(wrong := table[found] != values):
        raise ValueError(f"{values[wrong][0]} is not a value of {format.name}; round to the format first")
    return found.astype(np.uint8)


def _minifloat_table(format: MinifloatFormat) -> np.ndarray:
    x, y = format.exponent_bits, format.mantissa_bits
    codes = np.arange(2**format.bits)
    mantissa, exponent = codes % 2**y, codes >> y & 2**x - 1
    # a sub-normal has the exponent of the smallest normals and no hidden one
    significand = mantissa + np.where(exponent > 0, 2**y, 0)
    magnitude = np.ldexp(significand.astype(np.float64), np.maximum(exponent, 1) - format.exponent_bias - y)
    magnitude[magnitude > format.max_value] = np.nan
    negative = codes >> (x + y) == 1
    return np.where(negative, -magnitude, magnitude)


def _integer_table(format: IntegerFormat) -> np.ndarray:
    codes = np.arange(2**format.bits)
    values = codes.astype(np.float64)
    if format.signed:
        values[codes >= 2 ** (format.bits - 1)] -= 2**format.bits
    values[values < format.min_value] = np.nan
    return values
