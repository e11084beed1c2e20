"""Losses of generators against SciPy and closed forms, statistics of batch norms, and the pool against a deque."""

import math
from collections import deque

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy
from torch import nn

from stages.lib.inversion.losses import (
    activation_loss,
    agreed_divergence_loss,
    class_balance_loss,
    difference_loss,
    disagreement_loss,
    one_hot_loss,
    released_disagreement_loss,
)
from stages.lib.inversion.pool import ImagePool
from stages.lib.inversion.statistics import BatchNormStatistics


@pytest.fixture
def logits():
    chance = torch.Generator().manual_seed(0)
    return (3 * torch.randn(40, 10, generator=chance) for _ in range(2))


def softmax(x, temperature=1.0):
    e = np.exp((x - x.max(1, keepdims=True)) / temperature)
    return e / e.sum(1, keepdims=True)


def test_true_disagreement_is_one_less_the_jensen_shannon_divergence(logits):
    student, teacher = logits
    p, q = softmax(teacher.double().numpy(), 3), softmax(student.double().numpy(), 3)
    wanted = 1 - np.mean([jensenshannon(a, b, base=2) ** 2 for a, b in zip(p, q, strict=True)])
    assert float(disagreement_loss(student, teacher)) == pytest.approx(wanted, rel=1e-5)
    assert float(disagreement_loss(teacher, teacher)) == pytest.approx(1, abs=1e-6)


def test_released_disagreement_is_clamped_and_divided_by_classes(logits):
    student, teacher = logits
    p, q = (np.clip(softmax(x.double().numpy(), 3), 0.01, 0.99) for x in (teacher, student))
    middle = np.clip((p + q) / 2, 0.01, 0.99)
    # KL(M || P) summed over classes and averaged over batch times classes
    wanted = (
        1 - (0.5 * (middle * np.log(middle / p)).sum() + 0.5 * (middle * np.log(middle / q)).sum()) / p.size
    )
    assert float(released_disagreement_loss(student, teacher)) == pytest.approx(wanted, rel=1e-5)


def test_divergence_counts_where_both_agree(logits):
    student, teacher = logits
    p, q = softmax(teacher.double().numpy()), softmax(student.double().numpy())
    agreed = p.argmax(1) == q.argmax(1)
    wanted = -sum(entropy(p[i], q[i]) for i in np.flatnonzero(agreed)) / len(p)
    assert float(agreed_divergence_loss(student, teacher)) == pytest.approx(wanted, rel=1e-4)


def test_balance_is_least_where_all_classes_are_as_likely():
    even = torch.eye(10) * 100
    assert float(class_balance_loss(even)) == pytest.approx(-math.log(10), rel=1e-5)
    assert float(class_balance_loss(even, base=10)) == pytest.approx(-1, rel=1e-5)
    one = torch.zeros(10, 10)
    one[:, 3] = 100
    assert float(class_balance_loss(one)) == pytest.approx(0, abs=1e-6)


def test_simple_losses_in_numpy(logits):
    student, teacher = logits
    p = softmax(teacher.double().numpy())
    assert float(one_hot_loss(teacher)) == pytest.approx(-np.log(p.max(1)).mean(), rel=1e-5)
    assert float(activation_loss(teacher)) == pytest.approx(-np.abs(teacher.numpy()).mean(), rel=1e-5)
    wanted = -np.abs(student.numpy() - teacher.numpy()).mean()
    assert float(difference_loss(student, teacher)) == pytest.approx(wanted, rel=1e-5)


def test_statistics_are_those_of_the_batch_less_those_that_were_kept():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)).eval()
    for norm in (net[1], net[3]):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    x = torch.randn(6, 1, 8, 8)
    with BatchNormStatistics(net) as matched:
        with torch.no_grad():
            net(x)  # without gradients: not counted
        net(x)
        found = float(matched.take().detach())
    first = net[0](x).detach().numpy()
    second = net[2](net[1](net[0](x))).detach().numpy()
    wanted = sum(
        np.linalg.norm(y.mean((0, 2, 3)) - norm.running_mean.numpy())
        + np.linalg.norm(y.var((0, 2, 3)) - norm.running_var.numpy())
        for y, norm in ((first, net[1]), (second, net[3]))
    )
    assert found == pytest.approx(wanted, rel=1e-4)
    assert not net[1]._forward_hooks
    with pytest.raises(ValueError, match="no batch norms"):
        BatchNormStatistics(nn.Linear(2, 2))


def test_the_pool_keeps_the_newest():
    pool, wanted = ImagePool(7), deque(maxlen=7)
    with pytest.raises(ValueError, match="empty"):
        pool.draw(1)
    for start, n in ((0, 3), (3, 3), (6, 5), (11, 20), (31, 1)):
        images = torch.arange(start, start + n, dtype=torch.float32).view(n, 1, 1, 1)
        pool.add(images)
        wanted.extend(range(start, start + n))
        drawn = set(pool.draw(500, generator=torch.Generator().manual_seed(0)).flatten().tolist())
        assert drawn == set(wanted)
        assert (len(pool), pool.bytes) == (len(wanted), 4 * len(wanted))
