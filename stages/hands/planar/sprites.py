"""Flat hands: pictures with soft masks, moved over a background by affine maps so that the tip follows a gesture.

Everything is 64 x 64 as the paper arm's networks see it; coordinates are in -1..1 of the picture, x right and y down.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from stages.hands.annotations import BACKGROUND
from stages.hands.gestures import draw_gesture
from stages.hands.scenes import Camera
from stages.hands.validation import read_coco

SIZE_PX = 64
VIEW_PX = (128, 96)  # of a background before it is squashed
STORED_PX = 128  # of sprites: twice as fine, for those that are enlarged


class View(NamedTuple):
    """Name of a panorama, camera, and its (3, 3) world_from_camera."""

    panorama: str
    camera: Camera
    world_from_camera: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Sprites:
    """N frames of a data set of clips whose fingertip is in the picture.

    frames   (N, 3, 128, 128) in 0..1
    masks    (N, 1, 128, 128) 0..1, the whole arm
    tips     (N, 2)
    clip     (N,) numbers; visible (N,) bool
    look     of each frame: where the camera looked, and at what
    """

    frames: Tensor
    masks: Tensor
    tips: Tensor
    clip: np.ndarray
    visible: np.ndarray
    look: tuple[View, ...]

    def __getitem__(self, rows: np.ndarray) -> "Sprites":
        at = torch.from_numpy(np.arange(len(self.clip))[rows])
        return Sprites(
            frames=self.frames[at], masks=self.masks[at], tips=self.tips[at],
            clip=self.clip[rows], visible=self.visible[rows], look=tuple(self.look[i] for i in at.tolist()),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.clip)


def read_sprites(folders: list[str]) -> Sprites:
    """The frames of several data sets; clips are numbered through."""
    frames, masks, tips, clip, visible, look = [], [], [], [], [], []
    for number, folder in enumerate(map(Path, folders)):
        coco = read_coco(folder)
        videos = {video["id"]: video for video in coco["videos"]}
        for image, label in zip(coco["images"], coco["annotations"], strict=True):
            tip, video = label["fingertip"], videos[image["video_id"]]
            if not tip["in_frame"]:
                continue
            with Image.open(folder / image["file_name"]) as file:
                frames.append(_shrunk(np.asarray(file)))
            with Image.open(folder / image["mask_file"]) as file:
                classes = np.asarray(file)
            masks.append(_shrunk(255 * (classes != BACKGROUND).astype(np.uint8)[..., None]))
            tips.append((2 * tip["x_px"] / image["width"] - 1, 2 * tip["y_px"] / image["height"] - 1))
            clip.append(10000 * number + image["video_id"])
            visible.append(tip["visible"])
            camera = Camera(**{**video["camera"], "width_px": VIEW_PX[0], "height_px": VIEW_PX[1]})
            look.append(View(video["panorama"], camera, np.array(image["world_from_camera"])))
    return Sprites(
        frames=torch.stack(frames), masks=torch.stack(masks), tips=torch.tensor(tips, dtype=torch.float32),
        clip=np.array(clip), visible=np.array(visible), look=tuple(look),
    )  # fmt: skip


def gesture_tips(gesture: str, frames: int, rng: np.random.Generator) -> Tensor:
    """(F, 2) where the fingertip is while it draws a gesture of any size, somewhere in the picture."""
    path = draw_gesture(gesture, rng)
    moments = path.at(np.linspace(0, path.duration_s, frames))
    size, centre = rng.uniform(0.35, 0.8), np.array([rng.uniform(0.35, 0.65), rng.uniform(0.3, 0.55)])
    shape = np.array([0.75, 1.0])  # a picture of 4:3 is squashed to a square
    return torch.from_numpy(2 * (centre + size * shape * (moments - 0.5)) - 1).float()


def draw_maps(tips: Tensor, own: Tensor, rng: np.random.Generator) -> Tensor:
    """(F, 2, 3) affine maps of one clip: a sprite of any size, a little turned, its own tip (2,) on `tips` (F, 2)."""
    scale, angle = float(np.exp(rng.uniform(-0.35, 0.35))), float(rng.normal(0, 0.2))
    side = float(rng.choice([-1.0, 1.0], p=[0.2, 0.8]))
    return affine_maps(tips, own, scale=scale, angle=angle, side=side)


def affine_maps(tips: Tensor, own: Tensor, *, scale: float, angle: float, side: float) -> Tensor:
    """(F, 2, 3) that put a sprite's own tip (2,) on `tips` (F, 2): at p the picture shows the sprite's A (p - tip) + own.

    scale  above 1: smaller; angle in rad on a 4:3 picture; side -1: mirrored
    """
    aspect = 4 / 3
    cosine, sine = float(np.cos(angle)) * scale, float(np.sin(angle)) * scale
    matrix = torch.tensor([[side * cosine, -side * sine / aspect], [sine * aspect, cosine]])
    return torch.cat([matrix.expand(len(tips), 2, 2), (own - tips @ matrix.T)[..., None]], dim=2)


def moved(pictures: Tensor, theta: Tensor) -> Tensor:
    """(F, c, 64, 64) of sprites (F, c, 128, 128); beyond the sprite's edge its edge goes on, so no forearm is cut off."""
    grid = F.affine_grid(
        theta, [len(theta), pictures.shape[1], 2 * SIZE_PX, 2 * SIZE_PX], align_corners=False
    )
    return F.avg_pool2d(F.grid_sample(pictures, grid, padding_mode="border", align_corners=False), 2)


def _shrunk(picture: np.ndarray) -> Tensor:
    image = Image.fromarray(picture.squeeze()).resize((STORED_PX, STORED_PX), Image.Resampling.BOX)
    values = torch.from_numpy(np.asarray(image, dtype=np.float32) / 255)
    return values[None] if values.ndim == 2 else values.permute(2, 0, 1)
