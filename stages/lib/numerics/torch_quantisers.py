"""The quantisers of quantisers.py in torch, bit for bit, and fast.

A float32 adder rounds to the nearest even multiple of its result's last place. Adding and subtracting
1.5 * 2^23 * ulp thus rounds to a multiple of ulp, with ulp = 2^(exponent - y) taken from the bits of the number.
On a CPU all of it is one pass, compiled by numba; elsewhere each step is torch's.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numba import njit
from torch import Tensor

from stages.lib.numerics.formats import Format

_EXPONENT_MASK = 0x7F800000  # of a float32


def round_to_format(x: Tensor, format: Format) -> Tensor:
    """Nearest value of the format, ties to even, saturating; a new tensor of the same layout.

    x  float32, any shape, layout and device. Infinities saturate, NaN stays NaN, zero is always +0.
    """
    return _apply(x, torch.empty_like(x), format, scale=None)


def round_to_format_(x: Tensor, format: Format) -> Tensor:
    """As round_to_format, in place."""
    return _apply(x, x, format, scale=None)


def quantise(x: Tensor, format: Format, scale: Tensor) -> Tensor:
    """scale * round(x / scale). `scale` has one element, or is broadcast against x (one for each channel)."""
    if scale.numel() == 1:
        return _apply(x, torch.empty_like(x), format, scale=scale.reshape(()).to(x.device))
    return round_to_format_(x / scale, format).mul_(scale)


def abs_max_scale(w: Tensor, format: Format, *, axis: int | None = None) -> Tensor:
    """float32 scale that maps the largest |w| onto the format's largest value; see quantisers.abs_max_scale."""
    over = tuple(range(w.dim())) if axis is None else tuple(i for i in range(w.dim()) if i != axis)
    return threshold_scale(w.abs().amax(dim=over, keepdim=axis is not None), format)


def threshold_scale(threshold: Tensor, format: Format) -> Tensor:
    """float32 threshold / largest value; 1 where the threshold is 0, as in a channel pruned to zeros."""
    largest = torch.tensor(format.max_value, dtype=torch.float32, device=threshold.device)
    return torch.where(threshold > 0, threshold / largest, torch.ones_like(threshold))


@dataclass(frozen=True)
class _Rounding:
    """low, high: limits; smallest: 2^min_exponent, the least power that sets a step; magic: 1.5 * 2^(23 - y)."""

    low: float
    high: float
    uniform: bool
    smallest: float
    magic: float


def _rounding(format: Format) -> _Rounding:
    if format.max_value > torch.finfo(torch.float32).max:
        raise ValueError(f"{format.name} reaches {format.max_value:g}, more than float32 holds")
    smallest = 1.0 if format.uniform else 2.0**format.min_exponent
    magic = 1.5 * 2.0**23 * format.min_positive / smallest
    return _Rounding(format.min_value, format.max_value, format.uniform, smallest, magic)


def _apply(x: Tensor, out: Tensor, format: Format, *, scale: Tensor | None) -> Tensor:
    if x.dtype != torch.float32:
        raise TypeError(f"the quantiser works on float32, not {x.dtype}; convert with .float() first")
    if not (_dense(x) and x.stride() == out.stride()):
        # a view with gaps: work on a packed copy and write it back
        packed = x.contiguous()
        return out.copy_(_apply(packed, torch.empty_like(packed), format, scale=scale))
    if x.device.type != "cpu":
        return round_in_steps_(out, x, format, scale)
    rule = _rounding(format)
    _round_in_one_pass_(
        _flat(out).numpy(),
        _flat(x).numpy(),
        np.float32(1 if scale is None else scale.item()),
        *map(np.float32, (rule.low, rule.high, rule.smallest, rule.magic)),
        rule.uniform,
    )
    return out


def round_in_steps_(out: Tensor, x: Tensor, format: Format, scale: Tensor | None) -> Tensor:
    """Fills out, laid out as x, with scale * round(x / scale) on any device."""
    rule = _rounding(format)
    if scale is not None:
        x = torch.div(x, scale, out=out)
    torch.clamp(x, rule.low, rule.high, out=out)
    if rule.uniform:
        out.add_(rule.magic).sub_(rule.magic)
    else:
        # the float with the mantissa cleared is 2^floor(log2|u|), exact at binade edges
        power = torch.bitwise_and(out.view(torch.int32), _EXPONENT_MASK).view(torch.float32)
        power.clamp_min_(rule.smallest)
        # power * magic is exact, so a fused and an unfused multiply-add give the same bits
        out.add_(power, alpha=rule.magic).sub_(power, alpha=rule.magic)
    return out if scale is None else out.mul_(scale)


@njit(cache=True, error_model="numpy")
def _round_in_one_pass_(
    out: np.ndarray,
    x: np.ndarray,
    scale: np.float32,
    low: np.float32,
    high: np.float32,
    smallest: np.float32,
    magic: np.float32,
    uniform: bool,
) -> None:
    """As round_in_steps_, for out (n,) and x (n,), which may be the same."""
    if uniform:
        for i in range(x.size):
            u = _clamped(x[i] / scale, low, high)
            out[i] = (u + magic - magic) * scale
    else:
        for i in range(x.size):
            u = _clamped(x[i] / scale, low, high)
            step = max(_power_below(u), smallest) * magic
            out[i] = (u + step - step) * scale


@njit(error_model="numpy")
def _clamped(u: np.float32, low: np.float32, high: np.float32) -> np.float32:
    if u < low:
        return low
    return high if u > high else u  # NaN stays


@njit(error_model="numpy")
def _power_below(u: np.float32) -> np.float32:
    bits = np.float32(u).view(np.int32)
    exponent = np.int32(bits & _EXPONENT_MASK)
    return exponent.view(np.float32)


def _dense(x: Tensor) -> bool:
    return x.is_contiguous() or (x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last))


def _flat(x: Tensor) -> Tensor:
    return x.as_strided((x.numel(),), (1,))
