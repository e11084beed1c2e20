"""Class-aware channel pruning: whole channels go, with what hangs on them (Torch-Pruning's dependency graph)."""

from collections.abc import Mapping

import torch
import torch_pruning
from torch import Tensor, nn

from stages.pruning.network import layers_of

STEPS = 60  # in which the network shrinks to what is wanted


def remove_channels(model: nn.Module, gradients: Mapping[str, Tensor], *, keep: int, example: Tensor) -> None:
    """Remove the channels of least summed |w| g, over all layers, until `keep` prunable weights are left or fewer.

    The classes of the last layer stay. gradients  name -> like the weights, as the network is now
    """
    layers = layers_of(model)
    for name, module in layers.modules.items():
        module.weight.grad = gradients[name].to(module.weight.device).clone()
    last = list(layers.modules.values())[-1]
    pruner = torch_pruning.pruner.BasePruner(
        model,
        example.to(last.weight.device),
        importance=torch_pruning.importance.GroupTaylorImportance(target_types=[nn.Conv2d, nn.Linear]),
        pruning_ratio=0.99,
        max_pruning_ratio=0.95,
        iterative_steps=STEPS,
        global_pruning=True,
        ignored_layers=[last],
    )
    for _ in range(STEPS):
        if layers_of(model).weights <= keep:
            break
        pruner.step()
    model.zero_grad()
    # a tensor that was cut keeps the old one's memory layout only by chance
    model.to(memory_format=torch.channels_last)
