"""Where a job computes, and the context that makes it fast there."""

import torch
from torch import nn

from stages.lib.core.errors import InputError

CHOICES = ("auto", "cpu", "cuda")


def choose_device(name: str) -> torch.device:
    """The device of `--device`; on a CPU a job takes one thread, since as many jobs run as there are cores."""
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "--device cuda: torch sees no CUDA device here; use --device cpu, or set up a CUDA build"
        )
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        torch.set_num_threads(1)
    return torch.device(name)


def mixed_precision(device: torch.device, enabled: bool = True) -> torch.autocast:
    """bfloat16 autocast, twice as fast as float32 on a CPU too."""
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def channels_last_(model: nn.Module) -> nn.Module:
    """The layout in which convolutions run fastest; values stay the same."""
    return model.to(memory_format=torch.channels_last)
