"""Signal-to-quantisation-noise ratio of every minifloat on distributions and on the weights of trained networks.

python -m stages.quantization.tabulate_sqnr --models results/laptop/models/resnet20-cifar10 --table sqnr.csv

Rows of networks: one a weight tensor (batch norms folded), format and way to scale it. per_channel: the channels'
scales are proportional to their root mean squares, and what is quantised is the pool of the channels, each divided by
its own. E1My stands for the integer of its width, whose values it has.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.lib.core.artifacts import atomic_path
from stages.lib.core.errors import run
from stages.lib.core.progress import Progress
from stages.lib.nets.model_folder import read_model
from stages.lib.numerics.formats import minifloats
from stages.quantization.network import layers, prepare
from stages.quantization.sqnr import Source, abs_max_sqnr_db, distributions, sqnr_db, values

BITS = range(3, 9)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    rows = [
        {"kind": "distribution", "source": name, **row}
        for name, source in distributions().items()
        for row in format_rows(source, "least_error")
    ]
    for folder in args.models:
        rows += network_rows(folder)
    with atomic_path(args.table) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)


def network_rows(folder: str) -> list[dict[str, Any]]:
    """The rows of all weight tensors of a model folder."""
    model, info = read_model(folder)
    found = layers(prepare(model))
    progress = Progress(len(found), "weight tensors")
    rows: list[dict[str, Any]] = []
    for name, layer in found.items():
        progress.advance(note=f"{Path(folder).name} {name}")
        weight = layer.float_weight.flatten(1).numpy()
        if not weight.any():
            continue  # a layer pruned to zeros has no signal
        about = {"kind": "weights", "source": Path(folder).name, "tensor": name, "n": weight.size}
        about["dataset"], about["dataset_digest"] = info.dataset, info.dataset_digest
        rms = np.sqrt(np.square(weight).mean(axis=1, keepdims=True))
        per_channel = weight / np.where(rms > 0, rms, 1)
        for granularity, scaling, w in (
            ("per_tensor", "least_error", weight),
            ("per_channel", "least_error", per_channel),
            ("per_tensor", "abs_max", weight),
        ):
            about |= {"granularity": granularity, "scaling": scaling}
            rows += [about | row for row in format_rows(values(w), scaling)]
    return rows


def format_rows(source: Source, scaling: str) -> Iterator[dict[str, Any]]:
    """kurtosis, format, bits, exponent_bits, sqnr_db of every minifloat of 3 to 8 bits."""
    measure = sqnr_db if scaling == "least_error" else abs_max_sqnr_db
    for bits in BITS:
        for format in minifloats(bits):
            yield {
                "scaling": scaling,
                "kurtosis": source.kurtosis,
                "format": format.name,
                "bits": bits,
                "exponent_bits": format.exponent_bits,
                "sqnr_db": measure(source, format),
            }


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="*", default=[], help="model folders")
    parser.add_argument("--table", required=True, help="CSV to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
