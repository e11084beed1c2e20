"""Sets of real images, or of crops of them, as small as condensed ones: what condensing has to beat."""

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.expansion.condensation import RealImages
from stages.lib.inversion.networks import Networks

BATCH = 1000
CROP_AREA = (0.5, 1.0)  # share of the image's area that a crop takes (RDED's recipe for small images)


def herd(real: RealImages, per_class: int, networks: Networks) -> Tensor:
    """(classes * per_class, ...): of each class, one after the other, the image that brings the mean of the chosen ones'
    features nearest to the class's (Welling 2009, as iCaRL, Rebuffi 2017, does it)."""
    real.require(per_class)
    chosen = []
    for rows in real.of_class:
        images = real.images[rows]
        features = F.normalize(teacher_features(images, networks)[1], dim=1)
        mean, total, taken = features.mean(0), torch.zeros_like(features[0]), []
        for k in range(per_class):
            distance = (mean - (total + features) / (k + 1)).square().sum(1)
            distance[taken] = torch.inf
            taken.append(int(distance.argmin()))
            total += features[taken[-1]]
        chosen.append(images[taken])
    return torch.cat(chosen)


def crop_and_choose(
    real: RealImages, per_class: int, networks: Networks, *, candidates: int, crops: int
) -> Tensor:
    """(classes * per_class, ...): of random crops of random images, for each class those that the teacher is surest of,
    at most one of an image (RDED, Sun et al. 2024: one crop an image, as it has it for small images).

    The student learns the teacher's outputs of them, which is its relabelling.
    """
    real.require(per_class)
    chosen = []
    for label, rows in enumerate(real.of_class):
        n = min(max(candidates, per_class), len(rows))
        images = real.images[rows[torch.randperm(len(rows), generator=real.chance)[:n]]]
        views = random_crops(images.repeat_interleave(crops, 0), real.chance)
        logits, _ = teacher_features(views, networks)
        loss = F.cross_entropy(logits, torch.full((len(views),), label), reduction="none")
        best, at = loss.view(n, crops).min(1)
        order = best.argsort()[:per_class]
        chosen.append(views[order * crops + at[order]])
    return torch.cat(chosen)


def random_crops(images: Tensor, chance: torch.Generator) -> Tensor:
    """A square part of each image (n, channels, size, size), of CROP_AREA of its area, at its full size again."""
    n, size = len(images), images.shape[-1]
    low, high = CROP_AREA
    side = (low + (high - low) * torch.rand(n, generator=chance)).sqrt()
    centre = (2 * torch.rand(n, 2, generator=chance) - 1) * (1 - side)[:, None]
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = side
    theta[:, :, 2] = centre
    grid = F.affine_grid(theta, (n, 1, size, size), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False, padding_mode="border")


@torch.no_grad()
def teacher_features(images: Tensor, networks: Networks) -> tuple[Tensor, Tensor]:
    """Logits (n, classes) and features (n, width) on the CPU."""
    answers = [networks.ask_teacher(batch.to(networks.device)) for batch in images.split(BATCH)]
    logits, features = (torch.cat(part).cpu() for part in zip(*answers, strict=True))
    return logits, features
