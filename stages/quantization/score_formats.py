"""Top-1 of trained networks in float32 and after post-training quantisation, for users who want some of the classes.

python -m stages.quantization.score_formats --models everyone=results/laptop/models/gestures-s0
    --train data/rendered/laptop/motion/train --splits test=data/rendered/laptop/motion/test
    --steps '{"int4": {"formats": "INT4", "technique": {}}}' --users '{"anna": ["tick", "left"]}' --table scores.csv

A network that is named after a user was pruned for them: it is calibrated and tested on images of their classes alone,
all others (`everyone`) on images of all classes. Formats are those of every layer. Rows: owner (the network's name),
user, step (`float` or a name of --steps), split, n images, how many of them are right among the user's classes, and
among all. Calibration images come from the training split, one draw a seed.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from stages.lib.core.artifacts import atomic_path
from stages.lib.core.commands import from_json, json_object
from stages.lib.core.errors import InputError, run
from stages.lib.core.prepared import ImageSplit, read_images
from stages.lib.core.progress import Progress
from stages.lib.core.seeds import generator
from stages.lib.core.users import EVERYONE, read_users
from stages.lib.nets.model_folder import ModelInfo, read_model
from stages.lib.training.device import CHOICES, choose_device
from stages.lib.training.evaluate import logits_of, restricted
from stages.lib.training.images import normalise
from stages.quantization.config import Technique
from stages.quantization.ptq import quantise_model
from stages.quantization.sweep import draw_images


@dataclass(frozen=True, kw_only=True)
class Step:
    """Formats of weights and activations, as in ExportConfig, and how they are chosen."""

    formats: str
    technique: Technique = field(default_factory=Technique)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    steps = {
        name: from_json(Step, json.dumps(value), where=f"--steps: {name}")
        for name, value in json_object(args.steps, "--steps").items()
    }
    device = choose_device(args.device)
    train = read_images(args.train)
    splits = {name: read_images(folder) for name, folder in named(args.splits, "--splits").items()}
    models = named(args.models, "--models")
    progress = Progress(len(models) * (1 + len(steps)), "networks")
    tables = []
    for owner, folder in models.items():
        model, info = read_model(folder)
        classes = read_users(args.users, info.classes)
        if owner != EVERYONE:
            if owner not in classes:
                raise InputError(f"--models names {owner}, whom --users does not have")
            classes = {owner: classes[owner]}
        own = train if owner == EVERYONE else train.of_classes([info.classes[c] for c in classes[owner]])
        rng = generator(args.seed, "calibration")
        drawn = draw_images(len(own.labels), selection=0, calibration=args.calibration_images, rng=rng)
        images = normalise(own.images[drawn], info.mean, info.std)
        for step, network in networks(model.to(device), steps, images.to(device)):
            for split, tested in splits.items():
                rows = score(network, info, tested, classes, owner, device)
                tables.append(
                    pd.DataFrame(rows).assign(owner=owner, step=step, split=split, digest=tested.info.digest)
                )
            progress.advance(note=f"{owner} {step}")
    table = pd.concat(tables, ignore_index=True).assign(network=args.name, seed=args.seed)
    columns = ["network", "seed", "owner", "user", "step", "split", "n", "right", "right_of_all", "digest"]
    with atomic_path(args.table) as temporary:
        table[columns].to_csv(temporary, index=False)


def networks(model: nn.Module, steps: Mapping[str, Step], images: Tensor) -> Iterator[tuple[str, nn.Module]]:
    yield "float", model
    for name, step in steps.items():
        yield (
            name,
            quantise_model(model, step.formats, images, technique=step.technique, edge_format=None),
        )


def score(
    network: nn.Module,
    info: ModelInfo,
    split: ImageSplit,
    classes: Mapping[str, list[int]],
    owner: str,
    device: torch.device,
) -> list[dict[str, object]]:
    """A row for each user, of images of their classes, and for the network of everyone one of all images."""
    labels = torch.from_numpy(np.array(split.labels))
    every = torch.arange(len(labels))
    if owner != EVERYONE:
        every = torch.isin(labels, torch.tensor(classes[owner])).nonzero()[:, 0]
    logits = logits_of(network, normalise(split.images[every.numpy()], info.mean, info.std), device=device)
    labels = labels[every]
    rows = [_row(user, logits, labels, own) for user, own in classes.items()]
    if owner == EVERYONE:
        rows.append(_row(EVERYONE, logits, labels, list(range(logits.shape[1]))))
    return rows


def _row(user: str, logits: Tensor, labels: Tensor, classes: list[int]) -> dict[str, object]:
    own = torch.isin(labels, torch.tensor(classes))
    logits, labels = logits[own], labels[own]
    return {
        "user": user,
        "n": len(labels),
        "right": int((restricted(logits, classes).argmax(1) == labels).sum()),
        "right_of_all": int((logits.argmax(1) == labels).sum()),
    }


def named(pairs: list[str], where: str) -> dict[str, Path]:
    """NAME=FOLDER arguments."""
    found = {}
    for pair in pairs:
        name, equals, folder = pair.partition("=")
        if not (name and equals and folder):
            raise InputError(f"{where} has {pair!r}: give NAME=FOLDER")
        found[name] = Path(folder)
    return found


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", required=True, help="USER=FOLDER, or everyone=FOLDER")
    parser.add_argument("--train", required=True, help="prepared split to calibrate on")
    parser.add_argument(
        "--splits", nargs="+", required=True, help="NAME=FOLDER of prepared splits to test on"
    )
    parser.add_argument("--steps", default="{}", help="JSON: name -> formats and technique")
    parser.add_argument("--users", required=True, help="JSON: user -> names of classes")
    parser.add_argument("--calibration-images", type=int, default=200)
    parser.add_argument("--name", default="", help="that the table carries")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of calibration images")
    parser.add_argument("--device", choices=CHOICES, default="auto")
    parser.add_argument("--table", required=True, help="CSV to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
