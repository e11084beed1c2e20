"""Prune a trained network for some of its classes: rounds of masks and tuning (CRISP, notes 2.4), and its baselines."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.lib.core.errors import InputError
from stages.lib.core.seeds import derive_seed
from stages.lib.training.device import channels_last_, mixed_precision
from stages.pruning.channels import ChannelPruner
from stages.pruning.config import StudyConfig
from stages.pruning.masks import (
    block_mask,
    block_scores,
    expand_blocks,
    keep_n_of_m,
    kept_blocks,
    ordered,
)
from stages.pruning.network import Layers, apply_masks, layers_of, sparsity, to_matrix, to_weight
from stages.pruning.recipes import Recipe
from stages.pruning.saliency import MeanGradients, scores_of

SR_STE_DECAY = 2e-4
WARM_UP = 0.1  # of the steps
SCHEDULES = ("geometric", "linear")


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """The last round's masks are tuned for last_epochs, the others' for epochs_per_round; one schedule of rates over all.

    schedule  of sparsity: "geometric" keeps the same share of what is left in every round, "linear" takes equal steps
    """

    rounds: int = 3
    epochs_per_round: int = 2
    last_epochs: int = 4
    batch_size: int = 64
    learning_rate: float = 0.01
    weight_decay: float = 5e-4
    schedule: str = "geometric"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise InputError(f"schedule {self.schedule!r}: choose one of {', '.join(SCHEDULES)}")

    @classmethod
    def of(cls, config: StudyConfig, *, seed: int) -> "Tuning":
        names = cls.__dataclass_fields__.keys() - {"seed"}
        return cls(**{name: getattr(config, name) for name in names}, seed=seed)

    @property
    def epochs(self) -> int:
        return (self.rounds - 1) * self.epochs_per_round + self.last_epochs

    def sparsity_after(self, number: int, goal: float) -> float:
        """Share of zeros that round `number`, 0 the first, prunes to."""
        part = (number + 1) / self.rounds
        return goal * part if self.schedule == "linear" else 1 - (1 - goal) ** part


@dataclass(kw_only=True)
class Masks:
    """Masks of one network: boolean, like the weights; blocks (R, C) and kept blocks per block-row, by layer."""

    weights: dict[str, Tensor] = field(default_factory=dict)
    n_m: dict[str, Tensor] = field(default_factory=dict)
    blocks: dict[str, Tensor] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """A pruned network in evaluation mode, its masks (none where channels were removed), and the share of weights gone.

    history  masks of every round
    """

    model: nn.Module
    masks: Masks
    sparsity: float
    history: tuple[Masks, ...]


def prune(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    recipe: Recipe | None,
    goal: float,
    tuning: Tuning,
    *,
    device: torch.device,
    others: tuple[Tensor, Tensor] | None = None,
    advance: Callable[[], None] | None = None,
) -> Pruned:
    """Prune `model` (it is changed) to a share `goal` of zeros in its prunable weights, tuned on images and labels.

    recipe  None: nothing is pruned, the dense network is tuned as long
    others  images and labels of other classes, for the control
    """
    model = channels_last_(model.to(device))
    weights_before = layers_of(model).weights
    loop = _Loop(model, images, labels, tuning, device, advance)
    masks, history = Masks(), []
    channels = ChannelPruner(model, images[:1]) if recipe is not None and recipe.kind == "channel" else None
    chance = torch.Generator().manual_seed(derive_seed(tuning.seed, "scores") % 2**31)
    if recipe is not None:
        gradients = loop.gradients(*(others if recipe.other_classes and others else (images, labels)))
    for number in range(tuning.rounds):
        if recipe is not None:
            now = tuning.sparsity_after(number, goal)
            if recipe.other_classes and others and number:
                gradients = loop.gradients(*others)
            if channels is not None:
                channels.shrink(gradients, keep=int((1 - now) * weights_before))
                loop.rebuild()
            else:
                masks = draw_masks(loop.layers, gradients, recipe, now, masks, chance)
            history.append(masks)
        last = number == tuning.rounds - 1
        found = loop.tune(
            tuning.last_epochs if last else tuning.epochs_per_round,
            masks.weights,
            regrow=bool(recipe and recipe.regrow),
        )
        if recipe is not None and not recipe.other_classes:
            gradients = found
    layers = layers_of(model)
    # with regrowth the dense weights have lived on behind the masks until here
    apply_masks(layers, masks.weights)
    gone = sparsity(layers, masks.weights, weights_before)
    return Pruned(model=model.eval().cpu(), masks=masks, sparsity=gone, history=tuple(history))


def mean_gradients(
    model: nn.Module, images: Tensor, labels: Tensor, tuning: Tuning, device: torch.device
) -> dict[str, Tensor]:
    """Name -> mean absolute batch gradient of every prunable weight, the network left as it is."""
    return _Loop(channels_last_(model.to(device)), images, labels, tuning, device, None).gradients(
        images, labels
    )


def draw_masks(
    layers: Layers,
    gradients: Mapping[str, Tensor],
    recipe: Recipe,
    goal: float,
    old: Masks,
    chance: torch.Generator,
) -> Masks:
    """Masks of one round; they only shrink, unless the recipe lets weights grow again."""
    scores = scores_of(layers, gradients, recipe.score, chance)
    if recipe.kind == "unstructured":
        return _unstructured(layers, scores, goal, old)
    pattern, m = recipe.pattern, recipe.pattern.m
    new = Masks()
    values = {name: to_matrix(scores[name], m, recipe.layout) for name in layers.masked}
    for name, matrix in values.items():
        # drawn once: later rounds would choose among the weights that are left, which are n already
        if recipe.regrow or name not in old.n_m:
            new.n_m[name] = keep_n_of_m(matrix, pattern.n, m)
        else:
            new.n_m[name] = old.n_m[name]
    if recipe.blocks:
        by_block = values
        if recipe.block_score:
            other = scores_of(layers, gradients, recipe.block_score, chance)
            by_block = {name: to_matrix(other[name], m, recipe.layout) for name in layers.masked}
        sums = {
            name: block_scores(by_block[name] * new.n_m[name], pattern.block) for name in layers.in_blocks
        }
        share = block_share_of_layers(layers, pattern.n, m, goal)
        limits = None if recipe.regrow else old.kept
        new.kept = kept_blocks(
            sums,
            share,
            normalisation=recipe.normalisation,
            floor=recipe.floor,
            limits=limits,
        )
        for name, own in sums.items():
            alive = None if recipe.regrow else old.blocks.get(name)
            new.blocks[name] = block_mask(ordered(own, recipe.order, chance), new.kept[name], alive)
    for name in layers.masked:
        mask = new.n_m[name]
        if name in new.blocks:
            mask = mask & expand_blocks(new.blocks[name], mask.shape, pattern.block)
        new.weights[name] = to_weight(mask, layers.modules[name].weight.shape, m, recipe.layout)
    return new


def block_share_of_layers(layers: Layers, n: int, m: int, goal: float) -> float:
    """Share of blocks to keep so that all prunable weights together reach the goal, the dense stem and the classifier's
    n:m alone taken into account. 1 where n:m does it, or cannot be held back to it.
    """
    total = layers.weights
    in_blocks = sum(layers.modules[name].weight.numel() for name in layers.in_blocks)
    outside = sum(
        layers.modules[name].weight.numel() * (n / m)
        for name in layers.masked
        if name not in layers.in_blocks
    )
    stem = layers.modules[layers.stem].weight.numel() if layers.stem else 0
    left = (1 - goal) * total - outside - stem
    return min(1.0, max(left, 0.0) / (in_blocks * n / m))


def _unstructured(layers: Layers, scores: Mapping[str, Tensor], goal: float, old: Masks) -> Masks:
    """One threshold for all layers but the stem."""
    alive = {
        name: torch.where(old.weights[name], scores[name], -1.0) if old.weights else scores[name]
        for name in layers.masked
    }
    flat = torch.cat([value.flatten() for value in alive.values()])
    kept = max(1, round((1 - goal) * layers.weights) - (layers.weights - flat.numel()))
    mask = torch.zeros(flat.numel(), dtype=torch.bool)
    mask[flat.argsort(descending=True, stable=True)[:kept]] = True
    parts = mask.split([value.numel() for value in alive.values()])
    return Masks(
        weights={
            name: part.reshape(value.shape) for (name, value), part in zip(alive.items(), parts, strict=True)
        }
    )


class _Loop:
    """Tuning with one optimiser and one schedule over all rounds."""

    def __init__(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        tuning: Tuning,
        device: torch.device,
        advance: Callable[[], None] | None,
    ) -> None:
        self.model, self.images, self.labels = model, images, labels
        self.tuning, self.device, self.advance = tuning, device, advance
        self.per_epoch = max(1, len(images) // tuning.batch_size)
        self.epoch = 0
        self.rebuild()

    def rebuild(self) -> None:
        """After the network's tensors were replaced."""
        t = self.tuning
        self.layers = layers_of(self.model)
        self.optimiser = torch.optim.SGD(
            self.model.parameters(), lr=t.learning_rate, momentum=0.9, weight_decay=t.weight_decay, fused=True
        )

    def gradients(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Mean absolute gradients over these images, the network left as it is."""
        self.model.eval()
        found = MeanGradients(self.layers)
        for start in range(0, len(images), self.tuning.batch_size):
            rows = slice(start, start + self.tuning.batch_size)
            self._backward(images[rows], labels[rows])
            found.add()
        self.model.zero_grad()
        return found.mean()

    def tune(self, epochs: int, masks: Mapping[str, Tensor], *, regrow: bool) -> dict[str, Tensor]:
        """Train with masked weights; returns the mean absolute gradients of the last epoch."""
        self.model.train()
        if not regrow:
            apply_masks(self.layers, masks)
        found = MeanGradients(self.layers)
        for epoch in range(epochs):
            found = MeanGradients(self.layers)
            order = torch.randperm(
                len(self.images),
                generator=torch.Generator().manual_seed(
                    derive_seed(self.tuning.seed, "order", self.epoch) % 2**31
                ),
            )
            for batch in range(self.per_epoch):
                rows = order[batch * self.tuning.batch_size : (batch + 1) * self.tuning.batch_size]
                self._set_rate(self.epoch * self.per_epoch + batch)
                dense = self._masked(masks) if regrow else {}
                self._backward(self.images[rows], self.labels[rows])
                if epoch == epochs - 1:
                    found.add()
                self._restore(dense, masks)
                self.optimiser.step()
                if not regrow:
                    apply_masks(self.layers, masks)
            self.epoch += 1
            if self.advance is not None:
                self.advance()
        return found.mean()

    def _masked(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Put the masks on for one step; returns the dense weights."""
        dense = {name: self.layers.modules[name].weight.detach().clone() for name in masks}
        apply_masks(self.layers, masks)
        return dense

    @torch.no_grad()
    def _restore(self, dense: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
        """SR-STE: the gradient goes to the dense weights, those behind the mask decay besides."""
        for name, weight in dense.items():
            module = self.layers.modules[name]
            module.weight.copy_(weight)
            module.weight.grad += SR_STE_DECAY * (~masks[name]) * weight

    def _backward(self, images: Tensor, labels: Tensor) -> None:
        self.optimiser.zero_grad()
        images = images.to(self.device, memory_format=torch.channels_last)
        with mixed_precision(self.device):
            logits = self.model(images)
        F.cross_entropy(logits.float(), labels.to(self.device)).backward()

    def _set_rate(self, step: int) -> None:
        """Linear warm-up, then a cosine to 0 (notes 2.5)."""
        total = self.tuning.epochs * self.per_epoch
        warm = max(1, int(WARM_UP * total))
        share = (
            (step + 1) / warm
            if step < warm
            else 0.5 * (1 + math.cos(math.pi * (step - warm) / (total - warm)))
        )
        for group in self.optimiser.param_groups:
            group["lr"] = self.tuning.learning_rate * share
