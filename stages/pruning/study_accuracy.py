"""Accuracy over sparsity of one network for one user, pruned in every way that is compared.

python -m stages.pruning.study_accuracy --model results/laptop/models/resnet18-w8-fashion-mnist-s0
    --train data/prepared/fashion-mnist/train --test data/prepared/fashion-mnist/test --config '{"classes": [3]}' --seed 0
    --table accuracy.csv --layers layers.csv

A row for each number of classes, arm and sparsity: the share of zeros reached, of multiplications left, and the accuracy
on the test images of the user's classes, with all classes to choose from and with the user's alone. Nothing is chosen by
test images. The dense network is tuned as long as the others, at a rate of its own; `as it came` is not tuned at all.
The table of layers says what each would keep of half of all blocks, with block scores summed as released and with their
means.
"""

import argparse
import copy
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from stages.lib.core.artifacts import atomic_path
from stages.lib.core.commands import from_json
from stages.lib.core.errors import run
from stages.lib.core.prepared import read_images
from stages.lib.core.progress import Progress
from stages.lib.nets.model_folder import read_model
from stages.lib.training.device import CHOICES, choose_device
from stages.lib.training.evaluate import accuracy, logits_of, restricted
from stages.pruning.config import StudyConfig
from stages.pruning.masks import block_scores, kept_blocks
from stages.pruning.network import layers_of, multiplications, to_matrix
from stages.pruning.pruning import Tuning, mean_gradients, prune
from stages.pruning.recipes import recipe_of
from stages.pruning.saliency import scores_of
from stages.pruning.users import User, draw_user


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = from_json(StudyConfig, args.config, where="--config")
    device = choose_device(args.device)
    model, info = read_model(args.model)
    train, test = read_images(args.train), read_images(args.test)
    tuning = Tuning.of(config, seed=args.seed)
    cases = [(arm, sparsity) for arm in config.arms for sparsity in config.sparsities]
    cases += [(arm, sparsity) for arm in config.ablations for sparsity in config.ablation_sparsities]
    progress = Progress(len(config.classes) * (len(cases) + 1) * tuning.epochs, "epochs")
    rows, kept = [], []
    for classes in config.classes:
        user = draw_user(
            train, test, classes=classes, images_per_class=config.images_per_class, seed=args.seed,
            mean=info.mean, std=info.std,
        )  # fmt: skip
        kept += [
            {"seed": args.seed, "classes": classes, **row}
            for row in normalised(model, user, config, tuning, device)
        ]
        dense_work = multiplications(model, user.images[:1])
        about = {
            "model": Path(args.model).name,
            "classes": classes,
            "block": config.block,
            "seed": args.seed,
            "n": len(user.test_labels),
        }
        rows.append(
            about
            | {"arm": "as it came", "goal": 0.0, "sparsity": 0.0, "work": 1.0}
            | scores(model, user, device)
        )
        for arm, goal in [("dense", 0.0), *cases]:
            pruned = prune(
                copy.deepcopy(model),
                user.images,
                user.labels,
                None if arm == "dense" else recipe_of(arm, goal, config),
                goal,
                replace(tuning, learning_rate=config.dense_learning_rate) if arm == "dense" else tuning,
                device=device,
                others=user.others,
                advance=lambda arm=arm, goal=goal: progress.advance(note=f"{arm} {goal:.0%}"),
            )
            work = multiplications(pruned.model, user.images[:1]) / dense_work
            rows.append(
                about
                | {"arm": arm, "goal": goal, "sparsity": pruned.sparsity, "work": work}
                | scores(pruned.model, user, device)
            )
    with atomic_path(args.table) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)
    with atomic_path(args.layers) as temporary:
        pd.DataFrame(kept).to_csv(temporary, index=False)


def normalised(
    model: nn.Module, user: User, config: StudyConfig, tuning: Tuning, device: torch.device
) -> list[dict[str, object]]:
    """Layer, its block-rows, and the share of blocks that it keeps of half of all, by both ways to compare layers."""
    layers = layers_of(model)
    gradients = mean_gradients(copy.deepcopy(model), user.images, user.labels, tuning, device)
    scores = scores_of(layers, gradients, "taylor", torch.Generator())
    sums = {
        name: block_scores(to_matrix(scores[name], config.m, "channels"), config.block)
        for name in layers.in_blocks
    }
    kept = {way: kept_blocks(sums, 0.5, normalisation=way) for way in ("sum", "mean")}
    return [
        {
            "layer": name,
            "block_rows": own.shape[0],
            "kept_sum": kept["sum"][name] / own.shape[1],
            "kept_mean": kept["mean"][name] / own.shape[1],
        }
        for name, own in sums.items()
    ]


def scores(model: nn.Module, user: User, device: torch.device) -> dict[str, float]:
    """Top-1 among all classes, and among the user's."""
    logits = logits_of(model, user.test_images, device=device, bf16=True)
    return {
        "accuracy": accuracy(logits, user.test_labels),
        "restricted_accuracy": accuracy(restricted(logits, user.classes), user.test_labels),
    }


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="model folder")
    parser.add_argument("--train", required=True, help="prepared split to tune on")
    parser.add_argument("--test", required=True, help="prepared split to test on")
    parser.add_argument("--config", default="{}", help="StudyConfig as JSON")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=CHOICES, default="auto")
    parser.add_argument("--table", required=True, help="CSV to write")
    parser.add_argument("--layers", required=True, help="CSV to write, a row a layer")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
