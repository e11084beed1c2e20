"""Supervised training and distillation of a network, resumable and bit-identical for one seed and thread count."""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.lib.core.progress import Progress
from stages.lib.core.seeds import derive_seed
from stages.lib.training.checkpoint import load_checkpoint, save_checkpoint
from stages.lib.training.device import channels_last_, mixed_precision
from stages.lib.training.evaluate import accuracy, logits_of
from stages.lib.training.images import augment


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The rate rises linearly over `warm_up` of the steps, then falls to 0.

    optimiser  "sgd": with Nesterov momentum; "adamw": Loshchilov 2019, which knows no `momentum`
    ema        decay of an exponential moving average of the weights, which is what is kept; 0 switches it off
    """

    epochs: int
    batch_size: int = 256
    optimiser: str = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warm_up: float = 0.2
    label_smoothing: float = 0.0
    flip: bool = False
    shift_px: int = 0
    ema: float = 0.0


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One row of the training curve; `held_out_accuracy` is on images that are not trained on."""

    epoch: int
    train_loss: float
    held_out_accuracy: float


def fit(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    held_out: tuple[Tensor, Tensor],
    *,
    schedule: Schedule,
    fill: Tensor,
    seed: int,
    device: torch.device,
    state: str | Path | None = None,
    bf16: bool = True,
) -> tuple[nn.Module, list[EpochRecord]]:
    """Train `model` with cross-entropy; returns it with its curve.

    images    (n, channels, height, width) normalised; labels (n,) int64
    held_out  images and labels for the curve only: nothing is chosen by them
    fill      (channels,) normalised black, for shifts
    state     folder of checkpoints, one an epoch; a rerun goes on from the last

    Order and augmentation of an epoch depend on seed and epoch alone, so that a resumed run equals an
    undisturbed one bit for bit.
    """
    model = channels_last_(model.to(device)).train()
    average = copy.deepcopy(model) if schedule.ema else None
    optimiser = _optimiser(model, schedule)
    steps = len(images) // schedule.batch_size * schedule.epochs
    if steps == 0:
        raise ValueError(f"{len(images)} images do not fill one batch of {schedule.batch_size}")
    curve: list[EpochRecord] = []
    if state is not None and (found := load_checkpoint(state)) is not None:
        curve = _restore_(model, average, optimiser, found[1])
    progress = Progress(schedule.epochs, "epoch", done=len(curve))
    for epoch in range(len(curve), schedule.epochs):
        chance = torch.Generator().manual_seed(derive_seed(seed, "epoch", epoch))
        loss_sum, batches = 0.0, 0
        for step, rows in _batches(len(images), schedule, epoch, chance):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(step, steps, schedule)
            batch = augment(
                images[rows], flip=schedule.flip, shift_px=schedule.shift_px, fill=fill, generator=chance
            ).to(device, memory_format=torch.channels_last)
            with mixed_precision(device, enabled=bf16):
                logits = model(batch)
            target = labels[rows].to(device)
            loss = F.cross_entropy(logits.float(), target, label_smoothing=schedule.label_smoothing)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if average is not None:
                update_average_(average, model, schedule.ema)
            loss_sum, batches = loss_sum + loss.item(), batches + 1
        scored = logits_of(average or model, held_out[0], device=device, bf16=bf16)
        curve.append(
            EpochRecord(
                epoch=epoch + 1,
                train_loss=loss_sum / batches,
                held_out_accuracy=accuracy(scored, held_out[1]),
            )
        )
        model.train()
        if state is not None:
            save_checkpoint(state, epoch + 1, _snapshot(model, average, optimiser, curve))
        progress.advance(note=f"loss {curve[-1].train_loss:.3f} held-out {curve[-1].held_out_accuracy:.4f}")
    return (average or model).eval(), curve


def learning_rate(step: int, steps: int, schedule: Schedule) -> float:
    """Linear from a fifth of the peak to the peak, then linear to a fiftieth of it."""
    rise = max(1, round(steps * schedule.warm_up))
    if step < rise:
        return schedule.learning_rate * (0.2 + 0.8 * step / rise)
    return schedule.learning_rate * (1 - 0.98 * (step - rise) / max(1, steps - rise))


@torch.no_grad()
def update_average_(average: nn.Module, model: nn.Module, decay: float) -> None:
    """One step of the exponential moving average; counters and other integers are copied."""
    ours, theirs = average.state_dict(), model.state_dict()
    for name, value in theirs.items():
        if value.is_floating_point():
            ours[name].lerp_(value, 1 - decay)
        else:
            ours[name].copy_(value)


def distillation_loss(student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """Hinton's loss (2015): KL of softened outputs, times temperature squared; (n, classes) logits -> scalar."""
    student, teacher = student.float() / temperature, teacher.float() / temperature
    divergence = F.kl_div(
        student.log_softmax(1), teacher.log_softmax(1), reduction="batchmean", log_target=True
    )
    return divergence * temperature**2


def imitation_loss(student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """distillation_loss; at a temperature of 0 the mean absolute difference of logits (DFAD, PRE-DFKD)."""
    if temperature:
        return distillation_loss(student, teacher, temperature=temperature)
    return F.l1_loss(student.float(), teacher.float())


def distil(
    student: nn.Module,
    teacher: nn.Module,
    batches: Iterator[Tensor],
    *,
    optimiser: torch.optim.Optimizer,
    temperature: float,
    device: torch.device,
    bf16: bool = True,
) -> Iterator[float]:
    """Train `student` on the teacher's outputs over `batches`; gives the loss of each step as it is taken.

    batches  (n, channels, height, width) normalised images, without labels
    temperature  as imitation_loss takes it
    """
    teacher = channels_last_(teacher.to(device)).eval()
    student = channels_last_(student.to(device)).train()
    for batch in batches:
        batch = batch.to(device, memory_format=torch.channels_last)
        with mixed_precision(device, enabled=bf16):
            with torch.no_grad():
                wanted = teacher(batch).float()
            given = student(batch).float()
        loss = imitation_loss(given, wanted, temperature=temperature)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        value = loss.item()
        if not math.isfinite(value):
            raise ValueError("the distillation loss is not finite: lower the learning rate")
        yield value


def _batches(n: int, schedule: Schedule, epoch: int, chance: torch.Generator) -> Iterator[tuple[int, Tensor]]:
    order = torch.randperm(n, generator=chance)
    full = n // schedule.batch_size
    for batch, rows in enumerate(order[: full * schedule.batch_size].view(full, -1)):
        yield epoch * full + batch, rows


def _optimiser(model: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    # biases and norms are not decayed: pulling a norm's scale to 0 only slows training
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": schedule.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    if schedule.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=schedule.learning_rate, fused=True)
    return torch.optim.SGD(
        groups, lr=schedule.learning_rate, momentum=schedule.momentum, nesterov=True, fused=True
    )


def _snapshot(
    model: nn.Module, average: nn.Module | None, optimiser: torch.optim.Optimizer, curve: list[EpochRecord]
) -> dict[str, object]:
    return {
        "model": model.state_dict(),
        "average": average.state_dict() if average else {},
        "optimiser": optimiser.state_dict(),
        "curve": [(r.epoch, r.train_loss, r.held_out_accuracy) for r in curve],
    }


def _restore_(
    model: nn.Module, average: nn.Module | None, optimiser: torch.optim.Optimizer, state: dict
) -> list[EpochRecord]:
    model.load_state_dict(state["model"])
    if average is not None:
        average.load_state_dict(state["average"])
    optimiser.load_state_dict(state["optimiser"])
    return [EpochRecord(epoch=e, train_loss=loss, held_out_accuracy=a) for e, loss, a in state["curve"]]
