"""The paper arm's generator: a hand is drawn into a masked hole of a background (Turkoglu et al., AAAI 2019), at 64 x 64.

A quarter of the published width, half of its resolution. Pictures are in -1..1, masks in 0..1.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

Z_SIZE = 128


class Compositor(nn.Module):
    """z (n, 128), mask (n, 1, 64, 64), canvas (n, 3, 64, 64) = background outside the mask -> picture (n, 3, 64, 64).

    The three meet at 16 x 16; five residual blocks; z again; the canvas again at 32 x 32.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.width = width
        self.from_z = nn.Linear(Z_SIZE, width * 16 * 16)
        self.from_mask = nn.Sequential(nn.Conv2d(1, width // 2, 4, 2, 1), nn.ReLU(), nn.AvgPool2d(2))
        self.from_canvas = nn.Sequential(
            _conv(3, width // 2), _conv(width // 2, width // 2, 2), _conv(width // 2, width // 2, 2)
        )
        self.blocks = nn.Sequential(*(ResidualBlock(2 * width) for _ in range(5)))
        self.up = nn.Sequential(nn.Upsample(scale_factor=2), _conv(3 * width, width))
        self.top = nn.Sequential(
            nn.Upsample(scale_factor=2), _conv(width + 4, width), nn.Conv2d(width, 3, 3, 1, 1), nn.Tanh()
        )

    def forward(self, z: Tensor, mask: Tensor, canvas: Tensor) -> Tensor:
        noise = self.from_z(z).view(-1, self.width, 16, 16)
        x = self.blocks(torch.cat([noise, self.from_mask(mask), self.from_canvas(canvas)], 1))
        x = self.up(torch.cat([x, noise], 1))
        found: Tensor = self.top(torch.cat([x, F.avg_pool2d(torch.cat([canvas, mask], 1), 2)], 1))
        return found


class ResidualBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(width, width), nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.body(x))


class Discriminator(nn.Module):
    """(n, c, h, h) -> (n,) logits of being real; spectral norm throughout, four residual halvings."""

    def __init__(self, channels: int, width: int = 32) -> None:
        super().__init__()
        sizes = (channels, width, 2 * width, 2 * width, 4 * width)
        self.blocks = nn.Sequential(*(Halving(a, b) for a, b in pairwise(sizes)))
        self.last = spectral_norm(nn.Linear(sizes[-1], 1))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(F.relu(self.blocks(x)).mean((2, 3))).squeeze(1)
        return found


class Halving(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = spectral_norm(nn.Conv2d(inputs, outputs, 3, 1, 1))
        self.second = spectral_norm(nn.Conv2d(outputs, outputs, 3, 1, 1))
        self.side = spectral_norm(nn.Conv2d(inputs, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        # the convolutions run on the smaller picture
        small = F.avg_pool2d(x, 2)
        deep: Tensor = self.second(F.relu(self.first(F.relu(small))))
        return deep + self.side(small)


def instance_crops(pictures: Tensor, boxes: Tensor, size: int = 32) -> Tensor:
    """(n, c, size, size) what is in the boxes (n, 4): left, top, right, bottom in -1..1."""
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    theta = torch.zeros(len(boxes), 2, 3, device=pictures.device)
    theta[:, 0, 0], theta[:, 1, 1] = half[:, 0], half[:, 1]
    theta[:, :, 2] = middle
    grid = F.affine_grid(theta, [len(boxes), pictures.shape[1], size, size], align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def boxes_of(masks: Tensor) -> Tensor:
    """(n, 4) left, top, right, bottom in -1..1 of masks (n, 1, h, w); the whole picture where a mask is empty."""
    solid = masks[:, 0] > 0.5
    ends = []
    for line in (solid.any(1), solid.any(2)):  # which columns, which rows
        size = line.shape[1]
        at = torch.arange(size, device=masks.device).expand_as(line)
        first = torch.where(line, at, size).amin(1)
        last = torch.where(line, at, -1).amax(1)
        empty = last < 0
        ends.append(
            (torch.where(empty, 0, first) * 2 / size - 1, torch.where(empty, size, last + 1) * 2 / size - 1)
        )
    (left, right), (top, bottom) = ends
    return torch.stack([left, top, right, bottom], dim=1).float()


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )
