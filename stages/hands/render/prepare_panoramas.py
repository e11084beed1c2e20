"""The panoramas of Blender's own studio lights (CC0) as one file of arrays.

python -m stages.hands.render.prepare_panoramas --panoramas data/prepared/panoramas/panoramas.npz

NAME  (512, 1024, 3) float16, linear, negative values cut off, scaled to a mean luminance of 1
"""

import argparse
from pathlib import Path

import bpy
import numpy as np
import OpenEXR

from stages.lib.core.artifacts import atomic_path
from stages.lib.core.errors import InputError, run

LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
BRIGHTEST = 200.0  # of the mean: a lamp stays a lamp, and float16 holds it


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    folder = Path(bpy.utils.resource_path("LOCAL")) / "datafiles" / "studiolights" / "world"
    files = sorted(folder.glob("*.exr"))
    if not files:
        raise InputError(f"{folder} holds no panoramas; install the environment render again")
    arrays = {path.stem: read_panorama(path) for path in files}
    with atomic_path(args.panoramas) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)


def read_panorama(path: Path) -> np.ndarray:
    channels = {}
    for part in OpenEXR.File(str(path)).parts:
        channels |= {name: np.asarray(channel.pixels) for name, channel in part.channels.items()}
    rgb = channels.get("RGB", channels.get("RGBA"))
    if rgb is None:
        rgb = np.stack([channels[c] for c in "RGB"], axis=-1)
    rgb = np.maximum(rgb[..., :3].astype(np.float32), 0)
    rgb /= (rgb @ LUMINANCE).mean()
    return np.minimum(rgb, BRIGHTEST).astype(np.float16)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--panoramas", required=True, help="NPZ to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
