"""A clip as one picture of three channels: what moved in its early, middle and late third.

Each channel is the largest difference from the clip's median frame, in grey, over the frames of that third: a static
background vanishes, and the way that the hand took stays, in its order.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from stages.hands.composites import Hands
from stages.hands.gestures import GESTURES, draw_gesture

SIZE_PX = 64
GREY = torch.tensor([0.299, 0.587, 0.114])


def motion_image(frames: Tensor) -> NDArray[np.uint8]:
    """(64, 64, 3) uint8 of frames (n, 3, h, w) in 0..1; n of 3 or more."""
    grey = (frames * GREY.view(1, 3, 1, 1)).sum(1)
    small = F.interpolate(grey[:, None], size=(SIZE_PX, SIZE_PX), mode="area")[:, 0]
    difference = (small - small.median(0).values).abs()
    thirds = [part.amax(0) for part in difference.tensor_split(3)]
    return torch.round(255 * torch.stack(thirds, dim=-1).clamp(0, 1)).to(torch.uint8).numpy()


def draw_motion_images(
    hands: Hands, backgrounds: Tensor, n: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images (n, 64, 64, 3) and labels (n,), indices into GESTURES, of one cut-out hand each that draws a gesture."""
    labels = np.arange(n) % len(GESTURES)
    clips = (moving_hand(hands, backgrounds, GESTURES[i], rng)[0] for i in labels)
    return np.stack([motion_image(frames) for frames in clips]), labels


def moving_hand(
    hands: Hands, backgrounds: Tensor, gesture: str, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """A hand whose fingertip follows a drawn gesture before one background (n, 3, 96, 128).

    Returns frames (f, 3, 96, 128) in 0..1 and fingertips (f, 2) in shares of the picture.
    """
    path = draw_gesture(gesture, rng)
    count = int(np.clip(path.duration_s * rng.uniform(6, 20), 9, 48))
    moments = path.at(np.linspace(0, path.duration_s, count))
    size, centre = rng.uniform(0.35, 0.8), np.array([rng.uniform(0.4, 0.6), rng.uniform(0.35, 0.55)])
    shape = np.array([0.75, 1.0])  # the box of a gesture is square on the screen
    target = torch.from_numpy(2 * (centre + size * shape * (moments - 0.5)) - 1).float()
    at = int(rng.integers(len(hands.rgba)))
    scale, side = float(np.exp(rng.uniform(-0.45, 0.35))), float(rng.choice([-1.0, 1.0], p=[0.2, 0.8]))
    tip = 2 * hands.tips[at] - 1
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = side * scale, scale
    theta[:, :, 2] = tip - torch.tensor([side * scale, scale]) * target
    height, width = backgrounds.shape[2:]
    grid = F.affine_grid(theta, [count, 4, height, width], align_corners=False)
    seen = F.grid_sample(
        hands.rgba[at].expand(count, -1, -1, -1), grid, padding_mode="border", align_corners=False
    )
    behind = backgrounds[int(rng.integers(len(backgrounds)))] * float(np.exp(rng.normal(0, 0.4)))
    hand = seen[:, :3] * float(np.exp(rng.normal(-0.1, 0.4)))
    # a head is never quite still
    sway = np.cumsum(rng.normal(0, 0.15, (count, 2)), axis=0).round().astype(int)
    moved = torch.stack([torch.roll(behind, tuple(int(v) for v in step), (1, 2)) for step in sway])
    noise = torch.from_numpy(rng.normal(0, 0.01, seen[:, :3].shape)).float()
    return (hand + (1 - seen[:, 3:]) * moved + noise).clamp(0, 1), (target + 1) / 2
