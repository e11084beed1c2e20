"""Expand a condensed set by one arm with one seed, and distil a student from what comes of it.

python -m stages.expansion.expand_set --teacher results/laptop/models/lenet5-bn-fashion-mnist-s0 --condensed CONDENSED
    --test data/prepared/fashion-mnist/test --arm guided --seed 0 --state scratch/expand --folder OUT
    --curve OUT/curve.csv --times OUT/times.csv

The folder gets the student (a model folder) and the pool (a prepared split of uint8 images, with the classes that they
were meant to be of). The test set is read for the curve alone. The curve is the same from run to run; seconds are not,
and stand in a file of their own. CONDENSED may be any prepared split of few images: condensed, chosen, or real ones.
"""

import argparse
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from stages.expansion.arms import ARMS
from stages.expansion.config import ExpansionConfig
from stages.expansion.expansion import Pool, expand
from stages.expansion.guidance import CondensedSet
from stages.lib.core.artifacts import atomic_path, value_digest
from stages.lib.core.commands import from_json
from stages.lib.core.errors import InputError, run
from stages.lib.core.prepared import ImageSplit, content_digest, image_digests, read_images, write_images
from stages.lib.inversion.students import new_student, student_accuracy
from stages.lib.nets.model_folder import ModelInfo, read_model, write_model
from stages.lib.training.device import CHOICES, choose_device
from stages.lib.training.images import denormalise, normalise


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = from_json(ExpansionConfig, args.config, where="--config")
    device = choose_device(args.device)
    teacher, info = read_model(args.teacher)
    condensed, test = read_images(args.condensed), read_images(args.test)
    networks, arguments = new_student(
        teacher, info, test, net=config.student, arguments=config.arguments, seed=args.seed, device=device
    )
    evaluate = student_accuracy(networks, info, test)

    def stored(made: Tensor) -> Tensor:
        return normalise(denormalise(made, info.mean, info.std), info.mean, info.std)

    settings = [
        asdict(replace(config, arms=(), seeds=(), teacher="")),
        args.arm,
        args.seed,
        info.weights_digest,
        condensed.info.digest,
    ]
    state = args.state / value_digest([*settings, device.type])[:16]
    done = expand(
        networks,
        as_condensed(condensed, info, args.condensed),
        ARMS[args.arm],
        config,
        seed=args.seed,
        evaluate=evaluate,
        stored=stored,
        within=pixel_range(info),
        state=state,
    )
    recipe = {"arm": args.arm, **asdict(config), "seed": args.seed}
    for key in ("condensation", "images_per_class", "teacher", "arms", "seeds"):
        recipe.pop(key)  # of the study; the set that was given is named below
    recipe |= {"condensed": condensed.info.split, "condensed_digest": condensed.info.digest}
    student_info = replace(
        info, net=config.student, arguments=arguments, parent_digest=info.weights_digest, recipe=recipe
    )
    write_model(args.folder / "student", networks.student, student_info)
    pool = as_split(done.pool, condensed, info, args.arm)
    write_images(args.folder / "pool", pool)
    curve = pd.DataFrame(done.curve)
    about = {
        "study": args.study,
        "arm": args.arm,
        "seed": args.seed,
        "condensed": condensed.info.split,
        "dataset_digest": test.info.digest,
        "condensed_digest": condensed.info.digest,
        "pool_digest": pool.info.digest,
    }
    with atomic_path(args.curve) as temporary:
        curve.drop(columns="cpu_s").assign(**about).to_csv(temporary, index=False)
    with atomic_path(args.times) as temporary:
        curve[["round", "cpu_s"]].to_csv(temporary, index=False)
    shutil.rmtree(state, ignore_errors=True)


def as_condensed(split: ImageSplit, info: ModelInfo, folder: Path) -> CondensedSet:
    """Raises InputError for a set without an image of some class of the teacher's."""
    images, labels = normalise(split.images, info.mean, info.std), torch.from_numpy(np.array(split.labels))
    if len(labels) and int(labels.max()) >= len(info.classes):
        raise InputError(
            f"{folder}: label {int(labels.max())} is none of the teacher's {len(info.classes)} classes;"
            " give the set that it was trained on"
        )
    for label, name in enumerate(info.classes):
        if not (labels == label).any():
            raise InputError(
                f"{folder}: class {label} ({name}) has no images; give a set with one image of each class or more"
            )
    return CondensedSet(images, labels, len(info.classes))


def pixel_range(info: ModelInfo) -> tuple[Tensor, Tensor]:
    """Black and white as the teacher takes them, (1, channels, 1, 1)."""
    shades = np.array([0, 255], np.uint8)[:, None, None, None].repeat(len(info.mean), 3)
    low, high = normalise(shades, info.mean, info.std).split(1)
    return low, high


def as_split(pool: Pool, condensed: ImageSplit, info: ModelInfo, name: str) -> ImageSplit:
    """The pool as a prepared split; an arm that inverts nothing has an empty one."""
    about = condensed.info
    pixels = np.zeros((0, about.height, about.width, about.channels), np.uint8)
    if len(pool):
        pixels = denormalise(pool.images.cpu(), info.mean, info.std)
    labels = pool.labels.cpu().numpy()
    digest = content_digest(image_digests(pixels, labels))
    return ImageSplit(
        images=pixels,
        labels=labels,
        info=replace(about, split=f"pool-{name}", n=len(pixels), digest=digest, mean=info.mean, std=info.std),
    )


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--teacher", type=Path, required=True, help="model folder, with batch norms")
    parser.add_argument("--condensed", type=Path, required=True, help="prepared split of few images a class")
    parser.add_argument("--test", type=Path, required=True, help="prepared test split, for the curve")
    parser.add_argument("--config", default="{}", help="ExpansionConfig as JSON")
    parser.add_argument("--arm", choices=tuple(ARMS), required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--study", default="", help="name that the curve carries")
    parser.add_argument("--device", choices=CHOICES, default="auto")
    parser.add_argument("--state", type=Path, required=True, help="folder of checkpoints, removed at the end")
    parser.add_argument("--folder", type=Path, required=True, help="folder to write student and pool to")
    parser.add_argument("--curve", required=True, help="CSV to write, a row a round")
    parser.add_argument("--times", required=True, help="CSV to write, CPU seconds up to each round")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
