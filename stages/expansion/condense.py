"""Condense a training set into a few images a class, by one method with one seed.

python -m stages.expansion.condense --train data/prepared/fashion-mnist/train
    --teacher results/laptop/models/lenet5-bn-fashion-mnist-s0 --method dm --images-per-class 1 --seed 0 --folder OUT

The folder is a prepared split (images.npy uint8, labels.npy, dataset.json with a digest) in raw pixels of 0 to 255,
grid.png with a row a class, and progress.npz: what matching had learned after a quarter, a half and three quarters of
its iterations. Herding and rded ask the teacher; all others take its normalisation alone.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stages.expansion.arms import CONDENSATIONS
from stages.expansion.condensation import MATCHES, RealImages
from stages.expansion.config import CondensationConfig
from stages.expansion.selection import crop_and_choose, herd
from stages.lib.core.artifacts import atomic_path, write_arrays
from stages.lib.core.commands import from_json
from stages.lib.core.errors import InputError, run
from stages.lib.core.prepared import ImageSplit, content_digest, image_digests, read_images, write_images
from stages.lib.core.progress import Progress
from stages.lib.core.seeds import derive_seed
from stages.lib.inversion.networks import Networks
from stages.lib.nets.model_folder import ModelInfo, read_model
from stages.lib.training.device import CHOICES, choose_device
from stages.lib.training.images import denormalise, normalise

KEPT_SHARES = (0.25, 0.5, 0.75)  # of the iterations, after which what is learned so far is kept


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = from_json(CondensationConfig, args.config, where="--config")
    device = choose_device(args.device)
    split = read_images(args.train)
    teacher, info = read_model(args.teacher)
    chance = torch.Generator().manual_seed(derive_seed(args.seed, "real images") % 2**63)
    try:
        real = RealImages(
            normalise(split.images, info.mean, info.std),
            torch.from_numpy(np.array(split.labels)),
            len(info.classes),
            chance,
        )
    except ValueError as error:
        raise InputError(f"{args.train}: {error}; condense a set that has every class") from None
    networks = Networks(
        teacher=teacher,
        student=teacher,
        channels=split.info.channels,
        size=split.info.height,
        device=device,
    )
    n = args.images_per_class
    kept: dict[str, np.ndarray] = {}
    marks = {max(1, round(share * config.iterations)): share for share in KEPT_SHARES}
    progress = Progress(config.iterations, "iterations")

    def advance(iteration: int, learned: Tensor) -> None:
        if iteration in marks:
            kept[f"{marks[iteration]:g}"] = denormalise(learned.cpu(), info.mean, info.std)
        progress.advance()

    try:
        real.require(n)
    except ValueError as error:
        raise InputError(f"{args.train}: {error}; lower --images-per-class") from None
    match args.method:
        case "dm" | "dc":
            matched = MATCHES[args.method]
            images = matched(real, n, config, seed=args.seed, device=device, advance=advance)
        case "random":
            images = real.distinct(n)
        case "herding":
            images = herd(real, n, networks)
        case "rded":
            images = crop_and_choose(real, n, networks, candidates=config.candidates, crops=config.crops)
    pixels = denormalise(images.cpu(), info.mean, info.std)
    condensed = condensed_split(split, pixels, info, f"{args.method}-{n}")
    if split.info.redistribute:
        write_grid(args.folder / "grid.png", pixels, len(info.classes))
    write_arrays(args.folder / "progress.npz", kept)
    write_images(args.folder, condensed)


def condensed_split(split: ImageSplit, pixels: np.ndarray, info: ModelInfo, name: str) -> ImageSplit:
    """pixels (classes * per_class, height, width, channels) uint8, classes in order."""
    labels = np.repeat(np.arange(len(info.classes)), len(pixels) // len(info.classes))
    about = replace(
        split.info,
        split=name,
        n=len(pixels),
        digest=content_digest(image_digests(pixels, labels)),
        mean=info.mean,
        std=info.std,
    )
    return ImageSplit(images=pixels, labels=labels, info=about)


def write_grid(path: Path, pixels: np.ndarray, classes: int) -> None:
    """A row a class, at most ten images of each."""
    n, height, width, channels = pixels.shape
    rows = pixels.reshape(classes, n // classes, height, width, channels)[:, :10]
    grid = rows.transpose(0, 2, 1, 3, 4).reshape(classes * height, -1, channels)
    with atomic_path(path) as temporary:
        Image.fromarray(grid.squeeze(2) if channels == 1 else grid).save(temporary, format="PNG")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", type=Path, required=True, help="prepared training split")
    parser.add_argument("--teacher", type=Path, required=True, help="model folder, trained on this set")
    parser.add_argument("--method", choices=CONDENSATIONS, required=True)
    parser.add_argument("--images-per-class", type=int, required=True)
    parser.add_argument("--config", default="{}", help="CondensationConfig as JSON")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=CHOICES, default="auto")
    parser.add_argument("--folder", type=Path, required=True, help="folder to write the set to")
    args = parser.parse_args(argv)
    if args.images_per_class < 1:
        parser.error(f"--images-per-class is {args.images_per_class}: choose 1 or more")
    return args


if __name__ == "__main__":
    run(main)
