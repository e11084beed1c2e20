"""Logits and accuracy of a network on images."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stages.lib.training.device import mixed_precision

# as many images at a time: 500 of CIFAR, ten of ImageNet, whose maps would take gigabytes
BATCH_PIXELS = 500 * 32 * 32


@torch.inference_mode()
def logits_of(model: nn.Module, images: Tensor, *, device: torch.device, bf16: bool = False) -> Tensor:
    """(n, classes) float32 logits on the CPU. images (n, channels, height, width) normalised."""
    model = model.eval().to(device)
    batches = []
    for batch in images.split(max(1, BATCH_PIXELS // images[0, 0].numel())):
        batch = batch.to(device, memory_format=torch.channels_last)
        with mixed_precision(device, enabled=bf16):
            batches.append(model(batch).float().cpu())
    return torch.cat(batches)


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Top-1 accuracy, 0..1."""
    return (logits.argmax(1) == labels).float().mean().item()


def restricted(logits: Tensor, classes: Sequence[int]) -> Tensor:
    """Logits (n, classes) with all other classes ruled out."""
    found = torch.full_like(logits, -torch.inf)
    found[:, list(classes)] = logits[:, list(classes)]
    return found
