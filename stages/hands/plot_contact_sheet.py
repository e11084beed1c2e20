"""Figure: frames of every set of clips, drawn at random, with their labels.

python -m stages.hands.plot_contact_sheet --datasets A B --figure contact_sheet.svg --drawn contact_sheet.csv
"""

import argparse
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")  # no display on the machines that run this

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from PIL import Image

from stages.hands.validation import read_coco
from stages.lib.core.artifacts import atomic_path
from stages.lib.core.errors import run
from stages.lib.core.plots import PALETTE, STYLE, save_figure
from stages.lib.core.seeds import generator

FRAMES, COLUMNS = 60, 6
SHOWN_PX = 213  # width of a frame on the sheet


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    chosen = draw_frames([Path(folder) for folder in args.datasets])
    rows = -(-len(chosen) // COLUMNS)
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(
            rows, COLUMNS, figsize=(2.2 * COLUMNS, 1.85 * rows), squeeze=False, layout="constrained"
        )
        for ax in axes.flat:
            ax.set_axis_off()
        for ax, frame in zip(axes.flat, chosen, strict=False):
            plot_frame(frame, ax)
        save_figure(figure, args.figure)
        plt.close(figure)
    table = pd.DataFrame([{k: v for k, v in frame.items() if k not in ("path", "label")} for frame in chosen])
    with atomic_path(args.drawn) as temporary:
        table.to_csv(temporary, index=False)


def draw_frames(folders: list[Path]) -> list[dict[str, Any]]:
    """Up to FRAMES frames of all sets: file, gesture, tone, panorama and label."""
    every = []
    for folder in folders:
        coco = read_coco(folder)
        videos = {video["id"]: video for video in coco["videos"]}
        for image, label in zip(coco["images"], coco["annotations"], strict=True):
            video = videos[image["video_id"]]
            every.append(
                {
                    "set": video["set"],
                    "file": image["file_name"],
                    "gesture": video["gesture"],
                    "tone": video["tone"],
                    "panorama": video["panorama"],
                    "path": folder / image["file_name"],
                    "label": label,
                }
            )
    order = generator(0, "contact sheet").permutation(len(every))[:FRAMES]
    return [every[i] for i in sorted(order)]


def plot_frame(frame: dict[str, Any], ax: Axes) -> None:
    with Image.open(frame["path"]) as file:
        scale = SHOWN_PX / file.width
        picture = np.asarray(file.resize((SHOWN_PX, round(file.height * scale))))
    ax.imshow(picture)
    label = frame["label"]
    x, y, width, height = (scale * v for v in label["bbox"])
    ax.add_patch(Rectangle((x - 0.5, y - 0.5), width, height, fill=False, lw=0.6, color=PALETTE[4]))
    tip = label["fingertip"]
    if tip["in_frame"]:
        marker = "o" if tip["visible"] else "x"
        ax.plot(scale * tip["x_px"], scale * tip["y_px"], marker, ms=3, mfc="none", color=PALETTE[5])
    ax.set_title(f"{frame['gesture']}, tone {frame['tone']:g}", fontsize=6, pad=2)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--datasets", nargs="+", required=True, help="folders of compose_clips")
    parser.add_argument("--figure", required=True, help="SVG to write")
    parser.add_argument("--drawn", required=True, help="CSV to write: the frames that the figure shows")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
