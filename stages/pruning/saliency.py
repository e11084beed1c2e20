"""Scores of weights: how much the user's classes would miss them. One interface, several answers.

taylor     |w| g: first order, g the mean over batches of |d loss / d w| (CRISP, notes 2.3)
fisher     w^2 g^2: second order with the diagonal of the empirical Fisher matrix
released   w^2 g: what the public code ranks blocks by (notes 3, defect 4)
magnitude  |w|
random     a number for each weight
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from stages.lib.core.errors import InputError
from stages.pruning.network import Layers

Score = Callable[[Tensor, Tensor, torch.Generator], Tensor]

SCORES: Mapping[str, Score] = {
    "taylor": lambda w, g, _: w.abs() * g,
    "fisher": lambda w, g, _: (w * g) ** 2,
    "released": lambda w, g, _: w**2 * g,
    "magnitude": lambda w, g, _: w.abs(),
    "random": lambda w, g, chance: torch.rand(w.shape, generator=chance),
}


class MeanGradients:
    """Mean over batches of the absolute value of each weight's batch gradient."""

    def __init__(self, layers: Layers) -> None:
        self.layers, self.batches = layers, 0
        self.sums = {name: torch.zeros_like(module.weight) for name, module in layers.modules.items()}

    def add(self) -> None:
        """Take up the gradients that the last backward pass left."""
        for name, module in self.layers.modules.items():
            if module.weight.grad is not None:
                self.sums[name] += module.weight.grad.abs()
        self.batches += 1

    def mean(self) -> dict[str, Tensor]:
        return {name: total / max(self.batches, 1) for name, total in self.sums.items()}


def scores_of(
    layers: Layers, gradients: Mapping[str, Tensor], score: str, chance: torch.Generator
) -> dict[str, Tensor]:
    """Name -> score of every weight, like the weight. Raises InputError for a score that nobody has defined."""
    if score not in SCORES:
        raise InputError(f"there is no score {score!r}; choose one of {', '.join(SCORES)}")
    return {
        name: SCORES[score](module.weight.detach(), gradients[name], chance)
        for name, module in layers.modules.items()
    }
