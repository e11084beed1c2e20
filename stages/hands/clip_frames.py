"""Frames of a data set of clips as tensors, with the fingertips that are in them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stages.hands.validation import read_coco

INPUT_PX = (128, 96)  # width and height of what the fingertip network sees


@dataclass(frozen=True, kw_only=True)
class ClipFrames:
    """N frames whose fingertip is in the picture.

    frames   (N, 3, 96, 128) float32 in 0..1
    tips     (N, 2) x and y in shares of the picture
    visible  (N,) bool
    clip     (N,) numbers; videos: what is known of each clip, by its number
    size_px  width and height of the frames as they were rendered
    """

    frames: Tensor
    tips: Tensor
    visible: np.ndarray
    clip: np.ndarray
    videos: dict[int, dict[str, Any]]
    size_px: tuple[int, int]


def read_frames(folder: str | Path) -> ClipFrames:
    folder = Path(folder)
    coco = read_coco(folder)
    frames, tips, visible, clip = [], [], [], []
    for image, label in zip(coco["images"], coco["annotations"], strict=True):
        tip = label["fingertip"]
        if not tip["in_frame"]:
            continue
        with Image.open(folder / image["file_name"]) as file:
            frames.append(network_input(np.asarray(file)))
        tips.append((tip["x_px"] / image["width"], tip["y_px"] / image["height"]))
        visible.append(tip["visible"])
        clip.append(image["video_id"])
    return ClipFrames(
        frames=torch.stack(frames),
        tips=torch.tensor(tips, dtype=torch.float32),
        visible=np.array(visible),
        clip=np.array(clip),
        videos={video["id"]: video for video in coco["videos"]},
        size_px=(coco["images"][0]["width"], coco["images"][0]["height"]),
    )


def network_input(picture: np.ndarray) -> Tensor:
    """(3, 96, 128) float32 in 0..1 of a picture (h, w, 3) uint8."""
    small = Image.fromarray(picture).resize(INPUT_PX, Image.Resampling.BOX)
    return torch.from_numpy(np.asarray(small, dtype=np.float32) / 255).permute(2, 0, 1)
