"""Where a job computes, and the context that makes it fast there."""

from functools import cache

import torch
from torch import nn

from stages.lib.core.errors import InputError

CHOICES = ("auto", "cpu", "cuda")
BFLOAT16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16")  # of x86 (two) and of Arm


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
    """bfloat16 autocast where the device multiplies bfloat16 itself, twice as fast as float32 and more; else float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled and multiplies_bfloat16(device))


@cache
def multiplies_bfloat16(device: torch.device) -> bool:
    """A CPU without the instructions takes some 50 times as long for a product in bfloat16 as for one in float32."""
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(name) for name in BFLOAT16_INSTRUCTIONS)
    return device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)


def channels_last_(model: nn.Module) -> nn.Module:
    """The layout in which convolutions run fastest; values stay the same."""
    return model.to(memory_format=torch.channels_last)
