"""Weights of layers as matrices whose columns run along the input channels, as sparse kernels want them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def is_prunable(module: nn.Module) -> bool:
    """Linear layers and convolutions that are not grouped: those that are one matrix product."""
    return isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)


def as_matrix(weight: Tensor, m: int) -> Tensor:
    """(outputs, columns) of a weight (o, i, h, w) or (o, i): columns in the order (h, w, i), i padded to groups of m.

    The padding is zeros, so that no group spans two places of the kernel.
    """
    if weight.ndim == 4:
        weight = weight.permute(0, 2, 3, 1)
    padded = F.pad(weight, (0, -weight.shape[-1] % m))
    return padded.reshape(weight.shape[0], -1)


def from_matrix(matrix: Tensor, shape: torch.Size, m: int) -> Tensor:
    """The weight of that shape, the inverse of as_matrix."""
    if len(shape) == 2:
        return matrix[:, : shape[1]]
    outputs, inputs, height, width = shape
    padded = matrix.reshape(outputs, height, width, inputs + -inputs % m)
    return padded[..., :inputs].permute(0, 3, 1, 2)
