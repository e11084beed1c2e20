"""Choice of scales in torch: abs-max, least squared error, powers of two; one a tensor, channel or group.

A rule takes rows (R, n), float32, and returns one float32 scale a row (R, 1), so that it serves every
granularity. `weight_scale` cuts a weight into the rows. Where a row is 0 its scale is 1.
Sources: Shedding the Bits, notes 2.2 and 9; OCP Microscaling Formats (MX) 1.0, sections 5 and 6.3.
"""

import math
from collections.abc import Callable
from math import prod
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from stages.lib.numerics.formats import Format
from stages.lib.numerics.torch_quantisers import abs_max_scale, quantise, round_to_format_

LOWEST_THRESHOLD = 0.2  # of abs-max, in the search of mse_scale
EXPONENT_SHIFTS = range(5)  # powers of two that exponent_bias_scale tries
_CHUNK = 2**16  # elements that stay in the second-level cache with their rounded copy
_EXPONENT_MASK = 0x7F800000

Method = Literal["abs_max", "mse", "exponent_bias", "power_of_two"]
Granularity = Literal["per_tensor", "per_channel", "per_group"]


def weight_scale(
    weight: Tensor, format: Format, *, method: Method, granularity: Granularity, group: int = 32
) -> Tensor:
    """Scales of a weight (out, in) or (out, in / groups, kh, kw), to be broadcast against it.

    method  key of METHODS
    group   neighbouring input channels that share a scale, with per_group; see split_groups
    """
    choose = METHODS[method]
    if granularity == "per_tensor":
        return choose(weight.reshape(1, -1), format).reshape(())
    if granularity == "per_channel":
        return choose(weight.flatten(1), format).reshape(-1, *[1] * (weight.dim() - 1))
    rows = split_groups(weight, group=group)
    return merge_groups(choose(rows, format).expand_as(rows), weight.shape)


def row_abs_max_scale(rows: Tensor, format: Format) -> Tensor:
    """The scale that maps a row's largest |w| onto the format's largest value."""
    return abs_max_scale(rows, format, axis=0)


def mse_scale(rows: Tensor, format: Format, *, steps: int = 81) -> Tensor:
    """abs_max scale times the c of least squared error, c from 1 down to 0.2 in `steps` even steps.

    What lies above c times abs-max saturates. c = 1 is tried first and wins ties.
    """
    return _least_error_scale(rows, format, torch.linspace(1, LOWEST_THRESHOLD, steps).tolist())


def exponent_bias_scale(rows: Tensor, format: Format) -> Tensor:
    """abs_max scale times the 2^-j of least squared error, j = 0..4.

    With a real scale this is the search over exponent biases: the values of ExMy with bias b' are those with bias b
    times 2^(b - b'), hence quantise(w, bias b', s) = quantise(w, bias b, s * 2^(b - b')) bit for bit. The same
    search serves integers, which have no bias. Negative j cannot win: twice a value of a format is a value again up
    to the largest, so that a doubled scale reaches only part of what the abs-max scale does.
    """
    return _least_error_scale(rows, format, [2.0**-j for j in EXPONENT_SHIFTS])


def power_of_two_scale(rows: Tensor, format: Format) -> Tensor:
    """2^(floor(log2 absmax) - floor(log2 max)), MX's shared scale, within E8M0's 2^-127..2^127.

    A row's largest value may thus lie above the format's and saturate, as MX says.
    """
    return _power_of_two(rows.abs().amax(dim=1, keepdim=True), format)


METHODS: dict[str, Callable[[Tensor, Format], Tensor]] = {
    "abs_max": row_abs_max_scale,
    "mse": mse_scale,
    "exponent_bias": exponent_bias_scale,
    "power_of_two": power_of_two_scale,
}


def split_groups(weight: Tensor, *, group: int) -> Tensor:
    """(R, g) rows of `group` consecutive input channels at one kernel position, R = out * kh * kw * ceil(in / g).

    weight  (out, in) or (out, in / groups, kh, kw); where in / groups is 1 (depthwise) the kernel positions stand
            in for the channels
    g is the smaller of `group` and the number of channels; zeros fill up a last group that is not full.
    """
    lines = weight.flatten(1) if _depthwise(weight.shape) else weight.movedim(1, -1)
    size = min(group, lines.shape[-1])
    return pad(lines, (0, -lines.shape[-1] % size)).reshape(-1, size)


def merge_groups(rows: Tensor, shape: torch.Size) -> Tensor:
    """The weight of this shape from the rows that split_groups makes of it."""
    if _depthwise(shape):
        return rows.reshape(shape[0], -1)[:, : prod(shape[1:])].reshape(shape)
    lines = rows.reshape(shape[0], *shape[2:], -1)
    return lines[..., : shape[1]].movedim(-1, 1)


def quantise_groups(x: Tensor, format: Format, *, group: int, dim: int) -> Tensor:
    """x as MX holds it: `group` neighbours along `dim` share the power-of-two scale of what they hold just now.

    x  float32, (n, c, h, w) in either memory format or (..., features), not changed; the result has its layout.
    A last group that is not full is shorter, which is the same as one filled up with zeros.
    """
    dim %= x.dim()
    out = torch.empty_like(x)
    parts = list(zip(_group_views(x, group, dim), _group_views(out, group, dim), strict=True))
    scales = [_power_of_two(values.abs().amax(dim + 1, keepdim=True), format) for values, _ in parts]
    for (values, scaled), scale in zip(parts, scales, strict=True):
        torch.div(values, scale, out=scaled)
    round_to_format_(out, format)
    for (_, scaled), scale in zip(parts, scales, strict=True):
        scaled.mul_(scale)
    return out


def _depthwise(shape: torch.Size) -> bool:
    return len(shape) > 2 and shape[1] == 1


def _group_views(x: Tensor, group: int, dim: int) -> list[Tensor]:
    """Views with `dim` split into (groups, group): the full groups, then the shorter last one."""
    length = x.shape[dim]
    full = length // group * group
    cuts = [(0, full, group), (full, length - full, length - full)]
    return [
        x.narrow(dim, start, width).unflatten(dim, (-1, size)) for start, width, size in cuts if width > 0
    ]


def _power_of_two(absmax: Tensor, format: Format) -> Tensor:
    # the float with the mantissa cleared is 2^floor(log2 absmax), exact where log2 is not
    power = absmax.view(torch.int32).bitwise_and(_EXPONENT_MASK).view(torch.float32)
    _, exponent = math.frexp(format.max_value)
    scale = (power * 2.0 ** (1 - exponent)).clamp(2.0**-127, 2.0**127)
    return torch.where(absmax > 0, scale, torch.ones_like(scale))


def _least_error_scale(rows: Tensor, format: Format, factors: list[float]) -> Tensor:
    """abs_max scale times the best of the factors, the first of equals; in chunks of rows that stay in the cache."""
    chunk = max(1, _CHUNK // max(1, rows.shape[1]))
    return torch.cat([_search_chunk(part, format, factors) for part in rows.split(chunk)])


def _search_chunk(rows: Tensor, format: Format, factors: list[float]) -> Tensor:
    base = row_abs_max_scale(rows, format)
    best, least = base, torch.full_like(base, math.inf)
    for factor in factors:
        scale = base * factor
        error = quantise(rows, format, scale).sub_(rows).square_().sum(dim=1, keepdim=True)
        best = torch.where(error < least, scale, best)
        least = torch.minimum(error, least)
    return best
