"""Learned rounding: choose between the two neighbouring values of each weight by gradient descent (AdaRound).

Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization" (ICML 2020), as in Shedding the Bits,
notes 2.3, but per binade: the neighbours are true values of the format, whatever its local step.

A linear layer, or a convolution seen as one, meets its inputs X only in their Gram matrix: with G = X X^T and
D = w^ - w the squared error of the outputs over the calibration set is tr(D G D^T), and its gradient is 2 D G. Every
step thus sees the whole set, at a cost of O * K * K, and the gradient is written out below.
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from stages.lib.numerics.decode import decode_table
from stages.lib.numerics.formats import Format
from stages.lib.numerics.torch_quantisers import quantise


def learn_rounding(
    weight: Tensor,
    gram: Tensor,
    format: Format,
    scale: Tensor,
    *,
    iterations: int = 1000,
    learning_rate: float = 1e-2,
    regulariser: float = 1000,
    beta: tuple[float, float] = (20, 2),
    warm_up: float = 0.2,
    initial: Literal["per_binade", "integer_ulp"] = "per_binade",
) -> Tensor:
    """(O, K) float32: each weight rounded up or down to a neighbouring value of the format, times its scale.

    weight   (O, K) float32; leading dimensions, shared with gram, hold layers (or groups) that are learned at once
    gram     (K, K) = X X^T, in any scaling
    scale    to be broadcast against weight; weights beyond the format's limits stay at the limit
    initial  "integer_ulp": start from the fractional part of u = w / scale, as public code does, which is right
             where the step is 1 only (the rounding itself stays right); the same as "per_binade" for integers

    Every row minimises  L / L_nearest + regulariser * mean(1 - |2h - 1|^beta),  L = D G D^T of that row, over
    h = clip(1.2 sigmoid(V) - 0.1, 0, 1), the position between the neighbours; h starts where w lies, beta falls
    linearly after the warm-up, in which the regulariser is off, and h is rounded at the end.

    Departures. L is relative to nearest rounding's: results do not depend on the inputs' magnitude, as they do with
    the notes' L + 0.01 sum(...). The learning rate is 1e-2: with 1e-3 Adam moves V by 1 at most in 1000 steps, and a
    quarter of the weights were still undecided at the end. Last, a row that nearest rounding serves better on the
    Gram matrix takes that, so that no row loses.
    """
    u = weight / scale
    below, above = neighbours(u, format)
    low, gap = below * scale, (above - below) * scale
    nearest = quantise(weight, format, scale)
    nearest_error = row_error(nearest - weight, gram)
    # times K, which Adam does not see: the regulariser's mean over a row becomes a sum
    gain = 2 * gap * weight.shape[-1] / _positive(nearest_error)
    v = _start(u, below, above) if initial == "per_binade" else _start(u, u.floor(), u.floor() + 1)
    v = v.contiguous()  # as its gradient is: the fused optimiser reads both in one order
    adam = torch.optim.Adam([v], lr=learning_rate, fused=True)
    warm = int(warm_up * iterations)
    for step in range(iterations):
        sigmoid = v.sigmoid()
        h = _position(sigmoid)
        slope = (low.addcmul(gap, h) - weight) @ gram * gain
        if step >= warm:
            power = beta[0] + (beta[1] - beta[0]) * (step - warm) / (iterations - warm)
            side = 2 * h - 1
            slope -= regulariser * 2 * power * side.sign() * side.abs() ** (power - 1)
        # dh/dV; 0 where the clip holds h
        v.grad = slope * (1.2 * sigmoid * (1 - sigmoid)) * ((h > 0) & (h < 1))
        adam.step()
    learned = torch.where(_position(v.sigmoid()) >= 0.5, above, below) * scale
    better = row_error(learned - weight, gram) < nearest_error
    return torch.where(better, learned, nearest)


def neighbours(u: Tensor, format: Format) -> tuple[Tensor, Tensor]:
    """(largest value of the format <= u, smallest value >= u); both are u's nearest limit where u lies outside."""
    table = decode_table(format)
    values = torch.from_numpy(np.unique(table[~np.isnan(table)]) + 0.0).to(u)  # + 0.0: -0 becomes +0
    u = u.clamp(format.min_value, format.max_value).contiguous()
    return values[torch.searchsorted(values, u, right=True) - 1], values[torch.searchsorted(values, u)]


def row_error(difference: Tensor, gram: Tensor) -> Tensor:
    """(O, 1): squared error of each output over the calibration set, for w^ - w (O, K)."""
    return (difference @ gram * difference).sum(dim=-1, keepdim=True)


def _start(u: Tensor, below: Tensor, above: Tensor) -> Tensor:
    """V that puts h where u lies between its neighbours; where they are one value h is of no account."""
    position = ((u - below) / _positive(above - below)).clamp(0, 1)
    return torch.logit((position + 0.1) / 1.2)


def _position(sigmoid: Tensor) -> Tensor:
    """h: the stretch lets it reach 0 and 1."""
    return (1.2 * sigmoid - 0.1).clamp(0, 1)


def _positive(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, torch.ones_like(x))
