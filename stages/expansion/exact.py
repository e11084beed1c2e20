"""Claim E11: guided inversion whose guide has no weight is the host's own, bit for bit."""

from dataclasses import replace

import torch

from stages.expansion.arms import ARMS, HOSTS
from stages.expansion.config import ExpansionConfig
from stages.expansion.expansion import expand
from stages.expansion.guidance import CondensedSet
from stages.lib.inversion.networks import Networks
from stages.lib.nets.lenet import LeNet5

SIZE, CLASSES = 28, 10


def guided_parameters_that_differ() -> int:
    """Values of generator, student and pool that differ between a host alone and the same with each guide at a weight of
    0, over all hosts: two rounds, small networks, no condensed images for the student."""
    differ = 0
    for host in HOSTS:
        alone = _outcome(host, "inversion-only")
        for arm in ("guided", "guided-unconditional", "guided-moments"):
            pairs = zip(alone, _outcome(host, arm), strict=True)
            differ += sum(int((ours != theirs).sum()) for ours, theirs in pairs)
    return differ


def _outcome(host: str, arm: str) -> list[torch.Tensor]:
    config = ExpansionConfig(
        host=host,
        rounds=2,
        inversion_steps=2,
        images_a_round=2 * CLASSES,
        student_steps=2,
        batch_size=16,
        width=4,
        guidance=0.0,
        moment_guidance=0.0,
    )
    torch.manual_seed(0)
    networks = Networks(
        teacher=LeNet5(batch_norm=True),
        student=LeNet5(batch_norm=True, width_divisor=2),
        channels=1,
        size=SIZE,
        device=torch.device("cpu"),
    )
    chance = torch.Generator().manual_seed(0)
    given = CondensedSet(
        torch.randn(CLASSES, 1, SIZE, SIZE, generator=chance), torch.arange(CLASSES), CLASSES
    )
    done = expand(
        networks,
        given,
        replace(ARMS[arm], condensed=False),
        config,
        seed=0,
        evaluate=lambda: 0.0,
        stored=lambda images: images,
    )
    return [*done.generator.parameters(), *networks.student.parameters(), done.pool.images]
