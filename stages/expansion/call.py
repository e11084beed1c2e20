"""Calls for sets and networks of a user's own."""

import torch
from torch import Tensor

from stages.expansion.arms import ARMS
from stages.expansion.condensation import MATCHES, RealImages
from stages.expansion.config import CondensationConfig, ExpansionConfig
from stages.expansion.expansion import Expanded, expand
from stages.expansion.guidance import CondensedSet
from stages.lib.core.errors import InputError
from stages.lib.core.seeds import derive_seed
from stages.lib.inversion.networks import Networks
from stages.lib.nets.layers import Classifier


def condense_images(
    images: Tensor,
    labels: Tensor,
    images_per_class: int,
    *,
    method: str = "dm",
    config: CondensationConfig | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> Tensor:
    """(classes * images_per_class, channels, size, size), classes in order, within the range of `images`.

    images  (n, channels, size, size) normalised, labels (n,) from 0 on without gaps
    method  dm: distribution matching; dc: gradient matching

    Raises InputError where a class has too few images.
    """
    if method not in MATCHES:
        raise InputError(f"method {method!r}: choose from {', '.join(MATCHES)}")
    chance = torch.Generator().manual_seed(derive_seed(seed, "real images") % 2**63)
    try:
        real = RealImages(images, labels, int(labels.max()) + 1, chance)
        return MATCHES[method](
            real,
            images_per_class,
            config or CondensationConfig(),
            seed=seed,
            device=torch.device(device),
            advance=lambda iteration, learned: None,
        )
    except ValueError as error:
        raise InputError(f"these images cannot be condensed: {error}") from None


def expand_condensed(
    teacher: Classifier,
    student: Classifier,
    images: Tensor,
    labels: Tensor,
    *,
    arm: str = "guided",
    config: ExpansionConfig | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> Expanded:
    """Train `student`, in place, on a pool that is inverted from `teacher` and on a few images.

    images  (n, channels, size, size) as the teacher takes them: condensed, chosen or real; labels (n,)
    arm     one of ARMS (stages/expansion/arms.py)

    Raises InputError where a class of the teacher's has no image.
    """
    if arm not in ARMS:
        raise InputError(f"arm {arm!r}: choose from {', '.join(ARMS)}")
    networks = Networks(
        teacher=teacher,
        student=student,
        channels=images.shape[1],
        size=images.shape[-1],
        device=torch.device(device),
    )
    try:
        given = CondensedSet(images, labels, teacher.head.out_features)
    except ValueError as error:
        raise InputError(f"{error}: give one image of each class or more") from None
    return expand(
        networks,
        given,
        ARMS[arm],
        config or ExpansionConfig(),
        seed=seed,
        evaluate=lambda: float("nan"),
        stored=lambda made: made,
        within=(images.amin((0, 2, 3), keepdim=True), images.amax((0, 2, 3), keepdim=True)),
    )
