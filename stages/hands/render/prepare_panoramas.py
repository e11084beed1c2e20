# SPDX-License-Identifier: GPL-3.0-or-later
"""Panoramas as one file of arrays: those of Blender's module (eight studio lights, CC0, and StinsonBeach), and more:
those of a folder.

python -m stages.hands.render.prepare_panoramas --folder data/prepared/pmndrs-panoramas
    --panoramas data/prepared/panoramas/panoramas.npz

NAME  (h, w, 3) float16, linear, negative values cut off, scaled to a mean luminance of 1
"""

import argparse
from pathlib import Path

import bpy
import numpy as np

from stages.lib.core.artifacts import atomic_path
from stages.lib.core.errors import InputError, run

LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
BRIGHTEST = 200.0  # of the mean: a lamp stays a lamp, and float16 holds it


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    files = {**studio_lights(), "stinson_beach": stinson_beach()}
    if args.folder:
        files |= in_folder(Path(args.folder))
    arrays = {name: read_panorama(path) for name, path in files.items()}
    with atomic_path(args.panoramas) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)


def studio_lights() -> dict[str, Path]:
    folder = Path(bpy.utils.resource_path("LOCAL")) / "datafiles" / "studiolights" / "world"
    files = {path.stem: path for path in sorted(folder.glob("*.exr"))}
    if not files:
        raise InputError(f"{folder} holds no panoramas; install the environment render again")
    return files


def stinson_beach() -> Path:
    """The panorama of another photographer that Blender's USD library brings."""
    found = sorted(Path(bpy.utils.resource_path("LOCAL")).parent.rglob("StinsonBeach.hdr"))
    if not found:
        raise InputError("bpy holds no StinsonBeach.hdr; install the environment render again")
    return found[0]


def in_folder(folder: Path) -> dict[str, Path]:
    """EXR and HDR files, named as they are. Raises InputError where there are none."""
    found = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in (".exr", ".hdr")}
    if not found:
        raise InputError(f"{folder} holds no panorama (.exr, .hdr); name another folder")
    return found


def read_panorama(path: Path) -> np.ndarray:
    image = bpy.data.images.load(str(path))
    image.colorspace_settings.name = "Non-Color"  # the values as they are
    width, height = image.size
    values = np.empty(width * height * image.channels, np.float32)
    image.pixels.foreach_get(values)
    bpy.data.images.remove(image)
    rgb = np.maximum(values.reshape(height, width, -1)[::-1, :, :3], 0)
    rgb = rgb / (rgb @ LUMINANCE).mean()
    return np.minimum(rgb, BRIGHTEST).astype(np.float16)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", help="more panoramas, equirectangular EXR or HDR files")
    parser.add_argument("--panoramas", required=True, help="NPZ to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
