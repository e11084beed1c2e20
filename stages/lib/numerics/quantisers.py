"""Reference quantisers in numpy: scale, round to the nearest value of a format, scale back.

Rounding (Shedding the Bits, section 2.2 of its notes): ulp = 2^max(floor(log2|u|) - y, 1 - bias - y),
q = clip(ulp * round_half_to_even(u / ulp)). With y = 0 this sends every tie between 2^e and 2^(e+1) up, since
2 ulp is the even multiple. Infinities saturate, NaN stays NaN, and zero is always +0.
"""

import numpy as np

from stages.lib.numerics.formats import Format


def round_to_format(x: np.ndarray, format: Format) -> np.ndarray:
    """Nearest value of the format, ties to the even multiple of the local step, saturating.

    x  float32 or float64, any shape; the result has its dtype. Raises ValueError where that dtype cannot hold
    the format's largest value (UE8M0 in float32).
    """
    x = np.asarray(x)
    if format.max_value > float(np.finfo(x.dtype).max):
        raise ValueError(f"{format.name} reaches {format.max_value:g}, more than {x.dtype} holds")
    u = np.clip(x.astype(np.float64), format.min_value, format.max_value)
    ulp = _ulp(u, format)
    return (ulp * np.rint(u / ulp) + 0.0).astype(x.dtype)  # + 0.0 turns -0 into +0


def quantise(x: np.ndarray, format: Format, scale: np.ndarray | float) -> np.ndarray:
    """scale * round(x / scale), in float32. `scale` is broadcast against x (abs_max_scale keeps dimensions)."""
    scale = np.asarray(scale, dtype=np.float32)
    return round_to_format(np.asarray(x, dtype=np.float32) / scale, format) * scale


def abs_max_scale(w: np.ndarray, format: Format, *, axis: int | None = None) -> np.ndarray:
    """float32 scale that maps the largest |w| onto the format's largest value.

    axis  the channel axis, with one scale for each index (dimensions are kept); None: one scale for the tensor.
    """
    over = None if axis is None else tuple(i for i in range(w.ndim) if i != axis)
    return threshold_scale(np.abs(w).max(axis=over, keepdims=axis is not None), format)


def percentile_scale(x: np.ndarray, format: Format, percentile: float) -> np.ndarray:
    """float32 scale that maps the percentile (0..100, linear between order statistics) of |x| onto the largest."""
    return threshold_scale(np.percentile(np.abs(x), percentile), format)


def threshold_scale(threshold: np.ndarray | float, format: Format) -> np.ndarray:
    """float32 threshold / largest value; 1 where the threshold is 0, as in a channel pruned to zeros."""
    threshold = np.asarray(threshold, dtype=np.float32)
    return np.where(threshold > 0, threshold / np.float32(format.max_value), np.float32(1))


def sqnr_db(x: np.ndarray, rounded: np.ndarray) -> float:
    """Signal to quantisation noise in dB; infinite where nothing was lost."""
    x = x.astype(np.float64)
    noise = np.sum((x - rounded) ** 2)
    return float("inf") if noise == 0 else float(10 * np.log10(np.sum(x**2) / noise))


def _ulp(u: np.ndarray, format: Format) -> np.ndarray:
    if format.uniform:
        return np.full(u.shape, format.min_positive)
    # frexp is exact at binade edges, where floor(log2(u)) is not: |u| = f * 2^e with f in [1/2, 1)
    _, exponent = np.frexp(u)
    return np.ldexp(1.0, np.maximum(exponent - 1, format.min_exponent) - format.mantissa_bits)
