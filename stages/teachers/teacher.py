"""A teacher from a prepared image set: network, training curve, test accuracy."""

import dataclasses
from pathlib import Path

import torch
from torch import nn

from stages.lib.core.errors import InputError
from stages.lib.core.prepared import ImageSplit
from stages.lib.core.seeds import derive_seed
from stages.lib.nets.build import build
from stages.lib.nets.model_folder import ModelInfo
from stages.lib.training.evaluate import accuracy, logits_of
from stages.lib.training.fit import EpochRecord, Schedule, fit
from stages.lib.training.images import black, normalise
from stages.teachers.config import TeacherRecipe

# the share of the training split that the curve is drawn on; training does not see it
HELD_OUT = 0.05


def train_classifier(
    train: ImageSplit,
    recipe: TeacherRecipe,
    *,
    seed: int,
    device: torch.device,
    state: str | Path | None = None,
) -> tuple[nn.Module, ModelInfo, list[EpochRecord]]:
    """Train the recipe's network on `train`; returns it with its description and curve.

    The first rows of the split (a random sample, as rows are ordered by digest) draw the curve, the rest is
    trained on. Nothing is chosen by either.
    """
    info = train.info
    used = train.first(recipe.train_images or info.n)
    held = max(1, round(len(used.labels) * HELD_OUT))
    if len(used.labels) - held < recipe.batch_size:
        raise InputError(
            f"{info.dataset} leaves {len(used.labels) - held} training images, less than a batch of"
            f" {recipe.batch_size}; set batch_size (or train_images) of this teacher accordingly"
        )
    arguments = dict(recipe.arguments) | {"channels": info.channels, "classes": len(info.classes)}
    torch.manual_seed(derive_seed(seed, "weights"))
    model = build(recipe.net, arguments)
    images, labels = normalise(used.images, info.mean, info.std), torch.from_numpy(used.labels)
    model, curve = fit(
        model,
        images[held:],
        labels[held:],
        (images[:held], labels[:held]),
        schedule=_schedule(recipe),
        fill=black(info.mean, info.std),
        seed=seed,
        device=device,
        state=state,
    )
    described = ModelInfo(
        net=recipe.net,
        arguments=arguments,
        mean=info.mean,
        std=info.std,
        classes=info.classes,
        dataset=info.dataset,
        dataset_digest=info.digest,
        recipe=dataclasses.asdict(recipe) | {"seed": seed, "held_out": HELD_OUT},
    )
    return model, described, curve


def test_accuracy(model: nn.Module, info: ModelInfo, test: ImageSplit, *, device: torch.device) -> float:
    """Top-1 on the test split in float32, 0..1."""
    # a thousand at a time: ImageNet's 50,000 images would be 30 GB as float32
    parts = (test.images[start : start + 1000] for start in range(0, test.info.n, 1000))
    logits = [logits_of(model, normalise(part, info.mean, info.std), device=device) for part in parts]
    return accuracy(torch.cat(logits), torch.from_numpy(test.labels))


def _schedule(recipe: TeacherRecipe) -> Schedule:
    shared = {field.name for field in dataclasses.fields(Schedule)} & set(recipe.__dataclass_fields__)
    return Schedule(**{name: getattr(recipe, name) for name in shared})
