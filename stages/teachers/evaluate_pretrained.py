"""Accuracy of a pretrained network on the whole test split, beside the one that its authors recorded.

python -m stages.teachers.evaluate_pretrained --model results/laptop/models/resnet20-cifar10
    --test data/prepared/cifar10/test --metrics metrics.json
"""

import argparse
from pathlib import Path

import torch

from stages.lib.core.artifacts import write_json
from stages.lib.core.errors import InputError, run
from stages.lib.core.measurements import device_record
from stages.lib.core.prepared import read_images
from stages.lib.nets.model_folder import read_model
from stages.lib.training.device import CHOICES, choose_device
from stages.teachers.teacher import test_accuracy


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    device = choose_device(args.device)
    model, info = read_model(args.model)
    test = read_images(args.test)
    if info.dataset != test.info.dataset:
        raise InputError(f"{args.model} was trained on {info.dataset}, {args.test} holds {test.info.dataset}")
    top1 = test_accuracy(model, info, test, device=device)
    write_json(
        args.metrics,
        {
            "test_top1": top1,
            "recorded_top1": info.recipe.get("recorded_top1"),
            "caveat": info.recipe.get("caveat", ""),
            "n": test.info.n,
            "dataset_digest": {f"{test.info.dataset}/test": test.info.digest},
            "parameters": sum(p.numel() for p in model.parameters()),
            "device": device_record(
                threads=torch.get_num_threads(), device=device.type, versions={"torch": torch.__version__}
            ),
        },
    )
    print(f"test accuracy {top1:.4f} on {test.info.n} images, recorded {info.recipe.get('recorded_top1')}")
    if info.recipe.get("caveat"):
        print(info.recipe["caveat"])


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="evaluate_pretrained", description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="model folder")
    parser.add_argument("--test", type=Path, required=True, help="prepared test split")
    parser.add_argument("--device", choices=CHOICES, default="auto")
    parser.add_argument("--metrics", type=Path, required=True)
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
