"""Figure: clips of every set, moving: one picture that loops, inside an SVG so that the report holds it.

python -m stages.hands.plot_preview --datasets A B --figure preview.svg --drawn preview.csv
"""

import argparse
import base64
import io
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from stages.hands.validation import read_coco
from stages.lib.core.artifacts import atomic_path, write_text
from stages.lib.core.errors import run
from stages.lib.core.seeds import generator

CLIPS, COLUMNS = 18, 6
SHOWN_PX = (160, 120)
FRAME_MS = 125
QUALITY = 60  # of WebP


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    clips = draw_clips([Path(folder) for folder in args.datasets])
    columns = min(COLUMNS, len(clips))
    rows = -(-len(clips) // columns)
    width, height = columns * SHOWN_PX[0], rows * SHOWN_PX[1]
    content = base64.b64encode(moving_picture([clip["files"] for clip in clips], columns)).decode()
    write_text(
        args.figure,
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f'<image width="{width}" height="{height}" href="data:image/webp;base64,{content}"/></svg>\n',
    )
    with atomic_path(args.drawn) as temporary:
        pd.DataFrame([{k: v for k, v in clip.items() if k != "files"} for clip in clips]).to_csv(
            temporary, index=False
        )


def draw_clips(folders: list[Path]) -> list[dict[str, object]]:
    """Up to CLIPS clips of all sets: set, clip, gesture, tone, background and the files of their frames in order."""
    every = []
    for folder in folders:
        coco = read_coco(folder)
        for video in coco["videos"]:
            images = [image for image in coco["images"] if image["video_id"] == video["id"]]
            images.sort(key=lambda image: image["frame_index"])
            every.append(
                {
                    "set": video["set"],
                    "clip": video["id"],
                    **{key: video[key] for key in ("gesture", "tone", "background")},
                    "files": [folder / image["file_name"] for image in images],
                }
            )
    chosen = generator(0, "preview").permutation(len(every))[:CLIPS]
    return [every[i] for i in sorted(chosen)]


def moving_picture(clips: list[list[Path]], columns: int) -> bytes:
    """Clips side by side as a WebP that loops; shorter ones begin again."""
    length = max(len(files) for files in clips)
    frames = []
    for moment in range(length):
        sheet = Image.new("RGB", (columns * SHOWN_PX[0], -(-len(clips) // columns) * SHOWN_PX[1]))
        for i, files in enumerate(clips):
            with Image.open(files[moment % len(files)]) as picture:
                small = picture.convert("RGB").resize(SHOWN_PX, Image.Resampling.BOX)
            sheet.paste(small, tuple(np.array((i % columns, i // columns)) * SHOWN_PX))
        frames.append(sheet)
    file = io.BytesIO()
    frames[0].save(
        file,
        format="WEBP",
        save_all=True,
        append_images=frames[1:],
        duration=FRAME_MS,
        loop=0,
        quality=QUALITY,
    )
    return file.getvalue()


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--datasets", nargs="+", required=True, help="folders of compose_clips")
    parser.add_argument("--figure", required=True, help="SVG to write")
    parser.add_argument("--drawn", required=True, help="CSV of what is shown")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
