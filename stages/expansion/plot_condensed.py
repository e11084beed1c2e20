"""Figure: condensed images, and images that were inverted with and without them, one of each class.

python -m stages.expansion.plot_condensed --sets condensed/dm/1/0 runs/small/naive/0/pool --names dm naive
    --figure images.svg --drawn images.csv
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")  # no display on the machines that run this

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from stages.lib.core.artifacts import atomic_path
from stages.lib.core.errors import run
from stages.lib.core.plots import STYLE, save_figure
from stages.lib.core.prepared import ImageSplit, read_images

SHOWN = 20  # images a row


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    splits = [(name, read_images(path)) for name, path in zip(args.names, args.sets, strict=True)]
    shown = [
        (name, split, chosen(split)) for name, split in splits if split.info.redistribute and split.info.n
    ]
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(
            max(1, len(shown)), 1, figsize=(9, 0.6 * len(shown) + 0.5), squeeze=False, layout="constrained"
        )
        for ax, (name, split, rows) in zip(axes[:, 0], shown, strict=False):
            ax.imshow(
                np.concatenate(list(split.images[rows]), axis=1).squeeze(), cmap="gray", vmin=0, vmax=255
            )
            ax.set_xticks([])
            ax.set_yticks([])
            ax.grid(False)
            ax.set_ylabel(name, fontsize=7, rotation=0, ha="right", va="center")
        if shown:
            _, split, rows = shown[-1]
            places = [split.info.width * (i + 0.5) for i in range(len(rows))]
            names = [split.info.classes[label] for label in split.labels[rows]]
            axes[-1, 0].set_xticks(places, names, fontsize=6, rotation=60, ha="right")
        save_figure(figure, args.figure)
        plt.close(figure)
    table = pd.DataFrame(
        [{"row": name, "images": split.info.n, "digest": split.info.digest} for name, split in splits]
    )
    with atomic_path(args.drawn) as temporary:
        table.to_csv(temporary, index=False)


def chosen(split: ImageSplit) -> np.ndarray:
    """Rows of the last images of each class, as many of each, classes in order: a pool's last were made last."""
    classes = len(split.info.classes)
    each = max(1, SHOWN // classes)
    rows = [np.flatnonzero(split.labels == label)[-each:] for label in range(min(classes, SHOWN))]
    return np.concatenate(rows)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", type=Path, required=True, help="folders of condense, and pools")
    parser.add_argument("--names", nargs="+", required=True, help="what each is called")
    parser.add_argument("--figure", required=True, help="SVG to write")
    parser.add_argument("--drawn", required=True, help="CSV to write: sizes and digests")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
