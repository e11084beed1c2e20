"""Prune a trained network for the classes that each of some users wants; one model folder a user (CRISP, notes 2.4).

python -m stages.pruning.prune_for_classes --model results/laptop/models/resnet18-w8-fashion-mnist-s0
    --train data/prepared/fashion-mnist/train --arm hybrid --sparsity 0.9 --users '{"shoes": ["Sandal", "Sneaker"]}'
    --folder OUT

OUT/USER holds weights.safetensors with zeros for what was pruned, masks.safetensors (name of a weight -> boolean mask)
and model.json, whose recipe names the user's classes and, for n:m and blocks, the pattern. The network keeps all its
outputs.
"""

import argparse
import copy
from dataclasses import asdict, replace
from pathlib import Path

from safetensors.torch import save_file

from stages.lib.core.artifacts import atomic_path
from stages.lib.core.commands import from_json
from stages.lib.core.errors import InputError, run
from stages.lib.core.prepared import read_images
from stages.lib.core.progress import Progress
from stages.lib.core.users import read_users
from stages.lib.nets.model_folder import read_model, write_model
from stages.lib.training.device import CHOICES, choose_device
from stages.pruning.config import StudyConfig
from stages.pruning.pruning import Tuning, prune
from stages.pruning.recipes import recipe_of
from stages.pruning.users import images_of


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = from_json(StudyConfig, args.config, where="--config")
    device = choose_device(args.device)
    model, info = read_model(args.model)
    train = read_images(args.train)
    recipe = recipe_of(args.arm, args.sparsity, config)
    if recipe.kind == "channel":
        raise InputError("--arm channel leaves a network of another shape, which no model folder holds")
    users = read_users(args.users, info.classes)
    tuning = Tuning.of(config, seed=args.seed)
    progress = Progress(len(users) * tuning.epochs, "epochs")
    for user, classes in users.items():
        images, labels = images_of(
            train, classes, config.images_per_class, seed=args.seed, mean=info.mean, std=info.std
        )
        pruned = prune(
            copy.deepcopy(model), images, labels, recipe, args.sparsity, tuning, device=device,
            advance=lambda user=user: progress.advance(note=user),
        )  # fmt: skip
        settings = asdict(replace(config, models=(), arms=(), ablations=(), sparsities=(), seeds=()))
        about = {
            **settings,
            "arm": args.arm,
            "goal": args.sparsity,
            "sparsity": pruned.sparsity,
            "seed": args.seed,
            "classes": [info.classes[c] for c in classes],
            "pattern": asdict(recipe.pattern) if recipe.kind == "pattern" and recipe.blocks else None,
        }
        folder = args.folder / user
        with atomic_path(folder / "masks.safetensors") as temporary:
            save_file({f"{n}.weight": mask.cpu() for n, mask in pruned.masks.weights.items()}, temporary)
        write_model(folder, pruned.model, replace(info, parent_digest=info.weights_digest, recipe=about))
        print(f"{user}: {pruned.sparsity:.1%} of the weights gone")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="model folder")
    parser.add_argument("--train", required=True, help="prepared split to tune on")
    parser.add_argument(
        "--config", default="{}", help="StudyConfig as JSON; models, arms and seeds are not used"
    )
    parser.add_argument("--arm", default="hybrid", help="see stages/pruning/recipes.py")
    parser.add_argument("--sparsity", type=float, required=True, help="share of zeros, 0..1")
    parser.add_argument("--users", required=True, help="JSON: user -> names of classes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=CHOICES, default="auto")
    parser.add_argument("--folder", type=Path, required=True, help="folder to write model folders to")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
