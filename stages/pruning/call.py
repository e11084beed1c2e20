"""One call for a network of a user's own."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stages.lib.core.errors import InputError
from stages.lib.sparse.model import SparseModel
from stages.pruning.masks import Pattern
from stages.pruning.network import layers_of, multiplications
from stages.pruning.pruning import Tuning, prune
from stages.pruning.recipes import Recipe


@dataclass(frozen=True, kw_only=True)
class PrunedForClasses:
    """model: pruned and tuned, in evaluation mode. sparsity: share of zeros in the prunable weights. layers: name ->
    share of zeros in it. work: share of multiplications that is left.
    """

    model: nn.Module
    sparsity: float
    layers: dict[str, float]
    work: float
    pattern: Pattern

    def packed(self, *, threads: int = 1) -> SparseModel:
        """The network on its packed weights, for a CPU."""
        return SparseModel(
            self.model, block=self.pattern.block, n=self.pattern.n, m=self.pattern.m, threads=threads
        )


def prune_for_classes(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    sparsity: float,
    n_m: tuple[int, int] = (2, 4),
    block: int = 16,
    score: str = "taylor",
    rounds: int = 3,
    epochs: int = 8,
    learning_rate: float = 0.01,
    batch_size: int = 64,
    seed: int = 0,
    device: str = "cpu",
) -> PrunedForClasses:
    """Prune a copy of `model` for the classes that `labels` holds (CRISP, notes 2).

    images    (n, channels, height, width) as the network takes them; a few hundred of each class
    labels    (n,) ids as the network knows them; its last layer keeps all its outputs
    sparsity  share of zeros in all weights of convolutions and linear layers together
    score     of weights: one of saliency.SCORES
    epochs    of tuning in all, over `rounds` rounds that each prune further

    Raises InputError where the pattern alone is sparser, or the inputs do not fit together.
    """
    if len(images) != len(labels) or not len(images):
        raise InputError(
            f"there are {len(images)} images and {len(labels)} labels: give one label for each image"
        )
    pattern = Pattern(n=n_m[0], m=n_m[1], block=block)
    if not 1 - pattern.n / pattern.m - 0.02 <= sparsity < 1:
        raise InputError(
            f"a sparsity of {sparsity:g} cannot be had with {pattern.n}:{pattern.m}: choose from"
            f" {1 - pattern.n / pattern.m:g} up to less than 1, or another n:m"
        )
    if not layers_of(model).modules:
        raise InputError("the network has no convolution or linear layer that could be pruned")
    each = max(1, epochs // (rounds + 1))
    tuning = Tuning(
        rounds=rounds,
        epochs_per_round=each,
        last_epochs=max(1, epochs - (rounds - 1) * each),
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
    )
    dense = multiplications(model, images[:1])
    found = prune(
        copy.deepcopy(model),
        images,
        labels.long(),
        Recipe(pattern=pattern, score=score),
        sparsity,
        tuning,
        device=torch.device(device),
    )
    layers = {
        name: 1 - float(module.weight.count_nonzero()) / module.weight.numel()
        for name, module in layers_of(found.model).modules.items()
    }
    return PrunedForClasses(
        model=found.model,
        sparsity=found.sparsity,
        layers=layers,
        work=multiplications(found.model, images[:1]) / dense,
        pattern=pattern,
    )
