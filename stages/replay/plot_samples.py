"""Figure: images that generators made, and what a VAE makes of them, each with the teacher's class.

python -m stages.replay.plot_samples --samples mnist/pre/0/samples.npz fashion/pre/0/samples.npz --names mnist fashion
    --figure samples.svg --drawn samples.csv
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")  # no display on the machines that run this

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from stages.lib.core.artifacts import atomic_path, read_arrays
from stages.lib.core.errors import run
from stages.lib.core.plots import STYLE, save_figure

SHOWN = 20  # images a row
ROWS = {"new": "generator", "rehearsed": "rehearsed"}


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    rows: list[tuple[str, np.ndarray, np.ndarray]] = []
    for name, path in zip(args.names, args.samples, strict=True):
        arrays = read_arrays(path)
        rows += [
            (f"{name}, {label}", arrays[kind][:SHOWN], arrays[f"{kind} classes"][:SHOWN])
            for kind, label in ROWS.items()
            if kind in arrays
        ]
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(
            len(rows), 1, figsize=(9, 0.75 * len(rows) + 0.3), squeeze=False, layout="constrained"
        )
        for ax, (label, images, classes) in zip(axes[:, 0], rows, strict=True):
            side = images.shape[2]
            ax.imshow(np.concatenate(list(images), axis=1).squeeze(), cmap="gray", vmin=0, vmax=255)
            ax.set_xticks(
                [side * (i + 0.5) for i in range(len(images))], [str(c) for c in classes], fontsize=7
            )
            ax.set_yticks([])
            ax.tick_params(length=0)
            ax.grid(False)
            ax.set_ylabel(label.replace(", ", "\n"), fontsize=7, rotation=0, ha="right", va="center")
        save_figure(figure, args.figure)
        plt.close(figure)
    table = pd.DataFrame(
        [{"row": label, "place": i, "teacher's class": c} for label, _, cs in rows for i, c in enumerate(cs)]
    )
    with atomic_path(args.drawn) as temporary:
        table.to_csv(temporary, index=False)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--samples", nargs="+", type=Path, required=True, help="samples.npz of distil_student"
    )
    parser.add_argument("--names", nargs="+", required=True, help="what each is called")
    parser.add_argument("--figure", required=True, help="SVG to write")
    parser.add_argument("--drawn", required=True, help="CSV to write: the teacher's classes")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
