"""Users who want some classes of a set: which, and the images that they bring (CRISP, notes 2.2)."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stages.lib.core.errors import InputError
from stages.lib.core.prepared import ImageSplit
from stages.lib.core.seeds import generator
from stages.lib.training.images import normalise


@dataclass(frozen=True, kw_only=True)
class User:
    """classes (k,) ids as the network knows them; images to tune on and to be tested on, of these classes alone.

    others  images and labels of as many other classes, for the control; none where there are no other classes
    """

    classes: tuple[int, ...]
    images: Tensor
    labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    others: tuple[Tensor, Tensor] | None


def draw_user(
    train: ImageSplit,
    test: ImageSplit,
    *,
    classes: int,
    images_per_class: int,
    seed: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> User:
    """A user by seed; the same for all ways to prune. Raises InputError where the set has fewer classes."""
    known = len(train.info.classes)
    if not 0 < classes <= known:
        raise InputError(
            f"a user wants {classes} classes and {train.info.dataset} has {known}; ask for 1 to {known}"
        )
    order = generator(seed, "user classes", classes).permutation(known)
    wanted, rest = order[:classes], order[classes : 2 * classes]
    images, labels = images_of(train, wanted, images_per_class, seed=seed, mean=mean, std=std)
    tested = np.flatnonzero(np.isin(test.labels, wanted))
    return User(
        classes=tuple(int(c) for c in sorted(wanted)),
        images=images,
        labels=labels,
        test_images=normalise(test.images[tested], mean, std),
        test_labels=torch.from_numpy(test.labels[tested]).long(),
        others=images_of(train, rest, images_per_class, seed=seed, mean=mean, std=std) if len(rest) else None,
    )


def images_of(
    split: ImageSplit,
    classes: Iterable[int],
    each: int,
    *,
    seed: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> tuple[Tensor, Tensor]:
    """`each` images of each class, or as many as there are, normalised, and their labels; drawn by seed and class."""
    rows = [
        generator(seed, "user images", int(c)).permutation(np.flatnonzero(split.labels == c))[:each]
        for c in classes
    ]
    drawn = np.concatenate(rows)
    return normalise(split.images[drawn], mean, std), torch.from_numpy(split.labels[drawn]).long()
