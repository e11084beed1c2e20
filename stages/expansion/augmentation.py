"""Augmentation that gradients flow through: of condensed images, and of what a discriminator sees."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Each image is mirrored, turned, scaled, shifted, and loses a square (DSA: Zhao and Bilen 2021; DiffAugment).

    A value of 0 leaves a part out; all are drawn evenly from -x to x, scales from 1/(1 + x) to 1 + x.
    """

    flip: bool = True  # every second image, left to right
    shift_px: float = 3.0  # to each side, of both axes
    scale: float = 0.2  # of both axes on their own
    turn_deg: float = 15.0
    cutout: float = 0.25  # side of the square, as a share of the image's

    def __call__(self, images: Tensor, chance: torch.Generator, *, together: bool = False) -> Tensor:
        """(n, channels, size, size) -> the same; pixels from outside repeat the border, the square is 0.

        together  one draw for all images, as matching of condensed and real ones asks for
        """
        n, size = (1 if together else len(images)), images.shape[-1]

        def even(*shape: int) -> Tensor:
            return 2 * torch.rand(n, *shape, generator=chance) - 1

        angle = even() * math.radians(self.turn_deg)
        scales = (1 + self.scale) ** even(2)
        shifts = even(2) * 2 * self.shift_px / size  # in units of half an image
        mirror = torch.where(torch.rand(n, generator=chance) < 0.5, -1.0, 1.0) if self.flip else torch.ones(n)
        turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).unflatten(1, (2, 2))
        matrix = turn / scales[:, :, None] * torch.stack([mirror, torch.ones(n)], 1)[:, None, :]
        theta = torch.cat([matrix, shifts[:, :, None]], 2).to(images.device)
        centre = torch.rand(n, 2, generator=chance).to(images.device) * size
        grid = F.affine_grid(theta, (n, 1, size, size), align_corners=False)
        moved = F.grid_sample(
            images, grid.expand(len(images), -1, -1, -1), padding_mode="border", align_corners=False
        )
        if not self.cutout:
            return moved
        at = torch.arange(size, device=images.device) + 0.5
        inside = (at - centre[:, :, None]).abs() < self.cutout * size / 2  # (n, axis, size)
        hole = inside[:, 0, :, None] & inside[:, 1, None, :]
        return moved.masked_fill(hole[:, None], 0.0)
