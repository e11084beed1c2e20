"""Figure and table: the shape of drawn templates against the real training trajectories of EgoGestAR.

python -m stages.hands.compare_templates --trajectories data/prepared/egogestar/train/trajectories.parquet
    --figure templates.svg --drawn templates.csv

Per gesture: mean and standard deviation of four numbers of a trajectory, real and drawn, and the Kolmogorov-Smirnov
distance of their distributions (0: the same, 1: nothing in common). No trajectory itself is stored or shown.
"""

import argparse

import matplotlib as mpl

mpl.use("Agg")  # no display on the machines that run this

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import ks_2samp

from stages.hands.arm import Array
from stages.hands.classify_trajectories import read_trajectories
from stages.hands.gestures import GESTURES, draw_gesture
from stages.hands.trajectories import longest_run, resampled
from stages.lib.core.artifacts import atomic_path
from stages.lib.core.errors import run
from stages.lib.core.plots import PALETTE, STYLE, save_figure
from stages.lib.core.seeds import generator

DRAWN = 200  # templates of each gesture

STATISTICS = {
    "height over width (log)": lambda p: float(
        np.log(max(np.ptp(p[:, 1]), 0.02) / max(np.ptp(p[:, 0]), 0.02))
    ),
    "length over size": lambda p: float(np.linalg.norm(np.diff(p, axis=0), axis=1).sum()),
    "end from start over size": lambda p: float(np.linalg.norm(p[-1] - p[0])),
    "turning (rad)": lambda p: turning(p),
}


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    real, labels = read_trajectories(args.trajectories)
    rows = []
    for gesture in GESTURES:
        own = [points for points, label in zip(real, labels, strict=True) if label == gesture]
        rng = generator(0, "compare templates", gesture)
        # without a tracker's errors, which the classifier sees besides
        drawn = [path.points[::12] for path in (draw_gesture(gesture, rng) for _ in range(DRAWN))]
        rows += compared(gesture, own, drawn)
    table = pd.DataFrame(rows)
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(STATISTICS), figsize=(11, 4), layout="constrained", sharey=True)
        for ax, name in zip(axes, STATISTICS, strict=True):
            shown = table[table["statistic"] == name]
            at = np.arange(len(shown))
            for offset, who, colour in ((0.15, "real", PALETTE[6]), (-0.15, "drawn", PALETTE[0])):
                ax.errorbar(
                    shown[f"{who}_mean"], at + offset, xerr=shown[f"{who}_sd"], fmt="o", color=colour,
                    markersize=4, label=who,
                )  # fmt: skip
            ax.set_xlabel(name)
            ax.set_yticks(at, shown["gesture"])
        axes[0].legend()
        save_figure(figure, args.figure)
        plt.close(figure)
    with atomic_path(args.drawn) as temporary:
        table.to_csv(temporary, index=False)


def compared(gesture: str, real: list[Array], drawn: list[Array]) -> list[dict[str, object]]:
    """A row for each statistic."""
    rows: list[dict[str, object]] = []
    real, drawn = ([resampled(longest_run(points)) for points in paths] for paths in (real, drawn))
    for name, statistic in STATISTICS.items():
        a, b = (np.array([statistic(points) for points in paths]) for paths in (real, drawn))
        rows.append(
            {
                "gesture": gesture,
                "statistic": name,
                "real_mean": a.mean(),
                "real_sd": a.std(),
                "drawn_mean": b.mean(),
                "drawn_sd": b.std(),
                "ks_distance": float(ks_2samp(a, b).statistic),
                "real": len(a),
                "drawn": len(b),
            }
        )
    return rows


def turning(points: Array) -> float:
    """Total absolute change of direction between ninths of the path, rad: jitter within a ninth does not count."""
    steps = np.diff(points[:: (len(points) - 1) // 9], axis=0)
    angles = np.unwrap(np.arctan2(steps[:, 1], steps[:, 0]))
    return float(np.abs(np.diff(angles)).sum())


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--trajectories", required=True, help="Parquet of prepare_trajectories, training split"
    )
    parser.add_argument("--figure", required=True, help="SVG to write")
    parser.add_argument("--drawn", required=True, help="CSV of the values drawn")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
