"""Pruning a network of a user's own, and every arm of the study, on a task that is quick to learn."""

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stages.lib.core.errors import InputError
from stages.lib.training.evaluate import restricted
from stages.pruning import prune_for_classes
from stages.pruning.channels import ChannelPruner
from stages.pruning.config import ABLATIONS, ARMS, StudyConfig
from stages.pruning.network import layers_of
from stages.pruning.pruning import Tuning, prune
from stages.pruning.recipes import recipe_of

CPU = torch.device("cpu")


class Owned(nn.Module):
    """Not a network of ours: a branch, a strided stem, one hidden linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 24, 3, stride=2, padding=1), nn.BatchNorm2d(24), nn.ReLU())
        self.left = nn.Sequential(nn.Conv2d(24, 40, 3, padding=1), nn.BatchNorm2d(40), nn.ReLU())
        self.right = nn.Conv2d(24, 40, 1)
        self.hidden = nn.Linear(40, 48)
        self.head = nn.Linear(48, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = torch.relu(self.left(x) + self.right(x)).mean((2, 3))
        return self.head(torch.relu(self.hidden(x)))


def pictures(n: int, classes: list[int], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Stripes of six directions on noise."""
    chance = torch.Generator().manual_seed(seed)
    labels = torch.tensor(classes)[torch.randint(len(classes), (n,), generator=chance)]
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    angle = labels * torch.pi / 6
    phase = 6.28 * torch.rand(n, generator=chance)
    wave = torch.sin(
        1.3 * (x * torch.cos(angle)[:, None, None] + y * torch.sin(angle)[:, None, None])
        + phase[:, None, None]
    )
    return (wave + 0.5 * torch.randn(wave.shape, generator=chance))[:, None], labels


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    torch.manual_seed(0)
    model, (images, labels) = Owned(), pictures(1500, list(range(6)), 0)
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(200):
        rows = slice(64 * step % 1400, 64 * step % 1400 + 64)
        optimiser.zero_grad()
        F.cross_entropy(model(images[rows]), labels[rows]).backward()
        optimiser.step()
    return model.eval()


@torch.no_grad()
def right(model: nn.Module, classes: list[int]) -> float:
    images, labels = pictures(600, classes, 9)
    return float((model(images).argmax(1) == labels).float().mean())


def test_one_call_prunes_a_network_that_nobody_here_has_seen(trained):
    classes = [1, 4]
    images, labels = pictures(512, classes, 1)
    before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    found = prune_for_classes(trained, images, labels, sparsity=0.85)
    assert found.sparsity == pytest.approx(0.85, abs=0.02)
    assert right(found.model, classes) > 0.95
    assert found.layers["stem.0"] == 0  # stays dense, and is said to
    assert min(share for name, share in found.layers.items() if name != "stem.0") >= 0.5
    assert found.work < 0.4
    fast = found.packed()
    # a head of 6 outputs would fill blocks of 16 rows with zeros
    assert fast.sparse == ["left.0", "right", "hidden"]
    assert fast.dense == ["stem.0", "head"]
    with torch.inference_mode():
        wanted = found.model(images[:50])
    assert (fast(images[:50]) - wanted).abs().max() < 1e-4 * wanted.abs().max()
    for name, tensor in trained.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_what_cannot_be_pruned_is_told(trained):
    images, labels = pictures(20, [0, 1], 0)
    with pytest.raises(InputError, match="20 images and 19 labels"):
        prune_for_classes(trained, images, labels[:19], sparsity=0.9)
    with pytest.raises(InputError, match=r"0\.3 cannot be had with 2:4"):
        prune_for_classes(trained, images, labels, sparsity=0.3)
    with pytest.raises(InputError, match="no convolution or linear layer"):
        prune_for_classes(nn.Flatten(), images, labels, sparsity=0.9)


@pytest.mark.parametrize("arm", ARMS + ABLATIONS)
def test_every_arm_reaches_its_sparsity_and_the_same_seed_the_same_weights(trained, arm):
    images, labels = pictures(256, [0, 3], 2)
    others = pictures(256, [1, 2], 3)
    tuning = Tuning(rounds=2, epochs_per_round=1, last_epochs=1, seed=4)
    recipe = recipe_of(arm, 0.75, StudyConfig())

    def run() -> nn.Module:
        found = prune(copy.deepcopy(trained), images, labels, recipe, 0.75, tuning, device=CPU, others=others)
        # groups of 16 that the input channels do not fill keep 4 of fewer
        assert found.sparsity == pytest.approx(0.75, abs=0.1 if arm == "n_m" else 0.05)
        if arm != "channel":
            zeros = sum(int((m.weight == 0).sum()) for m in layers_of(found.model).modules.values())
            assert zeros / layers_of(found.model).weights == pytest.approx(found.sparsity, abs=1e-3)
        return found.model

    first, again = run().state_dict(), run().state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())


def test_regrowth_gives_other_weights_than_masks_that_stay(trained):
    images, labels = pictures(256, [0, 3], 2)
    tuning = Tuning(rounds=3, epochs_per_round=2, last_epochs=1, learning_rate=0.05)
    kept = {}
    for arm in ("hybrid", "hybrid_sr_ste"):
        found = prune(
            copy.deepcopy(trained),
            images,
            labels,
            recipe_of(arm, 0.8, StudyConfig()),
            0.8,
            tuning,
            device=CPU,
        )
        kept[arm] = found.masks.weights
        grown = [
            bool((new.weights[name] & ~old.weights[name]).any())
            for old, new in pairwise(found.history)
            for name in new.weights
        ]
        assert any(grown) == (arm == "hybrid_sr_ste")
    assert any(not torch.equal(mask, kept["hybrid"][name]) for name, mask in kept["hybrid_sr_ste"].items())


def test_removed_channels_leave_a_smaller_network_that_still_runs(trained):
    images, labels = pictures(256, [0, 3], 2)
    found = prune(
        copy.deepcopy(trained), images, labels, recipe_of("channel", 0.7, StudyConfig()), 0.7,
        Tuning(rounds=2, epochs_per_round=1, last_epochs=1), device=CPU,
    )  # fmt: skip
    assert found.model.left[0].out_channels < 40
    assert (
        found.model.left[0].out_channels == found.model.right.out_channels == found.model.hidden.in_features
    )
    assert found.model(images[:3]).shape == (3, 6)


def test_removed_channels_leave_every_layer_a_sixteenth_however_much_is_asked_for():
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 64, 3, padding=1), nn.ReLU(),
        nn.Conv2d(64, 32, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 6),
    )  # fmt: skip
    pruner = ChannelPruner(model, torch.zeros(1, 1, 16, 16))
    whole, widths = layers_of(model).weights, []
    for share in (0.3, 0.0):  # over two rounds: the floor is one of the whole network
        gradients = {
            name: torch.ones_like(module.weight) for name, module in layers_of(model).modules.items()
        }
        # one channel of the layer in the middle counts: without a floor it alone would be left
        gradients["2"][1:] = 1e-3
        gradients["4"][:, 1:] = 1e-3
        pruner.shrink(gradients, keep=int(share * whole))
        widths.append([module.weight.shape[0] for module in layers_of(model).modules.values()])
        assert model(torch.zeros(2, 1, 16, 16)).shape == (2, 6)
    assert layers_of(model).weights < 0.3 * whole
    assert widths[0][1] < 24
    assert all(left >= floor for left, floor in zip(widths[1], (1, 4, 2, 6), strict=True))
    assert widths[1][1] == 4


def test_answers_among_the_users_classes_alone():
    logits = torch.tensor([[9.0, 1, 2, 3], [0.0, 5, 1, 9]])
    assert restricted(logits, (1, 2)).argmax(1).tolist() == [2, 1]
    assert np.isneginf(restricted(logits, (1, 2))[:, [0, 3]].numpy()).all()
