"""Training of the paper arm's generator: true frames, their masks, and the frames with a hole where the hand was.

Losses as published (Turkoglu et al. 2019), but for the features: those of a small fingertip network that has seen these
training frames alone stand in for VGG-19's, with the plain difference of pixels.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.hands.config import CompositorConfig
from stages.hands.fingertip_net import BatchSource, FingertipNet, FingertipSchedule, train_fingertips
from stages.hands.planar.compositor import Z_SIZE, Compositor, Discriminator, boxes_of, instance_crops
from stages.hands.planar.sprites import Sprites, moved
from stages.lib.core.seeds import derive_seed
from stages.lib.training.checkpoint import load_checkpoint, save_checkpoint
from stages.lib.training.device import channels_last_, mixed_precision

# weights of the generator's losses, as published
GLOBAL, INSTANCE, FEATURES, OUTSIDE = 0.9, 0.1, 1.0, 1e-5
PIXELS = 10.0  # ours, with FEATURES of a small network
CHECKPOINT_STEPS = 500


class FrameSource:
    """True frames as the generator learns them: mirrored, moved and scaled, with their masks."""

    def __init__(self, sprites: Sprites) -> None:
        self.pictures = torch.cat([sprites.frames, sprites.masks], 1)

    def __call__(self, size: int, chance: torch.Generator) -> tuple[Tensor, Tensor]:
        """Frames (size, 3, 64, 64) in -1..1 and masks (size, 1, 64, 64)."""
        rows = torch.randint(len(self.pictures), (size,), generator=chance)
        scale = 1 + 0.15 * (2 * torch.rand(size, generator=chance) - 1)
        side = torch.where(torch.rand(size, generator=chance) < 0.5, -1.0, 1.0)
        theta = torch.zeros(size, 2, 3)
        theta[:, 0, 0], theta[:, 1, 1] = side * scale, scale
        theta[:, :, 2] = 0.16 * (2 * torch.rand(size, 2, generator=chance) - 1)
        seen = moved(self.pictures[rows], theta)
        return 2 * seen[:, :3] - 1, seen[:, 3:]


def train_compositor(
    sprites: Sprites,
    config: CompositorConfig,
    *,
    seed: int,
    device: torch.device,
    state: str | Path | None = None,
    advance: Callable[[str], None] | None = None,
) -> Compositor:
    """A generator in evaluation mode, on the CPU.

    state    folder of checkpoints; a rerun goes on from the last
    advance  called after each step that was computed, with a word on the losses
    """
    teacher = feature_network(sprites, config, seed=seed, device=device)
    torch.manual_seed(derive_seed(seed, "compositor") % 2**31)
    parts: dict[str, nn.Module] = {
        "generator": channels_last_(Compositor(config.width).to(device)),
        "global": channels_last_(Discriminator(4, config.width).to(device)),
        "instance": channels_last_(Discriminator(3, config.width).to(device)),
    }
    generator, whole, instance = parts["generator"], parts["global"], parts["instance"]
    adam = {"lr": config.learning_rate, "betas": (0.0, 0.9), "fused": True}
    optimisers = {
        "generator's Adam": torch.optim.Adam(generator.parameters(), **adam),
        "discriminators' Adam": torch.optim.Adam([*whole.parameters(), *instance.parameters()], **adam),
    }
    source, first = FrameSource(sprites), 0
    if state is not None and (found := load_checkpoint(state)) is not None:
        first, saved = found
        _restore(parts, optimisers, saved)
    for module in parts.values():
        module.train()
    for step in range(first, config.steps):
        # what a step draws depends on the step alone, so that a resumed run equals an undisturbed one
        chance = torch.Generator().manual_seed(derive_seed(seed, "compositor step", step) % 2**31)
        rate = config.learning_rate * 0.5 ** (4 * step // config.steps)
        for optimiser in optimisers.values():
            optimiser.param_groups[0]["lr"] = rate
        for _ in range(config.discriminator_steps):
            # a context each: autocast keeps weights that it has cast, also after they were changed
            with mixed_precision(device):
                truth, masks, fake = _drawn(source, generator, config.batch_size, chance, device)
                boxes, seen = boxes_of(masks), fake.detach()
                loss = _real_or_fake(whole, torch.cat([truth, masks], 1), torch.cat([seen, masks], 1))
                loss = loss + _real_or_fake(
                    instance, instance_crops(truth, boxes), instance_crops(seen, boxes)
                )
            optimisers["discriminators' Adam"].zero_grad()
            loss.backward()
            optimisers["discriminators' Adam"].step()
        with mixed_precision(device):
            # the last frames serve the generator too
            loss = generator_loss(truth, masks, fake, whole=whole, instance=instance, teacher=teacher)
        optimisers["generator's Adam"].zero_grad()
        loss.backward()
        optimisers["generator's Adam"].step()
        if state is not None and (step + 1) % CHECKPOINT_STEPS == 0:
            save_checkpoint(state, step + 1, _snapshot(parts, optimisers))
        if advance is not None:
            advance(f"seed {seed}" if step % 50 else f"seed {seed}, loss {float(loss.detach()):.2f}")
    trained: Compositor = generator.eval().cpu()
    return trained


def generator_loss(
    truth: Tensor, masks: Tensor, fake: Tensor, *, whole: nn.Module, instance: nn.Module, teacher: nn.Module
) -> Tensor:
    """0.9 global + 0.1 instance + features and pixels + 1e-5 outside the mask."""
    seen_whole = whole(torch.cat([fake, masks], 1)).float()
    seen_instance = instance(instance_crops(fake, boxes_of(masks))).float()
    adversarial = GLOBAL * F.softplus(-seen_whole).mean() + INSTANCE * F.softplus(-seen_instance).mean()
    alike = PIXELS * (fake - truth).abs().mean() + FEATURES * feature_distance(teacher, fake, truth)
    outside = OUTSIDE * ((fake - truth) ** 2 * (1 - masks)).mean()
    return adversarial + alike + outside


def feature_network(
    sprites: Sprites, config: CompositorConfig, *, seed: int, device: torch.device
) -> nn.Module:
    """A fingertip network trained on the generator's own training frames, frozen."""
    small = F.avg_pool2d(sprites.frames, 2)
    model = train_fingertips(
        BatchSource(small, (sprites.tips + 1) / 2),
        schedule=FingertipSchedule(steps=config.feature_steps, batch_size=32, learning_rate=3e-3),
        seed=derive_seed(seed, "compositor features") % 2**31,
        device=device,
    )
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model


def feature_distance(teacher: nn.Module, found: Tensor, wanted: Tensor) -> Tensor:
    """Mean absolute difference of the features at strides 4 and 8, each divided by the size of the wanted ones."""
    assert isinstance(teacher, FingertipNet)
    total = torch.zeros((), device=found.device)
    a, b = found, wanted
    for part in (teacher.stem, teacher.deep):
        a, b = part(a), part(b)
        total = total + (a - b).abs().float().mean() / b.abs().float().mean().clamp_min(1e-3)
    return total


@torch.inference_mode()
def generate(model: Compositor, z: Tensor, masks: Tensor, backgrounds: Tensor, *, batch: int = 64) -> Tensor:
    """(n, 3, 64, 64) in 0..1 of masks (n, 1, 64, 64) and backgrounds (n, 3, 64, 64) in 0..1."""
    canvas = (2 * backgrounds - 1) * (1 - masks)
    parts = [
        model(z[i : i + batch], masks[i : i + batch], canvas[i : i + batch]) for i in range(0, len(z), batch)
    ]
    return (torch.cat(parts) + 1) / 2


def _drawn(
    source: FrameSource, generator: nn.Module, size: int, chance: torch.Generator, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    truth, masks = source(size, chance)
    z = torch.randn(size, Z_SIZE, generator=chance).to(device)
    truth = truth.to(device, memory_format=torch.channels_last)
    masks = masks.to(device)
    return truth, masks, generator(z, masks, truth * (1 - masks))


def _real_or_fake(discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    both = discriminator(torch.cat([real, fake.to(real.dtype)])).float()
    return F.softplus(-both[: len(real)]).mean() + F.softplus(both[len(real) :]).mean()


def _snapshot(parts: dict[str, nn.Module], optimisers: dict[str, torch.optim.Optimizer]) -> dict[str, Any]:
    return {name: part.state_dict() for name, part in (parts | optimisers).items()}


def _restore(
    parts: dict[str, nn.Module], optimisers: dict[str, torch.optim.Optimizer], saved: dict[str, Any]
) -> None:
    for name, part in (parts | optimisers).items():
        part.load_state_dict(saved[name])
