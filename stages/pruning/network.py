"""A network with masks on its prunable weights: which layers there are, what a mask leaves, how it is put on."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.lib.core.errors import InputError
from stages.lib.sparse.matrices import as_matrix, from_matrix, is_prunable

LAYOUTS = ("channels", "flat_oihw")


@dataclass(frozen=True, kw_only=True)
class Layers:
    """Prunable layers by name, in the order of the network.

    in_blocks  those whose blocks are pruned: all but the first convolution and the last linear layer (notes 2.5)
    stem       the first layer, which stays dense; none where a network has one layer
    """

    modules: Mapping[str, nn.Module]
    in_blocks: tuple[str, ...]
    stem: str | None

    @property
    def masked(self) -> tuple[str, ...]:
        """All but the stem."""
        return tuple(name for name in self.modules if name != self.stem)

    @property
    def weights(self) -> int:
        return sum(module.weight.numel() for module in self.modules.values())


def layers_of(model: nn.Module) -> Layers:
    modules = {name: module for name, module in model.named_modules() if is_prunable(module)}
    names = list(modules)
    stem = names[0] if len(names) > 1 else None
    last = names[-1] if len(names) > 2 and isinstance(modules[names[-1]], nn.Linear) else None
    return Layers(
        modules=modules, in_blocks=tuple(name for name in names if name not in (stem, last)), stem=stem
    )


def to_matrix(weight: Tensor, m: int, layout: str) -> Tensor:
    """(outputs, columns): along the input channels, or as the weight lies in memory, as released (notes 3, defect 3)."""
    if layout == "channels":
        return as_matrix(weight, m)
    if layout == "flat_oihw":
        flat = weight.flatten(1)
        return F.pad(flat, (0, -flat.shape[1] % m))
    raise InputError(f"layout {layout!r}: choose one of {', '.join(LAYOUTS)}")


def to_weight(matrix: Tensor, shape: torch.Size, m: int, layout: str) -> Tensor:
    """The inverse of to_matrix."""
    if layout == "channels":
        return from_matrix(matrix, shape, m).contiguous()
    return matrix[:, : shape[1:].numel()].reshape(shape)


@torch.no_grad()
def apply_masks(layers: Layers, masks: Mapping[str, Tensor]) -> None:
    """Set masked weights (masks like the weights) to zero."""
    for name, mask in masks.items():
        layers.modules[name].weight.mul_(mask)


def sparsity(layers: Layers, masks: Mapping[str, Tensor], weights_before: int) -> float:
    """Share of all prunable weights that is gone, the dense remainder counted as there; masks like the weights."""
    masked = sum(int((~mask).sum()) for mask in masks.values())
    return 1 - (layers.weights - masked) / weights_before


@torch.no_grad()
def multiplications(model: nn.Module, example: Tensor) -> int:
    """Of one image (1, c, h, w): weights that are not zero, times the places where they are used."""
    found = 0

    def count(module: nn.Module, inputs: object, output: Tensor) -> None:
        nonlocal found
        places = (
            output[0, 0].numel() if isinstance(module, nn.Conv2d) else output[0].numel() // output.shape[-1]
        )
        found += int(module.weight.count_nonzero()) * places

    hooks = [
        module.register_forward_hook(count)
        for module in model.modules()
        if isinstance(module, (nn.Conv2d, nn.Linear))
    ]
    try:
        model.eval()(example.to(next(model.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
    return found
