"""Augmentation, matching, and the choice of real images, against properties, closed forms and exhaustive search."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.nn import functional as F

from stages.expansion.augmentation import Augmentation
from stages.expansion.condensation import (
    RealImages,
    gradient_distance,
    match_distributions,
    match_gradients,
    random_network,
)
from stages.expansion.config import CondensationConfig
from stages.expansion.selection import CROP_AREA, crop_and_choose, herd, random_crops, teacher_features
from stages.lib.inversion.networks import Networks
from stages.lib.nets.lenet import LeNet5

CPU = torch.device("cpu")
NOTHING = dict(flip=False, shift_px=0.0, scale=0.0, turn_deg=0.0, cutout=0.0)
CONFIG = CondensationConfig(iterations=30, real_images=16, width=8)


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def digits() -> RealImages:
    images, labels = load_digits(return_X_y=True)
    pixels = torch.from_numpy(images / 16).float().view(-1, 1, 8, 8)
    pixels = F.interpolate(pixels, 16, mode="nearest")
    return RealImages((pixels - pixels.mean()) / pixels.std(), torch.from_numpy(labels), 10, chance())


def test_an_augmentation_of_nothing_changes_nothing():
    images = torch.randn(5, 2, 12, 12, generator=chance())
    assert torch.allclose(Augmentation(**NOTHING)(images, chance()), images, atol=1e-5)


def test_half_of_the_images_are_mirrored():
    images = torch.randn(200, 1, 8, 8, generator=chance())
    changed = Augmentation(**{**NOTHING, "flip": True})(images, chance())
    mirrored = torch.isclose(changed, images.flip(3), atol=1e-5).all((1, 2, 3))
    kept = torch.isclose(changed, images, atol=1e-5).all((1, 2, 3))
    assert (mirrored ^ kept).all()
    assert 70 < mirrored.sum() < 130


def test_shifts_are_in_pixels():
    image = torch.zeros(1, 1, 21, 21)
    image[..., 10, 10] = 1.0
    changed = Augmentation(**{**NOTHING, "shift_px": 3.0})(image.expand(500, -1, -1, -1), chance())
    at = torch.arange(21.0)
    rows = (changed.sum((1, 3)) * at).sum(1)  # where the mass lies, by linear interpolation
    assert (rows - 10).abs().max() <= 3.0
    assert (rows - 10).std() == pytest.approx(3 / np.sqrt(3), rel=0.1)  # of an even draw


def test_a_square_is_lost():
    changed = Augmentation(**{**NOTHING, "cutout": 0.5})(torch.ones(300, 1, 16, 16), chance())
    lost = (changed == 0).sum((1, 2, 3))
    assert lost.max() == 64
    assert lost.min() >= 16  # the centre lies inside


def test_one_draw_serves_all_images_where_it_is_to():
    images = torch.randn(1, 1, 12, 12, generator=chance()).expand(6, -1, -1, -1)
    together = Augmentation()(images, chance(), together=True)
    apart = Augmentation()(images, chance())
    assert torch.equal(together, together[:1].expand_as(together))
    assert not torch.allclose(apart[0], apart[1])


@pytest.mark.parametrize("match", [match_distributions, match_gradients])
def test_matching_brings_images_nearer_to_their_class_for_networks_it_never_saw(match):
    real, seen = digits(), []
    learned = match(
        real, 1, CONFIG, seed=0, device=CPU, advance=lambda i, images: seen.append((i, images.clone()))
    )
    assert [i for i, _ in seen] == list(range(1, CONFIG.iterations + 1))
    assert learned.shape == (10, 1, 16, 16)
    everything = [real.images[rows] for rows in real.of_class]

    def distance(images: torch.Tensor) -> float:
        found = []
        for seed in range(5):
            net = random_network(images, 10, 16, 10_000 + seed)
            with torch.no_grad():
                means = torch.stack([net.features(x).mean(0) for x in everything])
                found.append((net.features(images) - means).square().sum(1).mean().item())
        return float(np.mean(found))

    start = digits().distinct(1)
    assert distance(learned) < 0.95 * distance(start)


def test_gradients_are_compared_unit_by_unit():
    a, b = (torch.randn(4, 3, 2, generator=chance(s)) for s in (0, 1))
    x, y = a.flatten(1).numpy(), b.flatten(1).numpy()
    cosines = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    assert gradient_distance([a], [b]).item() == pytest.approx((1 - cosines).sum(), rel=1e-5)
    assert gradient_distance([a], [3 * a]).item() == pytest.approx(0, abs=1e-5)


def networks() -> Networks:
    torch.manual_seed(0)
    teacher = LeNet5(batch_norm=True)
    return Networks(teacher=teacher, student=teacher, channels=1, size=16, device=CPU, bf16=False)


def test_herding_takes_the_image_nearest_to_the_mean_and_then_the_best_second():
    real, net = digits(), networks()
    chosen = herd(real, 2, net).view(10, 2, 1, 16, 16)
    for label, rows in enumerate(real.of_class):
        features = F.normalize(teacher_features(real.images[rows], net)[1], dim=1)
        first = (features - features.mean(0)).norm(dim=1).argmin()
        pairs = (features.mean(0) - (features + features[first]) / 2).norm(dim=1)
        pairs[first] = torch.inf
        assert torch.equal(chosen[label, 0], real.images[rows][first])
        assert torch.equal(chosen[label, 1], real.images[rows][pairs.argmin()])


def test_chosen_crops_are_those_that_the_teacher_is_surest_of():
    real, net = digits(), networks()
    chosen = crop_and_choose(real, 3, net, candidates=40, crops=4)
    images = real.draw(3)
    losses = [
        F.cross_entropy(teacher_features(x, net)[0], torch.arange(10).repeat_interleave(3))
        for x in (chosen, images)
    ]
    assert chosen.shape == (30, 1, 16, 16)
    assert losses[0] < losses[1]


def test_crops_lie_within_their_image():
    ramp = torch.arange(32.0).view(1, 1, 1, 32).expand(400, 1, 32, 32)
    crops = random_crops(ramp, chance())
    width = (crops[:, 0, 0, -1] - crops[:, 0, 0, 0]) / 31  # as a share of the image's
    assert width.min() >= np.sqrt(CROP_AREA[0]) - 1e-3
    assert width.max() <= 1 + 1e-3


def test_too_few_images_are_named():
    real = digits()
    with pytest.raises(ValueError, match=r"class \d has 1\d\d images where 500 a class are wanted"):
        real.distinct(500)
    with pytest.raises(ValueError, match="class 3 has no images"):
        RealImages(torch.zeros(3, 1, 8, 8), torch.arange(3), 4, chance())
