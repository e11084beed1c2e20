"""A small CycleGAN (Zhu et al. 2017) from pasted to rendered frames: the comparator that the paper names.

Two generators of four residual blocks, two discriminators of patches, least squares, cycles weighted 10, identity 5.
"""

from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.hands.config import CycleConfig
from stages.lib.core.seeds import derive_seed
from stages.lib.training.checkpoint import load_checkpoint, save_checkpoint
from stages.lib.training.device import channels_last_, mixed_precision

CYCLE, IDENTITY = 10.0, 5.0
CHECKPOINT_STEPS = 500


class Translator(nn.Module):
    """(n, 3, 64, 64) in -1..1 -> the same of the other kind."""

    def __init__(self, width: int = 32, blocks: int = 4) -> None:
        super().__init__()
        self.down = nn.Sequential(
            _conv(3, width, 7), _conv(width, 2 * width, 3, 2), _conv(2 * width, 4 * width, 3, 2)
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(_conv(4 * width, 4 * width, 3), nn.Conv2d(4 * width, 4 * width, 3, 1, 1), _norm(4 * width))
            for _ in range(blocks)
        )  # fmt: skip
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2), _conv(4 * width, 2 * width, 3), nn.Upsample(scale_factor=2),
            _conv(2 * width, width, 3), nn.Conv2d(width, 3, 7, 1, 3), nn.Tanh(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x)
        for block in self.blocks:
            x = x + block(x)
        found: Tensor = self.up(x)
        return found


class PatchDiscriminator(nn.Module):
    """(n, 3, 64, 64) -> (n, 1, 8, 8): how real each patch looks."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, 2, 1), _norm(2 * width), nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 4 * width, 4, 2, 1), _norm(4 * width), nn.LeakyReLU(0.2),
            nn.Conv2d(4 * width, 1, 3, 1, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.body(x)
        return found


def train_cycle(
    pasted: Tensor,
    rendered: Tensor,
    config: CycleConfig,
    *,
    seed: int,
    device: torch.device,
    state: str | Path | None = None,
    advance: Callable[[str], None] | None = None,
) -> Translator:
    """The generator from pasted to rendered frames, both (n, 3, 64, 64) in 0..1; on the CPU, in evaluation mode."""
    torch.manual_seed(derive_seed(seed, "cycle") % 2**31)
    there, back = (channels_last_(Translator(config.width).to(device)) for _ in range(2))
    judge_there, judge_back = (channels_last_(PatchDiscriminator(config.width).to(device)) for _ in range(2))
    adam = {"lr": config.learning_rate, "betas": (0.5, 0.999), "fused": True}
    generators = torch.optim.Adam(chain(there.parameters(), back.parameters()), **adam)
    judges = torch.optim.Adam(chain(judge_there.parameters(), judge_back.parameters()), **adam)
    parts: dict[str, Any] = {
        "there": there, "back": back, "judge there": judge_there, "judge back": judge_back,
        "generators' Adam": generators, "judges' Adam": judges,
    }  # fmt: skip
    first = 0
    if state is not None and (found := load_checkpoint(state)) is not None:
        first, saved = found
        for name, part in parts.items():
            part.load_state_dict(saved[name])
    for step in range(first, config.steps):
        chance = torch.Generator().manual_seed(derive_seed(seed, "cycle step", step) % 2**31)
        # constant, then falling to 0 over the second half, as published
        share = min(1.0, 2 * (config.steps - step) / config.steps)
        for optimiser in (generators, judges):
            optimiser.param_groups[0]["lr"] = config.learning_rate * share
        a, b = (_batch(frames, config.batch_size, chance, device) for frames in (pasted, rendered))
        with mixed_precision(device):
            to_b, to_a = there(a), back(b)
            adversarial = _like(judge_there(to_b), 1) + _like(judge_back(to_a), 1)
            cycle = F.l1_loss(back(to_b), a) + F.l1_loss(there(to_a), b)
            identity = F.l1_loss(there(b), b) + F.l1_loss(back(a), a)
            loss = adversarial + CYCLE * cycle + IDENTITY * identity
        generators.zero_grad()
        loss.backward()
        generators.step()
        with mixed_precision(device):
            judged = _like(judge_there(b), 1) + _like(judge_there(to_b.detach()), 0)
            judged = judged + _like(judge_back(a), 1) + _like(judge_back(to_a.detach()), 0)
        judges.zero_grad()
        judged.backward()
        judges.step()
        if state is not None and (step + 1) % CHECKPOINT_STEPS == 0:
            save_checkpoint(state, step + 1, {name: part.state_dict() for name, part in parts.items()})
        if advance is not None:
            advance(f"seed {seed}")
    return there.eval().cpu()


@torch.inference_mode()
def translate(model: Translator, frames: Tensor, *, batch: int = 64) -> Tensor:
    """Frames (n, 3, 64, 64) in 0..1."""
    parts = [model(2 * frames[i : i + batch] - 1) for i in range(0, len(frames), batch)]
    return (torch.cat(parts) + 1) / 2


def _batch(frames: Tensor, size: int, chance: torch.Generator, device: torch.device) -> Tensor:
    rows = torch.randint(len(frames), (size,), generator=chance)
    mirrored = torch.rand(size, generator=chance) < 0.5
    chosen = 2 * frames[rows] - 1
    chosen = torch.where(mirrored[:, None, None, None], chosen.flip(3), chosen)
    return chosen.to(device, memory_format=torch.channels_last)


def _like(scores: Tensor, wanted: float) -> Tensor:
    return ((scores.float() - wanted) ** 2).mean()


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), _norm(outputs), nn.ReLU()
    )


def _norm(width: int) -> nn.InstanceNorm2d:
    return nn.InstanceNorm2d(width, affine=True)
