"""Figure: the same clip by every arm, and how well a fingertip network trained on each finds fingertips in all.

python -m stages.hands.planar.plot_arms --held-out held_out/dataset --panoramas panoramas.npz --compositor 0.safetensors
    --arms 0.csv 1.csv 2.csv --figure arms.svg --drawn arms.csv
"""

import argparse

import matplotlib as mpl

mpl.use("Agg")  # no display on the machines that run this

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes

from stages.hands.planar.arms import FLAT_ARMS, flat_clips, panoramas_of, pictures
from stages.hands.planar.compare_arms import small
from stages.hands.planar.sprites import read_sprites
from stages.hands.planar.train_compositor import read_compositor
from stages.lib.core.artifacts import atomic_path
from stages.lib.core.errors import run
from stages.lib.core.plots import PALETTE, STYLE, save_figure
from stages.lib.core.seeds import generator
from stages.lib.core.tables import read_tables

SHOWN = 8  # frames of each arm
TESTS = ("paste", "gan", "rendered", "poses")


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    torch.set_num_threads(1)
    table = read_tables(args.arms, "arm", "test", "seed", "mean_px")
    strips = draw_strips(args.held_out, args.panoramas, args.compositor)
    with mpl.rc_context(STYLE):
        figure, (top, below) = plt.subplots(
            2, 1, figsize=(9, 9), layout="constrained", gridspec_kw={"height_ratios": [1.5, 1]}
        )
        plot_strips(strips, top)
        drawn = plot_errors(table, below)
        save_figure(figure, args.figure)
        plt.close(figure)
    with atomic_path(args.drawn) as temporary:
        drawn.to_csv(temporary, index=False)


def draw_strips(held_out: str, panoramas: str, compositor: str) -> dict[str, np.ndarray]:
    """Arm -> (64, 64 SHOWN, 3) in 0..1, every arm with the same fingertips."""
    sprites = read_sprites([held_out])
    flat = flat_clips(sprites, sprites, panoramas_of(panoramas, [held_out]), generator(0, "arms figure"))
    model = read_compositor(compositor)
    rows = np.linspace(0, len(sprites) - 1, SHOWN).astype(int)
    found = {"background": flat.backgrounds}
    found |= {arm: pictures(arm, flat, model) for arm in FLAT_ARMS}
    found["rendered"] = small(sprites)
    return {
        name: torch.cat([frames[i] for i in rows], 2).permute(1, 2, 0).numpy()
        for name, frames in found.items()
    }


def plot_strips(strips: dict[str, np.ndarray], ax: Axes) -> None:
    picture = np.concatenate(list(strips.values()))
    ax.imshow(picture)
    height = len(picture) / len(strips)
    names = [name.replace("_", " ") for name in strips]
    ax.set_yticks([height * (i + 0.5) for i in range(len(strips))], names)
    ax.set_xticks([])
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)


def plot_errors(table: pd.DataFrame, ax: Axes) -> pd.DataFrame:
    """Bars: mean over seeds, every seed a dot; returns what is drawn."""
    shown = table[table["test"].isin(TESTS) & (table["arm"] != "reference")]
    arms = list(dict.fromkeys(shown["arm"]))
    width = 0.8 / len(arms)
    for i, arm in enumerate(arms):
        for j, test in enumerate(TESTS):
            values = shown[(shown["arm"] == arm) & (shown["test"] == test)]["mean_px"]
            at = j + (i - len(arms) / 2 + 0.5) * width
            ax.bar(
                at, values.mean(), width * 0.9, color=PALETTE[i % len(PALETTE)],
                label=arm.replace("_", " ") if j == 0 else None,
            )  # fmt: skip
            ax.plot([at] * len(values), values, ".", color="black", markersize=3)
    ax.set_xticks(range(len(TESTS)), [f"tested on {test}" for test in TESTS])
    ax.set_ylabel("fingertip error [px of 64]")
    ax.set_ylim(0)
    ax.legend(title="trained on", ncols=3)
    return shown


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--held-out", required=True, help="folder of compose_clips")
    parser.add_argument("--panoramas", required=True, help="NPZ of prepare_panoramas")
    parser.add_argument("--compositor", required=True, help="safetensors of planar.train_compositor")
    parser.add_argument("--arms", nargs="+", required=True, help="CSVs of planar.compare_arms, one a seed")
    parser.add_argument("--figure", required=True, help="SVG to write")
    parser.add_argument("--drawn", required=True, help="CSV of the values drawn")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
