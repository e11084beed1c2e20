"""Images on their way into a network: from uint8 rows to normalised, augmented float batches."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.lib.core.errors import InputError


def normalise(images: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(n, height, width, channels) uint8 -> (n, channels, height, width) float32, (pixel / 255 - mean) / std.

    Raises InputError where mean and std are those of another number of channels.
    """
    if images.shape[-1] != len(mean):
        raise InputError(
            f"the images have {images.shape[-1]} channels and the network takes {len(mean)}; give it the set that"
            " it was trained on"
        )
    pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 255
    return (pixels - _per_channel(mean)) / _per_channel(std)


def denormalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """(n, channels, height, width) normalised -> (n, height, width, channels) uint8, nearest and within 0 to 255."""
    pixels = (images * _per_channel(std) + _per_channel(mean)).clamp(0, 1) * 255
    return pixels.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def augment(images: Tensor, *, flip: bool, shift_px: int, fill: Tensor, generator: torch.Generator) -> Tensor:
    """Random mirror images and shifts of up to `shift_px` pixels, one draw an image.

    images  (n, channels, height, width) normalised
    fill    (channels,) value of what a shift brings in: black, normalised
    """
    n, _, height, width = images.shape
    if flip:
        mirrored = torch.rand(n, generator=generator) < 0.5
        images = torch.where(mirrored[:, None, None, None].to(images.device), images.flip(3), images)
    if not shift_px:
        return images
    # pad with black: subtracting the fill makes the padding's zeros black
    padded = F.pad(images - fill[:, None, None], (shift_px,) * 4) + fill[:, None, None]
    top, left = torch.randint(0, 2 * shift_px + 1, (2, n), generator=generator)
    rows = (top[:, None] + torch.arange(height))[:, None, :, None]
    cols = (left[:, None] + torch.arange(width))[:, None, None, :]
    channels = torch.arange(images.shape[1])[None, :, None, None]
    return padded[torch.arange(n)[:, None, None, None], channels, rows, cols]


def black(mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(channels,) the normalised value of a black pixel."""
    return -torch.tensor(mean) / torch.tensor(std)


def _per_channel(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)
