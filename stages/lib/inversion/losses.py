"""Losses of generators that make images for a teacher. Each gives a scalar to be
minimised; all take logits (n, classes), but for the contrast.

Sources: DAFL (Chen et al. 2019), DFAD (Fang et al. 2019), CMI (Fang et al. 2021), PRE-DFKD (Binici et al. 2022, its notes
section 2.1 and 4). DAFL and PRE write the balance of classes with logarithms of different bases; both are here.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

PRE_TEMPERATURE = 3.0
RELEASED_CLAMP = (0.01, 0.99)
CONTRAST_TEMPERATURE = 0.2


def one_hot_loss(teacher: Tensor) -> Tensor:
    """L_oh = CE(o, argmax o): each image is to be of one class for sure (DAFL eq. 3)."""
    return F.cross_entropy(teacher, teacher.argmax(1))


def class_balance_loss(teacher: Tensor, *, base: float = math.e) -> Tensor:
    """L_ie = sum_c p_c log p_c, p the mean of the batch's softmax: least where all classes are as likely (DAFL eq. 5).

    base  10 in PRE-DFKD, e in DAFL
    """
    p = teacher.softmax(1).mean(0)
    return torch.special.entr(p).sum().neg() / math.log(base)


def activation_loss(features: Tensor) -> Tensor:
    """L_act = -mean |f| of the teacher's features (n, width) behind its last convolution (DAFL eq. 4)."""
    return -features.abs().mean()


def released_disagreement_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """L_dis as PRE-DFKD's public code has it: 1 - clamp(KL(M || P) / 2 + KL(M || Q) / 2, 0, 1), P and Q at temperature 3.

    Probabilities are clamped to [0.01, 0.99] and the divergence is a mean over classes: with 100 classes the even
    distribution lies on the clamp, and nothing flows back (claim P7).
    """
    p, q = ((logits / PRE_TEMPERATURE).softmax(1).clamp(*RELEASED_CLAMP) for logits in (teacher, student))
    middle = ((p + q) / 2).clamp(*RELEASED_CLAMP)
    # of M from P and from Q, and divided by the number of classes, too
    divergence = (middle * (2 * middle.log() - p.log() - q.log())).mean() / 2
    return 1 - divergence.clamp(0, 1)


def disagreement_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - JS(P, Q) / ln 2, the true Jensen-Shannon divergence, summed over classes: 1 where both agree, 0 at the most."""
    p, q = ((logits / PRE_TEMPERATURE).log_softmax(1) for logits in (teacher, student))
    middle = torch.logaddexp(p, q) - math.log(2)
    divergence = sum(F.kl_div(middle, one, reduction="batchmean", log_target=True) for one in (p, q)) / 2
    return 1 - divergence / math.log(2)


def difference_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """-mean |S - T| of logits: images on which the student is wrong (DFAD eq. 4)."""
    return -F.l1_loss(student, teacher)


def agreed_divergence_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """-KL(T || S) on the images that both give the same class (CMI eq. 9; its code, and Fast-Datafree's)."""
    agreed = student.argmax(1) == teacher.argmax(1)
    divergence = F.kl_div(student.log_softmax(1), teacher.log_softmax(1), reduction="none", log_target=True)
    return -(divergence.sum(1) * agreed).mean()


def contrast_loss(images: Tensor, views: Tensor, others: Tensor | None) -> Tensor:
    """Each image is to be told by another view of itself from all images, of this batch and of those before (CMI eq. 6).

    images, views, others  features (n, width) of the images, of their views, and (m, width) of earlier images
    """
    ours, keys = F.normalize(images, dim=1), F.normalize(views, dim=1)
    if others is not None:
        keys = torch.cat([keys, F.normalize(others, dim=1)])
    return F.cross_entropy(ours @ keys.T / CONTRAST_TEMPERATURE, torch.arange(len(ours), device=ours.device))
