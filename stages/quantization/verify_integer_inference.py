"""Claim M16: a network on codes, with integer sums, gives the fake-quantised network's logits.

python -m stages.quantization.verify_integer_inference --model results/laptop/models/airbench-fashion-mnist-s0
    --train data/prepared/fashion-mnist/train --test data/prepared/fashion-mnist/test
    --config '{"pairs": ["INT8", "INT4xE3M2"], "test_images": 200}' --table widths.csv --measurements verify.json

Each pair of formats stands in all layers. Calibration images come from the training split; the test split is only
run. Integer sums are formed on the CPU, in one thread.
"""

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import torch

from stages.lib.core.artifacts import atomic_path
from stages.lib.core.commands import from_json
from stages.lib.core.errors import run
from stages.lib.core.measurements import Measurement, device_record, write_measurements
from stages.lib.core.prepared import read_images
from stages.lib.core.progress import Progress
from stages.lib.core.seeds import generator
from stages.lib.nets.model_folder import read_model
from stages.lib.training.device import choose_device
from stages.lib.training.images import normalise
from stages.quantization.calibration import calibrate
from stages.quantization.config import IntegerInferenceConfig
from stages.quantization.integer_checks import NetworkRun, PairCheck, check_pair, controls, runs_of_pair
from stages.quantization.network import prepare
from stages.quantization.sweep import draw_images


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = from_json(IntegerInferenceConfig, args.config, where="--config")
    choose_device(args.device)
    model, info = read_model(args.model)
    train, test = read_images(args.train), read_images(args.test)
    test = test.first(config.test_images or len(test.images))
    rng = generator(config.seed, "calibration")
    drawn = draw_images(len(train.images), selection=0, calibration=config.calibration_images, rng=rng)
    prepared = prepare(model)
    statistics = calibrate(
        prepared,
        normalise(train.images[drawn], info.mean, info.std),
        percentile=config.percentile,
        batch=config.batch,
    )
    images = normalise(test.images, info.mean, info.std)
    labels = torch.from_numpy(np.ascontiguousarray(test.labels))
    progress = Progress(runs_of_pair(config) * len(config.pairs), "run on codes")
    checks = {
        pair: check_pair(
            prepared,
            pair,
            statistics,
            images,
            labels,
            config,
            advance=lambda note: progress.advance(note=note),
        )
        for pair in config.pairs
    }
    table = pd.DataFrame([row for check in checks.values() for row in table_rows(check)])
    table.insert(0, "model", args.model.rstrip("/").rpartition("/")[2])
    table.insert(1, "images", len(images))
    measurement = Measurement(
        claim="M16",
        value=float(sum(check.wide.differing_logits for check in checks.values())),
        unit="1",
        n=sum(check.wide.logits for check in checks.values()),
        controls=controls(checks, config),
        dataset_digest={f"{s.info.dataset}/{s.info.split}": s.info.digest for s in (train, test)},
    )
    with atomic_path(args.table) as temporary:
        # whole numbers stay whole beside empty cells
        table.convert_dtypes().to_csv(temporary, index=False)
    device = device_record(threads=1, versions={"torch": torch.__version__, "numpy": np.__version__})
    write_measurements(args.measurements, [measurement], device=device)


def table_rows(check: PairCheck) -> Iterator[dict[str, Any]]:
    """A row for each accumulator and layer, after one of the whole network (layer "") with its logits and top-1."""
    for tried in (check.wide, *check.narrower):
        yield _network_row(tried, check)
        for report in tried.widths:
            histogram = " ".join(f"{bits}:{count}" for bits, count in report.histogram.items())
            yield {"pair": tried.pair, "overflow": tried.overflow} | asdict(report) | {"histogram": histogram}


def _network_row(tried: NetworkRun, check: PairCheck) -> dict[str, Any]:
    row: dict[str, Any] = {"pair": tried.pair, "overflow": tried.overflow, "layer": ""}
    row |= {"accumulator_bits": tried.accumulator_bits}
    for key in ("length", "needed_bits", "first_overflow_bits", "exact_bits"):
        row[key] = max(getattr(report, key) for report in tried.widths)
    for key in ("dot_products", "overflows"):
        row[key] = sum(getattr(report, key) for report in tried.widths)
    return row | {
        "logits": tried.logits,
        "differing_logits": tried.differing_logits,
        "classes_unlike_float32": tried.differing_classes,
        "top1": tried.top1,
        "fake_top1": check.fake_top1,
    }


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="model folder")
    parser.add_argument("--train", required=True, help="prepared training split, for calibration")
    parser.add_argument("--test", required=True, help="prepared test split")
    parser.add_argument("--config", default="{}", help="IntegerInferenceConfig as JSON")
    parser.add_argument("--table", required=True, help="CSV to write: accumulator widths by layer")
    parser.add_argument("--measurements", required=True, help="JSON to write")
    parser.add_argument(
        "--device", choices=("auto", "cpu"), default="cpu", help="integer sums run on the CPU"
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
