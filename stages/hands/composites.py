"""Endless training frames from few rendered hands: each is moved, scaled and turned over a background of any kind.

Backgrounds are views of the panoramas and drawn scenes (walls, curtains, floors of tiles or boards, desks): what stands
behind a hand is nothing that a fingertip should be found by.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.hands.arm import INDEX_TIP
from stages.hands.backgrounds import panorama_view
from stages.hands.camera_look import LUMINANCE, exposed_for_median, tone_curve
from stages.hands.clip_frames import INPUT_PX
from stages.hands.layers import Layers
from stages.hands.scenes import Camera, head_rotation

STORED_PX = (192, 144)  # width and height of stored hands


@dataclass(frozen=True, kw_only=True)
class Hands:
    """Cut-out hands: rgba (N, 4, 144, 192) float32, sRGB 0..1 times coverage; tips (N, 2) in shares of the picture."""

    rgba: Tensor
    tips: Tensor


def cut_out(layers: Layers) -> Hands:
    """The hands of all frames whose fingertip is in the picture, each exposed for its own skin."""
    rgba, tips = [], []
    for index in range(len(layers.clip)):
        camera = Camera(**layers.clips[int(layers.clip[index])]["camera"])
        x, y, _ = camera.project(layers.keypoints[index, INDEX_TIP])
        if not (0 <= x < camera.width_px and 0 <= y < camera.height_px):
            continue
        layer = layers.rgba[index].astype(np.float32)
        bare = layers.hand[index] > 230
        luminance = layer[..., :3] @ LUMINANCE
        light = np.median(luminance[bare]) if bare.any() else luminance.max()
        alpha = np.clip(layer[..., 3:], 0, 1)
        colour = tone_curve(layer[..., :3] * (0.25 / max(float(light), 1e-4)) / np.maximum(alpha, 1e-3))
        picture = torch.from_numpy(np.concatenate([colour * alpha, alpha], axis=-1)).permute(2, 0, 1)
        rgba.append(F.interpolate(picture[None], size=STORED_PX[::-1], mode="area")[0])
        tips.append((x / camera.width_px, y / camera.height_px))
    return Hands(rgba=torch.stack(rgba), tips=torch.tensor(tips, dtype=torch.float32))


def joined_hands(parts: list[Hands]) -> Hands:
    return Hands(rgba=torch.cat([p.rgba for p in parts]), tips=torch.cat([p.tips for p in parts]))


def draw_backgrounds(panoramas: dict[str, np.ndarray], n: int, rng: np.random.Generator) -> Tensor:
    """(n, 3, 96, 128) sRGB 0..1: half views of the panoramas, half drawn scenes."""
    width, height = INPUT_PX
    found = []
    names = sorted(panoramas)
    for i in range(n):
        if names and i % 2 == 0:
            picture = drawn_view(panoramas[names[i // 2 % len(names)]], rng, width, height)
        else:
            picture = drawn_scene(rng, width, height)
        found.append(torch.from_numpy(np.ascontiguousarray(picture, dtype=np.float32)).permute(2, 0, 1))
    return torch.stack(found)


def drawn_view(panorama: np.ndarray, rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """(h, w, 3) sRGB 0..1: what a head that looks somewhere sees of a panorama (H, W, 3), exposed for its median."""
    camera = Camera(
        width_px=width, height_px=height, field_of_view_rad=float(np.radians(rng.uniform(35, 75)))
    )
    angles = (
        rng.uniform(-np.pi, np.pi),
        np.radians(rng.uniform(-45, 20)),
        np.radians(rng.normal(0, 4)),
    )
    turn = head_rotation(*map(np.asarray, angles))
    return exposed_for_median(panorama_view(panorama, camera, np.stack([turn, turn])))


def drawn_scene(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """(h, w, 3) in 0..1: a wall, a curtain, tiles or boards, often above or below a second surface, in uneven light."""
    scene = _surface(rng, width, height)
    if rng.random() < 0.5:
        other = _surface(rng, width, height)
        y, x = np.mgrid[:height, :width]
        edge = rng.uniform(0.3, 0.9) * height + rng.normal(0, 0.15) * (x - width / 2)
        scene = np.where((y > edge)[..., None], other, scene)
    for _ in range(rng.integers(0, 4)):
        x0, y0 = rng.integers(0, width), rng.integers(0, height)
        box = np.s_[y0 : y0 + rng.integers(4, 50), x0 : x0 + rng.integers(4, 60)]
        scene[box] = 0.3 * scene[box] + 0.7 * _colour(rng)
    light = 1 + 0.3 * _smooth(rng, width, height, cells=3)
    return np.clip(scene * light[..., None], 0, 1)


def _surface(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width].astype(float)
    turn = rng.normal(0, 0.3) if rng.random() < 0.8 else rng.uniform(0, np.pi)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    base, kind = _colour(rng), rng.integers(4)
    shade = 0.12 * _smooth(rng, width, height, cells=rng.integers(3, 30))
    if kind == 1:  # folds of a curtain
        period = rng.uniform(4, 25)
        shade += rng.uniform(0.1, 0.4) * np.sin(
            2 * np.pi * u / period + 3 * _smooth(rng, width, height, cells=4)
        )
    elif kind == 2:  # joints between tiles
        period, joint = rng.uniform(15, 60), rng.uniform(0.02, 0.08)
        lines = (np.mod(u / period, 1) < joint) | (np.mod(v / period / rng.uniform(0.6, 1.6), 1) < joint)
        shade += rng.uniform(-0.5, 0.3) * lines
    elif kind == 3:  # grain of wood
        grain = _smooth(rng, width, height, cells=5)
        shade += rng.uniform(0.05, 0.25) * np.sin(2 * np.pi * (v / rng.uniform(3, 12) + 2 * grain))
    return np.clip(base * (1 + shade[..., None]), 0, 1)


def _colour(rng: np.random.Generator) -> np.ndarray:
    """Mostly dull, of any lightness."""
    grey = rng.uniform(0.05, 0.95)
    return np.clip(grey * (1 + rng.normal(0, 0.12, 3) * rng.uniform(0, 2)), 0, 1)


def _smooth(rng: np.random.Generator, width: int, height: int, *, cells: int) -> np.ndarray:
    """(h, w) noise of standard deviation about 1 whose grains are a `cells`-th of the picture."""
    coarse = torch.from_numpy(rng.standard_normal((1, 1, cells + 1, cells + 1)))
    return F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True)[0, 0].numpy()


class CompositeSource:
    """Batches for train_fingertips: (size, 6, 96, 128) in -1..1, frames and their clips' medians, and tips (size, 2).

    A median frame shows the same scene, a little moved, sometimes with what is left of a hand that stayed too long.
    Frames and medians are taken by one camera of any exposure, contrast and tint.
    """

    def __init__(self, hands: Hands, backgrounds: Tensor) -> None:
        self.hands, self.backgrounds = hands, backgrounds

    def __call__(self, step: int, size: int, chance: torch.Generator) -> tuple[Tensor, Tensor]:
        rand = lambda *shape: torch.rand(*shape, generator=chance)  # noqa: E731
        normal = lambda *shape: torch.randn(*shape, generator=chance)  # noqa: E731
        rows = torch.randint(len(self.hands.rgba), (size,), generator=chance)
        rgba, own = self.hands.rgba[rows], 2 * self.hands.tips[rows] - 1
        tips = torch.stack([1.7 * rand(size) - 0.85, 1.6 * rand(size) - 0.9], dim=1)
        matrix = _turns(
            torch.exp(1.1 * rand(size) - 0.5),
            0.35 * normal(size),
            torch.where(rand(size) < 0.25, -1.0, 1.0),
        )
        hand = _moved(rgba, matrix, own, tips)
        # most medians have no hand, some one that was elsewhere, some one that hardly moved
        kind = rand(size)
        away = torch.where(kind < 0.8, 0.9, 0.05)[:, None] * normal(size, 2)
        shown, strength = kind > 0.6, (0.4 + 0.6 * rand(size))[:, None, None, None]
        behind = self.backgrounds[torch.randint(len(self.backgrounds), (size,), generator=chance)]
        behind = torch.where((rand(size) < 0.5)[:, None, None, None], behind.flip(3), behind)
        behind = behind * torch.exp(0.6 * normal(size, 1, 1, 1))
        sway = torch.randint(-2, 3, (size, 2), generator=chance) * (rand(size) < 0.6)[:, None]
        swayed = torch.stack(
            [torch.roll(b, tuple(s), (1, 2)) for b, s in zip(behind, sway.tolist(), strict=True)]
        )
        light = torch.exp(0.6 * normal(size, 1, 1, 1) - 0.35 + 0.06 * normal(size, 3, 1, 1))
        frames = (hand[:, :3] * light).addcmul_(1 - hand[:, 3:], behind).clamp_(0, 1)
        if shown.any():
            ghost = _moved(rgba[shown], matrix[shown], own[shown], (tips + away)[shown]) * strength[shown]
            swayed[shown] = ghost[:, :3] * light[shown] + (1 - ghost[:, 3:]) * swayed[shown]
        medians = swayed.clamp_(0, 1)
        if (blurred := rand(size) < 0.3).any():
            frames[blurred] = F.avg_pool2d(F.pad(frames[blurred], (1, 1, 1, 1), mode="replicate"), 3, 1)
        # half of the cameras are in the dark, some see through haze, some under coloured light
        gamma = torch.exp(0.25 * normal(size, 1, 1, 1))
        gain = torch.exp(
            0.2 * normal(size, 1, 1, 1) - 1.8 * rand(size, 1, 1, 1) * (rand(size, 1, 1, 1) < 0.5)
        )
        tint = torch.exp(
            0.08 * normal(size, 3, 1, 1) + 0.3 * normal(size, 3, 1, 1) * (rand(size, 1, 1, 1) < 0.4)
        )
        haze = 0.3 * rand(size, 1, 1, 1) * (rand(size, 1, 1, 1) < 0.25)
        noise = 0.03 * rand(size, 1, 1, 1)
        drift = torch.exp(0.05 * normal(size, 1, 1, 1))  # of the exposure, between a frame and the median
        taken = []
        # in place: a new tensor of this size costs as much as what is done with it
        for picture, share in ((frames, 1.0), (medians.mul_(drift), 0.3)):
            seen = picture.clamp_min_(1e-4).pow_(gamma).mul_(gain * tint * (1 - haze)).add_(haze)
            # a median has less noise than a frame
            taken.append(seen.add_(normal(*picture.shape).mul_(share * noise)).clamp_(0, 1))
        return torch.cat(taken, 1).mul_(2).sub_(1), (tips + 1) / 2


def _turns(scale: Tensor, angle: Tensor, side: Tensor) -> Tensor:
    """(n, 2, 2) from the picture's -1..1 to the stored hand's: above 1 smaller, in rad, -1 mirrored; each (n,)."""
    cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
    aspect = INPUT_PX[0] / INPUT_PX[1]
    rows = [torch.stack([side * cosine, -side * sine / aspect], 1), torch.stack([sine * aspect, cosine], 1)]
    return torch.stack(rows, dim=1)


def _moved(rgba: Tensor, matrix: Tensor, own: Tensor, tips: Tensor) -> Tensor:
    """(n, 4, 96, 128) stored hands with their own tips (n, 2) at `tips` (n, 2): at p stands what they have at
    matrix (p - tip) + own.
    """
    theta = torch.cat([matrix, (own - (matrix @ tips[..., None]).squeeze(2))[..., None]], dim=2)
    grid = F.affine_grid(theta, [len(rgba), 4, INPUT_PX[1], INPUT_PX[0]], align_corners=False)
    # where the stored picture ends, its edge goes on: the arm comes from outside
    return F.grid_sample(rgba, grid, padding_mode="border", align_corners=False)
