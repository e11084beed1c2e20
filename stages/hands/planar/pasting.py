"""Cut and paste, and what a hand's rim tells of it: the baselines and the metrics of the GAN arm."""

import torch
import torch.nn.functional as F
from torch import Tensor

RIM_PX = 2  # of a 64 x 64 picture


def pasted(hands: Tensor, masks: Tensor, backgrounds: Tensor) -> Tensor:
    """Alpha composite (n, 3, h, w) of pictures of hands, their masks (n, 1, h, w), and backgrounds."""
    return hands * masks + backgrounds * (1 - masks)


def colour_transferred(hands: Tensor, masks: Tensor, backgrounds: Tensor) -> Tensor:
    """Pasted hands whose mean and deviation per channel are those of the background around their rim (Reinhard 2001)."""
    around = outer_rim(masks, 4 * RIM_PX)
    wanted_mean, wanted_std = _moments(backgrounds, around)
    own_mean, own_std = _moments(hands, masks)
    shifted = (hands - own_mean) * (wanted_std / own_std.clamp_min(1e-3)).clamp(0.5, 2) + wanted_mean
    return pasted(shifted.clamp(0, 1), masks, backgrounds)


def rim_distance(frames: Tensor, masks: Tensor, backgrounds: Tensor) -> Tensor:
    """(n,) distance of the mean colours just inside and just outside a hand's outline, sRGB 0..1.

    The outside is taken from the background as it was given, not from the frame, so that a generator that repaints the
    background gains nothing by it. nan where no outline is in the picture.
    """
    solid = (masks > 0.5).float()
    inside = solid * (F.max_pool2d(1 - solid, 2 * RIM_PX + 1, 1, RIM_PX) > 0)
    outside = outer_rim(masks, RIM_PX)
    found = (_moments(frames, inside)[0] - _moments(backgrounds, outside)[0]).flatten(1).norm(dim=1)
    there = (inside.sum((1, 2, 3)) > 0) & (outside.sum((1, 2, 3)) > 0)
    return torch.where(there, found, torch.nan)


def outer_rim(masks: Tensor, width_px: int) -> Tensor:
    """(n, 1, h, w) 1 where the background is within width_px of the mask."""
    solid = (masks > 0.5).float()
    return F.max_pool2d(solid, 2 * width_px + 1, 1, width_px) - solid


def flicker_outside(frames: Tensor, masks: Tensor) -> float:
    """Mean change from frame to frame where no hand is in either, before a static background; (n, c, h, w)."""
    free = (masks[1:] < 0.02) & (masks[:-1] < 0.02)
    change = (frames[1:] - frames[:-1]).abs().mean(1, keepdim=True)
    return float(change[free].mean())


def flicker_inside(frames: Tensor, masks: Tensor, theta: Tensor) -> float:
    """Mean change of the hand from frame to frame in the sprite's own coordinates, so that its motion does not count.

    theta  (n, 2, 3) of picture to sprite
    """
    n = len(frames)
    square = torch.cat([theta, torch.tensor([0.0, 0, 1]).expand(n, 1, 3)], dim=1)
    back = torch.linalg.inv(square)[:, :2]
    grid = F.affine_grid(back, [n, 4, *frames.shape[2:]], align_corners=False)
    still = F.grid_sample(torch.cat([frames, masks], 1), grid, align_corners=False)
    both = (still[1:, 3:] > 0.95) & (still[:-1, 3:] > 0.95)
    change = (still[1:, :3] - still[:-1, :3]).abs().mean(1, keepdim=True)
    return float(change[both].mean())


def _moments(pictures: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean and standard deviation per channel, (n, c, 1, 1)."""
    total = weights.sum((2, 3), keepdim=True).clamp_min(1e-6)
    mean = (pictures * weights).sum((2, 3), keepdim=True) / total
    variance = ((pictures - mean) ** 2 * weights).sum((2, 3), keepdim=True) / total
    return mean, variance.sqrt()
