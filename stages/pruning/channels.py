"""Class-aware channel pruning: whole channels go, with what hangs on them (Torch-Pruning's dependency graph)."""

import math
from collections.abc import Mapping

import torch
import torch_pruning
from torch import Tensor, nn

from stages.pruning.network import layers_of

STEPS = 120  # to a hundredth of all channels, unless what is wanted, or the floor, comes first
# of every layer's channels stay: without a floor, layers of single channels cost plain networks whole classes; with a
# higher one, what the branches of residual networks may not give is taken from their trunk
FLOOR = 1 / 16


class ChannelPruner:
    """Shrinks one network round by round: the channels of least summed |w| g go, over all layers.

    The classes of the last layer stay, and the share FLOOR of every other layer's channels.
    """

    def __init__(self, model: nn.Module, example: Tensor) -> None:
        *others, last = layers_of(model).modules.values()
        self.model = model
        self.least = {layer: math.ceil(FLOOR * layer.weight.shape[0]) for layer in others}
        self.pruner = torch_pruning.pruner.BasePruner(
            model,
            example.to(last.weight.device),
            importance=torch_pruning.importance.GroupTaylorImportance(target_types=[nn.Conv2d, nn.Linear]),
            pruning_ratio=0.99,
            iterative_steps=STEPS,
            global_pruning=True,
            ignored_layers=[last],
        )

    def shrink(self, gradients: Mapping[str, Tensor], *, keep: int) -> None:
        """Remove channels until `keep` prunable weights are left or fewer, as far as the floors let it.

        gradients  name -> like the weights, as the network is now
        """
        for name, module in layers_of(self.model).modules.items():
            module.weight.grad = gradients[name].to(module.weight.device).clone()
        while layers_of(self.model).weights > keep and self.pruner.current_step < STEPS:
            for group in self.pruner.step(interactive=True):
                self._prune(group)
        self.model.zero_grad()
        # a tensor that was cut keeps the old one's memory layout only by chance
        self.model.to(memory_format=torch.channels_last)

    def _prune(self, group: torch_pruning.Group) -> None:
        """Remove the group's channels, or the least important of them where its layer would fall below its floor."""
        dependency, channels = group[0]
        layer = dependency.target.module
        width = layer.weight.shape[0]
        spare = width - self.least[layer]
        if len(channels) > spare:
            graph, remove = self.pruner.DG, dependency.handler
            importance = self.pruner.estimate_importance(graph.get_pruning_group(layer, remove, range(width)))
            channels = sorted(channels, key=importance.tolist().__getitem__)[:spare]
            group = graph.get_pruning_group(layer, remove, channels)
        if channels:
            group.prune()
