"""Formats for each layer under a budget of look-up tables or bits, against uniform formats of the same cost.

python -m stages.quantization.search_formats --model results/laptop/models/resnet20-cifar10
    --train data/prepared/cifar10/train --test data/prepared/cifar10/test --costs mac_costs.parquet
    --config '{"budgets": ["INT4"]}' --technique '{}' --table search.csv --outcomes search.npz --formats formats.json

Sensitivities and the choice rest on images of the training split; the test split only decides the table's top-1. The
table has a row for each calibration seed, cost and budget, and one for each uniform candidate; `formats` holds the
chosen pairs by layer, in the form that quantise_model takes as layer_formats; `outcomes` the array `right` (rows, test
images) of bool.
"""

import argparse

import numpy as np
import pandas as pd
import torch

from stages.lib.core.artifacts import atomic_path, write_json
from stages.lib.core.commands import from_json
from stages.lib.core.errors import run
from stages.lib.core.prepared import read_images
from stages.lib.core.progress import Progress
from stages.lib.costs.mac_costs import read_mac_costs
from stages.lib.nets.model_folder import read_model
from stages.lib.training.device import CHOICES, choose_device
from stages.quantization.config import MixedConfig, Technique
from stages.quantization.mixed import Trial, search
from stages.quantization.network import prepare
from stages.quantization.pareto import pair_costs
from stages.quantization.ptq import calibrated
from stages.quantization.sweep_formats import model_name, sweep_images

LUT_COST = "exact accumulator"


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = from_json(MixedConfig, args.config, where="--config")
    technique = from_json(Technique, args.technique, where="--technique")
    device = choose_device(args.device)
    model, info = read_model(args.model)
    train, test = read_images(args.train), read_images(args.test)
    test = test.first(config.test_images or len(test.images))
    images = sweep_images(train, test, info, config, device=device)
    luts = lut_by_pair(args.costs)
    searches = len(config.costs) * len(config.budgets)
    progress = Progress((2 * len(config.candidates) + searches) * len(config.calibration_seeds), "searched")
    trials: list[tuple[int, Trial]] = []
    for seed, drawn in images.calibration.items():
        network = prepare(model).to(device, memory_format=torch.channels_last)
        found = calibrated(
            network,
            drawn,
            technique,
            percentile=config.percentile,
            reconstruction_images=config.reconstruction_images,
            batch=config.batch,
        )
        searched = search(
            found, images.selection, images.test, config, technique, luts,
            advance=lambda note: progress.advance(note=note),
        )  # fmt: skip
        trials += [(seed, trial) for trial in searched]
    right = np.array([trial.classes == test.labels for _, trial in trials])
    table = pd.DataFrame(
        {
            "model": model_name(args.model),
            "dataset": test.info.dataset,
            "seed": [seed for seed, _ in trials],
            **{key: [getattr(t, key) for _, t in trials] for key in ("kind", "cost", "budget")},
            **{f"{cost}_spent": [t.spent[cost] for _, t in trials] for cost in trials[0][1].spent},
            **{key: [getattr(t, key) for _, t in trials] for key in ("predicted_loss", "selection_loss")},
            "top1": right.mean(1),
            "n": len(test.labels),
            "train_digest": train.info.digest,
            "test_digest": test.info.digest,
            "device": device.type,
        }
    )
    mixed = [(seed, trial) for seed, trial in trials if trial.kind == "mixed"]
    write_json(args.formats, {f"seed {seed}, {t.cost} of {t.budget}": t.pairs for seed, t in mixed})
    with atomic_path(args.outcomes) as temporary:
        np.savez_compressed(temporary, right=right)
    with atomic_path(args.table) as temporary:
        table.to_csv(temporary, index=False)


def lut_by_pair(path: str) -> dict[str, float]:
    """Look-up tables of the cheapest operator by name of the pair ("INT4", "INT4xE2M1")."""
    table = pair_costs(read_mac_costs(path))
    names = [
        w if w == a else f"{w}x{a}"
        for w, a in zip(table["weight_format"], table["activation_format"], strict=True)
    ]
    return dict(zip(names, table[LUT_COST], strict=True))


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="model folder")
    parser.add_argument("--train", required=True, help="prepared training split")
    parser.add_argument("--test", required=True, help="prepared test split")
    parser.add_argument("--costs", required=True, help="mac_costs.parquet of synthesise_macs")
    parser.add_argument("--config", default="{}", help="MixedConfig as JSON")
    parser.add_argument("--technique", default="{}", help="Technique as JSON")
    parser.add_argument("--device", choices=CHOICES, default="auto")
    parser.add_argument("--table", required=True, help="CSV to write")
    parser.add_argument("--outcomes", required=True, help="NPZ to write")
    parser.add_argument("--formats", required=True, help="JSON to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
