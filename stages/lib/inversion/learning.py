"""How a generator learns: its losses, put to teacher and student, and a step that makes their sum smaller."""

from contextlib import ExitStack
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.lib.inversion.losses import (
    activation_loss,
    agreed_divergence_loss,
    class_balance_loss,
    difference_loss,
    disagreement_loss,
    one_hot_loss,
    released_disagreement_loss,
)
from stages.lib.inversion.networks import Networks
from stages.lib.inversion.objective import Objective
from stages.lib.inversion.statistics import BatchNormStatistics

ADVERSARIES = {
    "difference": difference_loss,
    "agreed": agreed_divergence_loss,
    "released": released_disagreement_loss,
    "fixed": disagreement_loss,
}


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What the teacher says of a batch: logits (n, classes) and features (n, width), both with gradients."""

    logits: Tensor
    features: Tensor


def generator_loss(
    images: Tensor, networks: Networks, objective: Objective, labels: Tensor | None = None
) -> tuple[Tensor, Answers]:
    """The loss of images that gradients flow to.

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
    return torch.stack(parts).sum(), Answers(logits=logits, features=features)


def step_(
    optimiser: torch.optim.Optimizer,
    loss: Tensor,
    parameters: list[Tensor],
    gradient: Tensor | None = None,
) -> None:
    """One step from gradients of these parameters alone: none are worked out for teacher and student.

    gradient  of what is minimised, by `loss`, where that is not a scalar: images, say
    """
    for parameter, found in zip(parameters, torch.autograd.grad(loss, parameters, gradient), strict=True):
        parameter.grad = found
    optimiser.step()
