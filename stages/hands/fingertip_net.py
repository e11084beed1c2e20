"""A small network that finds the index fingertip in a whole frame: a heatmap and its mean place.

The coordinates are the mean of the normalised heatmap, so that the loss is on pixels (DSNT, Nibali et al. 2018), as in
DrawInAir; the heatmap itself is pulled towards a Gaussian about the tip.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from stages.lib.core.artifacts import read_json
from stages.lib.core.errors import InputError
from stages.lib.training.device import channels_last_, mixed_precision

STRIDE = 4  # of the heatmap
SPREAD = 1.0  # standard deviation of the wanted heatmap, in its cells


class FingertipNet(nn.Module):
    """(n, channels, h, w) in -1..1 -> (n, h / 4, w / 4) logits of where the tip is; h and w multiples of 8."""

    def __init__(self, width: int = 16, channels: int = 3) -> None:
        super().__init__()

        def block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
            conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))

        self.stem = nn.Sequential(
            block(channels, width, 2), block(width, 2 * width, 2), block(2 * width, 2 * width)
        )
        self.deep = nn.Sequential(block(2 * width, 4 * width, 2), block(4 * width, 4 * width))
        self.deeper = nn.Sequential(block(4 * width, 4 * width, 2), block(4 * width, 4 * width))
        self.middle = block(8 * width, 4 * width)
        self.top = nn.Sequential(block(6 * width, 2 * width), nn.Conv2d(2 * width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        fine = self.stem(x)
        deep = self.deep(fine)
        deeper = F.interpolate(self.deeper(deep), size=deep.shape[-2:], mode="nearest")
        middle = F.interpolate(
            self.middle(torch.cat([deeper, deep], 1)), size=fine.shape[-2:], mode="nearest"
        )
        return self.top(torch.cat([middle, fine], 1)).squeeze(1)


class VideoFingertipNet(nn.Module):
    """(n, 6, h, w) in -1..1, frames and the median frame of their video -> logits as those of FingertipNet.

    It sees each frame with its mean and contrast taken away, and how far the frame is from the median: what moves.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.finder = FingertipNet(width, channels=4)

    def forward(self, x: Tensor) -> Tensor:
        frames, median = x[:, :3], x[:, 3:]
        contrast = frames.std((1, 2, 3), keepdim=True) + 0.05
        change = (frames - median).abs().mean(1, keepdim=True)
        even = frames - frames.mean((1, 2, 3), keepdim=True)
        found: Tensor = self.finder(torch.cat([even, change], 1) / contrast)
        return found


@dataclass(frozen=True, kw_only=True)
class FingertipSchedule:
    """Steps of `batch_size` frames; the rate rises over a fifth of them to learning_rate, then falls to 0."""

    steps: int
    batch_size: int
    learning_rate: float


def expected_place(logits: Tensor) -> Tensor:
    """(n, 2) mean x and y of the softmax over cells (n, h, w), in shares of the picture (0 left and top, 1 right)."""
    n, height, width = logits.shape
    weight = logits.flatten(1).float().softmax(1).view(n, height, width)
    x = (torch.arange(width, device=logits.device) + 0.5) / width
    y = (torch.arange(height, device=logits.device) + 0.5) / height
    return torch.stack([(weight.sum(1) * x).sum(1), (weight.sum(2) * y).sum(1)], dim=1)


def fingertip_loss(logits: Tensor, place: Tensor) -> Tensor:
    """Mean distance in shares of the picture, and cross-entropy with a Gaussian of SPREAD cells; place (n, 2)."""
    height, width = logits.shape[1:]
    x = torch.arange(width, device=logits.device) + 0.5
    y = torch.arange(height, device=logits.device) + 0.5
    gaussian = torch.exp(
        -((x[None] - place[:, :1] * width) ** 2)[:, None] / (2 * SPREAD**2)
        - ((y[None] - place[:, 1:] * height) ** 2)[:, :, None] / (2 * SPREAD**2)
    ).flatten(1)
    wanted = gaussian / gaussian.sum(1, keepdim=True).clamp_min(1e-6)
    entropy = -(wanted * logits.flatten(1).float().log_softmax(1)).sum(1).mean()
    distance = (expected_place(logits) - place).norm(dim=1).mean()
    return 0.2 * entropy + 5 * distance


Batches = Callable[[int, int, torch.Generator], tuple[Tensor, Tensor]]


def train_fingertips(
    batches: Batches,
    *,
    schedule: FingertipSchedule,
    seed: int,
    device: torch.device,
    build: Callable[[], nn.Module] = FingertipNet,
    advance: Callable[[], None] | None = None,
) -> nn.Module:
    """A trained network. `batches(step, size, generator)` gives what the network takes, and tips (size, 2).

    build    a network, untrained
    advance  called after each step
    """
    torch.manual_seed(seed)
    model = channels_last_(build().to(device)).train()
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=schedule.learning_rate, weight_decay=0.01, fused=True
    )
    rates = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, schedule.learning_rate, total_steps=schedule.steps, pct_start=0.2
    )
    chance = torch.Generator().manual_seed(seed)
    for step in range(schedule.steps):
        frames, tips = batches(step, schedule.batch_size, chance)
        with mixed_precision(device):
            logits = model(frames.to(device, memory_format=torch.channels_last))
        loss = fingertip_loss(logits, tips.to(device))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        rates.step()
        if advance is not None:
            advance()
    return model.eval()


def read_fingertip_nets(weights: str, info: str) -> dict[int, nn.Module]:
    """seed -> network, in evaluation mode. Raises InputError where the two files do not fit."""
    record = read_json(info)
    found = {}
    try:
        state = load_file(weights)
        for seed in record["config"]["seeds"]:
            model = channels_last_(VideoFingertipNet(record["config"]["width"]))
            own = {k.partition(".")[2]: v for k, v in state.items() if k.startswith(f"{seed}.")}
            model.load_state_dict(own)
            found[int(seed)] = model.eval()
    except (KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise InputError(
            f"{weights} does not hold the networks of {info} ({' '.join(str(error).split())[:150]}); train them again"
        ) from error
    return found


@torch.inference_mode()
def find_fingertips(model: nn.Module, frames: Tensor, *, batch: int = 64) -> tuple[Tensor, Tensor]:
    """(n, 2) places in shares of the picture, (n,) the heatmap's weight within two cells of them: 0 unsure, 1 sure."""
    places, trust = [], []
    for part in frames.split(batch):
        with mixed_precision(part.device):
            logits = model(part.contiguous(memory_format=torch.channels_last)).float()
        place = expected_place(logits)
        n, height, width = logits.shape
        weight = logits.flatten(1).softmax(1).view(n, height, width)
        x = torch.arange(width, device=logits.device) + 0.5 - place[:, :1] * width
        y = torch.arange(height, device=logits.device) + 0.5 - place[:, 1:] * height
        near = (x.abs() < 2)[:, None] & (y.abs() < 2)[:, :, None]
        places.append(place)
        trust.append((weight * near).sum((1, 2)))
    return torch.cat(places), torch.cat(trust)


class BatchSource:
    """Frames of clips with light augmentation: mirrored, moved, scaled, lighter or darker, tinted."""

    def __init__(self, frames: Tensor, tips: Tensor, *, zoom: float = 0.12, shift: float = 0.08) -> None:
        """frames (n, 3, h, w) float32 in 0..1; tips (n, 2) in shares of the picture."""
        self.frames, self.tips, self.zoom, self.shift = frames, tips, zoom, shift

    def __call__(self, step: int, size: int, chance: torch.Generator) -> tuple[Tensor, Tensor]:
        rows = torch.randint(len(self.frames), (size,), generator=chance)
        frames, tips = self.frames[rows], self.tips[rows]
        scale = 1 + self.zoom * (2 * torch.rand(size, generator=chance) - 1)
        move = self.shift * (2 * torch.rand(size, 2, generator=chance) - 1)
        side = torch.where(torch.rand(size, generator=chance) < 0.5, -1.0, 1.0)
        # in grid coordinates (-1..1): what is seen at p comes from side * p * scale + 2 move
        theta = torch.zeros(size, 2, 3)
        theta[:, 0, 0], theta[:, 1, 1] = side * scale, scale
        theta[:, :, 2] = 2 * move
        grid = F.affine_grid(theta, list(frames.shape), align_corners=False)
        seen = F.grid_sample(frames, grid, padding_mode="reflection", align_corners=False)
        place = 2 * tips - 1
        place = (place - 2 * move) / torch.stack([side * scale, scale], dim=1)
        return colour_jitter(seen, chance), (place + 1) / 2


def colour_jitter(frames: Tensor, chance: torch.Generator) -> Tensor:
    """Other exposure, contrast, tint and noise; (n, 3, h, w) 0..1 -> -1..1."""
    n = len(frames)
    gamma = torch.exp(0.25 * torch.randn(n, 1, 1, 1, generator=chance))
    tint = torch.exp(0.08 * torch.randn(n, 3, 1, 1, generator=chance))
    gain = torch.exp(0.2 * torch.randn(n, 1, 1, 1, generator=chance))
    noise = 0.02 * torch.rand(n, 1, 1, 1, generator=chance) * torch.randn(frames.shape, generator=chance)
    return 2 * (frames.clamp_min(1e-4) ** gamma * tint * gain + noise).clamp(0, 1) - 1
