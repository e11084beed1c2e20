"""Train one teacher.

python -m stages.teachers.train_teacher --train data/prepared/digits/train --test data/prepared/digits/test
    --recipe '{"dataset": "digits", "net": "lenet.LeNet5"}' --seed 0 --state scratch/digits
    --weights OUT/weights.safetensors --model OUT/model.json --curve OUT/curve.csv --metrics OUT/metrics.json
"""

import argparse
import dataclasses
import shutil
import time
from pathlib import Path

import pandas as pd
import torch

from stages.lib.core.artifacts import atomic_path, value_digest, write_json
from stages.lib.core.commands import from_json
from stages.lib.core.errors import run
from stages.lib.core.measurements import device_record
from stages.lib.core.prepared import read_images
from stages.lib.nets.model_folder import folder_of, write_model
from stages.lib.training.device import CHOICES, choose_device
from stages.teachers.config import TeacherRecipe
from stages.teachers.teacher import test_accuracy, train_classifier


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    folder = folder_of(weights=args.weights, model=args.model)
    recipe = from_json(TeacherRecipe, args.recipe, where="--recipe")
    device = choose_device(args.device)
    train, test = read_images(args.train), read_images(args.test)
    # another recipe, seed or set must not go on from this one's checkpoint
    state = (
        args.state
        / value_digest([dataclasses.asdict(recipe), args.seed, train.info.digest, device.type])[:16]
    )
    start_s = time.process_time()
    model, info, curve = train_classifier(train, recipe, seed=args.seed, device=device, state=state)
    cpu_s = time.process_time() - start_s
    top1 = test_accuracy(model, info, test, device=device)
    write_model(folder, model, info)
    with atomic_path(args.curve) as temporary:
        pd.DataFrame([dataclasses.asdict(row) for row in curve]).to_csv(temporary, index=False)
    write_json(
        args.metrics,
        {
            "test_top1": top1,
            "n": test.info.n,
            "dataset_digest": {f"{test.info.dataset}/test": test.info.digest},
            "parameters": sum(p.numel() for p in model.parameters()),
            "epochs": recipe.epochs,
            "cpu_s": cpu_s,
            "device": device_record(
                threads=torch.get_num_threads(), device=device.type, versions={"torch": torch.__version__}
            ),
        },
    )
    shutil.rmtree(state, ignore_errors=True)
    print(f"test accuracy {top1:.4f} on {test.info.n} images, {cpu_s:.0f} CPU-s")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="train_teacher", description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=Path, required=True, help="prepared training split")
    parser.add_argument("--test", type=Path, required=True, help="prepared test split; read once, at the end")
    parser.add_argument("--recipe", required=True, help="JSON with the keys of TeacherRecipe")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument(
        "--state", type=Path, required=True, help="folder for checkpoints, removed at the end"
    )
    parser.add_argument("--device", choices=CHOICES, default="auto")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--curve", type=Path, required=True)
    parser.add_argument("--metrics", type=Path, required=True)
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
