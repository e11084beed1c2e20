"""Top-1 of a trained network after post-training quantisation (Shedding the Bits, sections 2.3 and 2.5).

python -m stages.quantization.sweep_formats --model results/laptop/models/resnet20-cifar10
    --train data/prepared/cifar10/train --test data/prepared/cifar10/test --config '{"test_images": 500}'
    --techniques '{"percentile": {}, "gptq": {"rounding": "gptq"}}' --table sweep.csv --outcomes sweep.npz

Calibration images come from the training split, one random draw a seed; the test split only decides top-1. `outcomes`
holds two arrays (rows, test images) of bool: `right` and `agrees` (with the float network).
"""

import argparse
import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import torch

from stages.lib.core.artifacts import atomic_path
from stages.lib.core.commands import from_json, json_object
from stages.lib.core.errors import InputError, run
from stages.lib.core.prepared import ImageSplit, read_images
from stages.lib.core.progress import Progress
from stages.lib.core.seeds import generator
from stages.lib.nets.model_folder import ModelInfo, read_model
from stages.lib.training.device import CHOICES, choose_device
from stages.lib.training.images import normalise
from stages.quantization.config import MixedConfig, SweepConfig, Technique
from stages.quantization.network import prepare
from stages.quantization.sweep import SweepImages, draw_images, selection_size, sweep_formats, sweep_points


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = from_json(SweepConfig, args.config, where="--config")
    techniques = parse_techniques(args.techniques, config)
    device = choose_device(args.device)
    model, info = read_model(args.model)
    train, test = read_images(args.train), read_images(args.test)
    prepared = prepare(model).to(device, memory_format=torch.channels_last)
    test = test.first(config.test_images or len(test.images))
    images = sweep_images(train, test, info, config, device=device)
    progress = Progress(len(sweep_points(config)), "quantised")
    result = sweep_formats(
        prepared, images, config, techniques, advance=lambda note: progress.advance(note=note)
    )
    table = pd.DataFrame([asdict(row) for row in result.rows])
    origin = {
        "model": model_name(args.model),
        "net": info.net,
        "dataset": test.info.dataset,
        "calibration_images": len(next(iter(images.calibration.values()))),
        "percentile": config.percentile,
        "weights_digest": info.weights_digest,
        "train_digest": train.info.digest,
        "test_digest": test.info.digest,
        "device": device.type,
    }
    for column, value in reversed(origin.items()):
        table.insert(0, column, value)
    with atomic_path(args.outcomes) as temporary:
        np.savez_compressed(
            temporary,
            right=result.classes == test.labels.astype(np.uint16),
            agrees=result.classes == result.classes[0],
        )
    with atomic_path(args.table) as temporary:
        table.to_csv(temporary, index=False)


def parse_techniques(text: str, config: SweepConfig) -> dict[str, Technique]:
    """The techniques of --techniques by name. Raises InputError where the sweep names another."""
    techniques = {
        name: from_json(Technique, json.dumps(entry), where=f"--techniques: {name}")
        for name, entry in json_object(text, "--techniques").items()
    }
    if unknown := [name for name in config.techniques if name not in techniques]:
        raise InputError(f"--techniques lacks {unknown[0]!r}, which --config names in techniques; add it")
    return techniques


def sweep_images(
    train: ImageSplit,
    test: ImageSplit,
    info: ModelInfo,
    config: SweepConfig | MixedConfig,
    *,
    device: torch.device,
) -> SweepImages:
    """The images of a sweep as the model wants them."""
    n = len(train.images)

    def drawn(seed: int) -> torch.Tensor:
        rng = generator(seed, "calibration")
        chosen = draw_images(
            n, selection=config.selection_images, calibration=config.calibration_images, rng=rng
        )
        return network_input(train.images[chosen], info).to(device)

    return SweepImages(
        calibration={seed: drawn(seed) for seed in config.calibration_seeds},
        selection=network_input(train.images[: selection_size(n, config.selection_images)], info).to(device),
        test=network_input(test.images, info).to(device),
        labels=torch.from_numpy(np.ascontiguousarray(test.labels)).to(device),
    )


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
    parser.add_argument("--techniques", default='{"percentile": {}}', help="name -> Technique, as JSON")
    parser.add_argument("--device", choices=CHOICES, default="auto")
    parser.add_argument("--table", required=True, help="CSV to write, one row a point of the sweep")
    parser.add_argument("--outcomes", required=True, help="NPZ to write: what became of each test image")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
