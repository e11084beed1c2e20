"""Rendered layers of clips: what the renderer hands over, before any background."""

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.lib.core.artifacts import atomic_path
from stages.lib.core.errors import InputError

_ARRAYS = ("rgba", "depth_m", "hand", "sleeve", "keypoints", "world_from_camera", "clip", "frame")


@dataclass(frozen=True, kw_only=True)
class Layers:
    """N frames of several clips.

    rgba       (N, h, w, 4) float16, linear, colour times coverage
    depth_m    (N, h, w) float16, inf where no arm is
    hand, sleeve  (N, h, w) uint8, coverage 0..255
    keypoints  (N, 21, 3) float64, camera coordinates in metres at mid-shutter
    world_from_camera  (N, 2, 3, 3) as the shutter opens and closes
    clip, frame  (N,) numbers
    clips      what was drawn for each clip, by its number
    """

    rgba: np.ndarray
    depth_m: np.ndarray
    hand: np.ndarray
    sleeve: np.ndarray
    keypoints: np.ndarray
    world_from_camera: np.ndarray
    clip: np.ndarray
    frame: np.ndarray
    clips: dict[int, dict[str, Any]]


def write_layers(path: str | Path, layers: Layers) -> None:
    arrays = {name: getattr(layers, name) for name in _ARRAYS}
    text = json.dumps({str(number): record for number, record in layers.clips.items()}, sort_keys=True)
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays, clips=np.frombuffer(text.encode(), np.uint8))


def read_layers(path: str | Path) -> Layers:
    """Raises InputError where the file is no file of layers."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in _ARRAYS}
            clips = json.loads(file["clips"].tobytes())
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} holds no rendered layers ({error}); render the clips again") from None
    return Layers(**arrays, clips={int(number): record for number, record in clips.items()})


def joined(parts: Sequence[Layers]) -> Layers:
    """Several files' layers as one."""
    return Layers(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS},
        clips={number: record for part in parts for number, record in part.clips.items()},
    )
