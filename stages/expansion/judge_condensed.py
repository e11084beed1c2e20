"""Train a ConvNet from nothing on condensed sets, as their authors judge them, and read its accuracy on real test images.

python -m stages.expansion.judge_condensed --sets condensed/dm/1/0 condensed/random/1/0
    --test data/prepared/fashion-mnist/test --table judged.csv

A row a set: how it was condensed, images a class, seed, share of the iterations (1 for the whole; less for what matching
had learned by then, where that was kept), accuracy, digest of the set. The schedule is fixed: nothing is chosen by the
test set.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.expansion.augmentation import Augmentation
from stages.expansion.condensation import random_network
from stages.expansion.config import JudgedSetConfig
from stages.lib.core.artifacts import atomic_path, read_arrays
from stages.lib.core.commands import from_json
from stages.lib.core.errors import InputError, run
from stages.lib.core.prepared import ImageSplit, read_images
from stages.lib.core.progress import Progress
from stages.lib.core.seeds import derive_seed
from stages.lib.nets.convnet import ConvNet3
from stages.lib.training.device import CHOICES, choose_device, mixed_precision
from stages.lib.training.evaluate import accuracy
from stages.lib.training.images import normalise

TEST_BATCH = 100  # small enough for a CPU's cache


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = from_json(JudgedSetConfig, args.config, where="--config")
    device = choose_device(args.device)
    test = read_images(args.test)
    labels = torch.from_numpy(np.array(test.labels))
    sets = [(folder, read_images(folder)) for folder in args.sets]
    todo = [
        (folder, split, share, pixels) for folder, split in sets for share, pixels in stages_of(folder, split)
    ]
    rows, progress = [], Progress(len(todo), "sets")
    for folder, split, share, pixels in todo:
        info = split.info
        method, _, per_class = info.split.partition("-")
        if not per_class:
            raise InputError(
                f"{folder}: {info.split} is not the name of a condensed set; give folders of condense"
            )
        seed = int(folder.name)
        network = train_network(
            normalise(pixels, info.mean, info.std),
            torch.from_numpy(np.array(split.labels)),
            classes=len(info.classes),
            config=config,
            seed=seed,
            device=device,
        )
        logits = answers(network, normalise(test.images, info.mean, info.std), device)
        rows.append(
            {
                "dataset": info.dataset,
                "method": method,
                "images_per_class": int(per_class),
                "seed": seed,
                "share": share,
                "accuracy": accuracy(logits, labels),
                "digest": info.digest,
            }
        )
        progress.advance(note=f"{info.split} {rows[-1]['accuracy']:.4f}")
    with atomic_path(args.table) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)


def stages_of(folder: Path, split: ImageSplit) -> list[tuple[float, np.ndarray]]:
    """Share of the iterations and what had been learned by then; the set itself comes last."""
    kept = read_arrays(folder / "progress.npz") if (folder / "progress.npz").is_file() else {}
    return [*((float(share), pixels) for share, pixels in kept.items()), (1.0, split.images)]


def train_network(
    images: Tensor, labels: Tensor, *, classes: int, config: JudgedSetConfig, seed: int, device: torch.device
) -> ConvNet3:
    """Cross-entropy on augmented images (n, channels, size, size); a tenth of the rate for the last half."""
    images, labels = images.to(device), labels.to(device)
    network = random_network(images, classes, config.width, derive_seed(seed, "network"))
    optimiser = torch.optim.SGD(
        network.parameters(), config.learning_rate, momentum=0.9, weight_decay=5e-4, nesterov=True, fused=True
    )
    chance = torch.Generator().manual_seed(derive_seed(seed, "batches") % 2**63)
    augmentation, n = Augmentation(), min(config.batch_size, len(images))
    for step in range(config.steps):
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate * (1 if step < config.steps // 2 else 0.1)
        rows = torch.randperm(len(images), generator=chance)[:n]
        batch = augmentation(images[rows], chance)
        with mixed_precision(device):
            logits = network(batch)
        loss = F.cross_entropy(logits.float(), labels[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval()


@torch.inference_mode()
def answers(network: ConvNet3, images: Tensor, device: torch.device) -> Tensor:
    """Logits (n, classes) on the CPU. Not logits_of: its layout, channels last, is slow for group norms."""
    batches = images.contiguous().split(TEST_BATCH)
    return torch.cat([network(batch.to(device)).float().cpu() for batch in batches])


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sets", type=Path, nargs="+", required=True, help="folders of condense, named by seed"
    )
    parser.add_argument("--test", type=Path, required=True, help="prepared test split")
    parser.add_argument("--config", default="{}", help="JudgedSetConfig as JSON")
    parser.add_argument("--device", choices=CHOICES, default="auto")
    parser.add_argument("--table", required=True, help="CSV to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
