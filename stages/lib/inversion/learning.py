"""How a generator learns: its losses, put to teacher and student, and a step that makes their sum smaller."""

from contextlib import ExitStack

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.lib.inversion.losses import (
    activation_loss,
    agreed_divergence_loss,
    class_balance_loss,
    contrast_loss,
    difference_loss,
    disagreement_loss,
    one_hot_loss,
    released_disagreement_loss,
)
from stages.lib.inversion.networks import Networks
from stages.lib.inversion.objective import Objective
from stages.lib.inversion.statistics import BatchNormStatistics
from stages.lib.nets.generator import Generator
from stages.lib.training.device import channels_last_

ADVERSARIES = {
    "difference": difference_loss,
    "agreed": agreed_divergence_loss,
    "released": released_disagreement_loss,
    "fixed": disagreement_loss,
}
VIEW_SHIFT_PX = 2


def new_generator(networks: Networks, *, noise: int, width: int, spectral_norm: bool = False) -> Generator:
    """A fresh generator of images like those that the networks take, drawn from torch's global stream."""
    generator = Generator(networks.channels, networks.size, noise, width, spectral_norm=spectral_norm)
    return channels_last_(generator.to(networks.device))


def generator_loss(
    images: Tensor, networks: Networks, objective: Objective, labels: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The loss of images that gradients flow to, and the teacher's logits of them.

    labels  (n,) classes that the images are to be of; without them each is to be of the class that it is nearest to
    """
    with ExitStack() as stack:
        matched = stack.enter_context(BatchNormStatistics(networks.teacher)) if objective.statistics else None
        logits, features = networks.ask_teacher(images)
        parts = [objective.statistics * matched.take()] if matched is not None else []
    if objective.one_hot:
        wanted = one_hot_loss(logits) if labels is None else F.cross_entropy(logits, labels)
        parts.append(objective.one_hot * wanted)
    if objective.balance:
        parts.append(
            objective.balance * class_balance_loss(logits, base=10 if objective.decimal else torch.e)
        )
    if objective.activation:
        parts.append(objective.activation * activation_loss(features))
    if objective.adversary != "none":
        networks.student.eval()  # its running statistics are of what it learns from
        given = networks.ask_student(images)
        parts.append(objective.adversary_weight * ADVERSARIES[objective.adversary](given, logits))
    return torch.stack(parts).sum(), logits


def contrast_of_images(
    images: Tensor, networks: Networks, earlier: Tensor | None, chance: torch.Generator
) -> Tensor:
    """Each image is to be told by a shifted view of it from all others, of this batch and of earlier ones (CMI)."""
    shift = torch.randint(-VIEW_SHIFT_PX, VIEW_SHIFT_PX + 1, (2,), generator=chance).tolist()
    ours, views = (networks.ask_teacher(x)[1] for x in (images, images.roll(shift, (2, 3))))
    with torch.no_grad():
        kept = networks.ask_teacher(earlier)[1] if earlier is not None else None
    return contrast_loss(ours, views, kept)


def step_(
    optimiser: torch.optim.Optimizer,
    loss: Tensor,
    parameters: list[Tensor],
    gradient: Tensor | None = None,
) -> None:
    """One step from gradients of these parameters alone: none are worked out for teacher and student.

    gradient  of what is minimised, by `loss`, where that is not a scalar: images, say
    """
    optimiser.zero_grad()
    # gradients that are assigned may lie otherwise in memory than the parameters; fused optimisers read both in one order
    loss.backward(gradient, inputs=parameters)
    optimiser.step()
