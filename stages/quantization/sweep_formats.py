"""Top-1 of a trained network after post-training quantisation to each format (Shedding the Bits, section 2.5).

python -m stages.quantization.sweep_formats --model results/laptop/models/resnet20-cifar10
    --train data/prepared/cifar10/train --test data/prepared/cifar10/test --config '{"test_images": 500}'
    --table sweep.csv [--device auto|cpu|cuda]

Calibration images come from the training split, one random draw a seed; the test split only decides top-1.
"""

import argparse
from dataclasses import asdict

import numpy as np
import pandas as pd
import torch

from stages.lib.core.artifacts import atomic_path
from stages.lib.core.commands import from_json
from stages.lib.core.errors import run
from stages.lib.core.prepared import read_images
from stages.lib.core.progress import Progress
from stages.lib.core.seeds import generator
from stages.lib.nets.model_folder import ModelInfo, read_model
from stages.lib.training.device import CHOICES, choose_device
from stages.lib.training.images import normalise
from stages.quantization.config import SweepConfig
from stages.quantization.ptq import calibrate, prepare
from stages.quantization.sweep import calibration_indices, sweep_formats, sweep_length


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = from_json(SweepConfig, args.config, where="--config")
    device = choose_device(args.device)
    model, info = read_model(args.model)
    train, test = read_images(args.train), read_images(args.test)
    prepared = prepare(model).to(device, memory_format=torch.channels_last)
    progress = Progress(sweep_length(config) + len(config.calibration_seeds), "quantised")
    ranges = {}
    for seed in config.calibration_seeds:
        rng = generator(seed, "calibration")
        chosen = calibration_indices(len(train.images), config.calibration_images, rng)
        images = network_input(train.images[chosen], info).to(device)
        ranges[seed] = calibrate(prepared, images, percentile=config.percentile, batch=config.batch)
        progress.advance(note="calibrated")
    test = test.first(config.test_images or len(test.images))
    rows = sweep_formats(
        prepared,
        network_input(test.images, info).to(device),
        torch.from_numpy(np.ascontiguousarray(test.labels)).to(device),
        ranges,
        config,
        advance=lambda note: progress.advance(note=note),
    )
    table = pd.DataFrame([asdict(row) for row in rows])
    origin = {
        "model": model_name(args.model),
        "dataset": test.info.dataset,
        "granularity": config.granularity,
        "calibration_images": min(config.calibration_images, len(train.images)),
        "percentile": config.percentile,
        "weights_digest": info.weights_digest,
        "train_digest": train.info.digest,
        "test_digest": test.info.digest,
        "device": device.type,
    }
    for column, value in reversed(origin.items()):
        table.insert(0, column, value)
    with atomic_path(args.table) as temporary:
        table.to_csv(temporary, index=False)


def network_input(images: np.ndarray, info: ModelInfo) -> torch.Tensor:
    """The images as the model wants them, in the layout in which it runs fastest."""
    return normalise(images, info.mean, info.std).contiguous(memory_format=torch.channels_last)


def model_name(folder: str) -> str:
    return folder.rstrip("/").rpartition("/")[2]


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="model folder")
    parser.add_argument("--train", required=True, help="prepared training split, for calibration")
    parser.add_argument("--test", required=True, help="prepared test split")
    parser.add_argument("--config", default="{}", help="SweepConfig as JSON")
    parser.add_argument("--device", choices=CHOICES, default="auto")
    parser.add_argument(
        "--table", required=True, help="CSV to write, one row a format, sign convention and seed"
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
