"""Damaged checkpoints of every training loop: found out, and what goes on from the one before ends as if undisturbed."""

import shutil

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from stages.halo.evaluate_rows import is_whole
from stages.hands.config import CycleConfig
from stages.hands.planar import adversarial, cycle
from stages.lib.core.artifacts import write_arrays
from stages.lib.training import fit_language
from stages.lib.training.checkpoint import load_checkpoint
from stages.lib.training.fit import Schedule
from stages.replay.distillation import distil
from tests.unit.expansion import test_expansion
from tests.unit.hands.test_planar import TINY, sprites
from tests.unit.replay import test_replay
from tests.unit.training import test_fit

CPU = torch.device("cpu")


def teacher(state):
    chance = torch.Generator().manual_seed(0)
    images, labels = torch.randn(96, 1, 8, 8, generator=chance), torch.arange(96) % 2
    schedule = Schedule(epochs=3, batch_size=32, flip=True, shift_px=1, ema=0.9)
    return test_fit.run(((images, labels), (images, labels)), schedule, state)[0]


def student_without_data(state):
    networks = test_replay.networks()
    method = test_replay.small("pre")
    distil(networks, method, test_replay.CONFIG, seed=3, evaluate=lambda: 0.5, state=state)
    return networks.student


def student_of_expanded_set(state):
    return test_expansion.expanded("guided", state=state)[0].student


def language_model(state):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(20, 8), nn.Linear(8, 20))

    def loss_of(windows):
        return F.cross_entropy(model(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten())

    schedule = fit_language.LanguageSchedule(steps=5, batch_size=4, window=6, learning_rate=1e-2)
    text = torch.arange(200) % 20
    fit_language.fit_language_model(model, [text], loss_of, dict, schedule=schedule, seed=0, state=state)
    return model


def compositor(state):
    return adversarial.train_compositor(sprites(), TINY, seed=3, device=CPU, state=state)


def cycle_gan(state):
    frames = torch.rand(2, 6, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    config = CycleConfig(steps=4, batch_size=2, width=4)
    return cycle.train_cycle(frames[0], frames[1], config, seed=0, device=CPU, state=state)


LOOPS = [teacher, student_without_data, student_of_expanded_set, language_model, compositor, cycle_gan]


@pytest.fixture(scope="module", params=LOOPS, ids=lambda loop: loop.__name__)
def trained(request, tmp_path_factory):
    """A loop, the weights it ends with, and the folder of its last checkpoints."""
    state = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        for module in (adversarial, cycle, fit_language):
            patch.setattr(module, "CHECKPOINT_STEPS", 1)
        yield request.param, request.param(state).state_dict(), state


def damage(checkpoint, kind):
    content, digest = bytearray(checkpoint.read_bytes()), checkpoint.with_suffix(".sha256")
    if kind == "a flipped bit":
        content[len(content) // 2] ^= 1
        checkpoint.write_bytes(content)
    elif kind == "cut":
        checkpoint.write_bytes(content[: len(content) // 2])
    elif kind == "empty":
        checkpoint.write_bytes(b"")
    elif kind == "no digest":
        digest.unlink()
    else:
        digest.write_bytes(b"\xff" + digest.read_bytes()[1:])


def test_training_goes_on_from_the_checkpoint_before(trained, tmp_path):
    loop, weights, kept = trained
    state = tmp_path / "state"
    shutil.copytree(kept, state)
    before, newest = sorted(state.glob("*.pt"))
    for kind in ("a flipped bit", "cut", "empty", "no digest", "a damaged digest"):
        damage(newest, kind)
        assert load_checkpoint(state)[0] == int(before.stem), kind
        for name in (newest.name, newest.with_suffix(".sha256").name):
            shutil.copy(kept / name, state)
    damage(newest, "a flipped bit")
    again = loop(state).state_dict()
    assert load_checkpoint(state)[0] == int(newest.stem)  # written anew
    assert all(torch.equal(value, again[name]) for name, value in weights.items())


def test_training_starts_anew_where_both_are_damaged(tmp_path):
    weights = teacher(tmp_path).state_dict()
    for checkpoint in tmp_path.glob("*.pt"):
        damage(checkpoint, "cut")
    assert load_checkpoint(tmp_path) is None
    again = teacher(tmp_path).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in weights.items())


@pytest.mark.parametrize("kind", ["a flipped bit", "cut", "empty"])
def test_a_damaged_row_of_a_quantised_language_model_is_made_again(tmp_path, kind):
    file = tmp_path / "row.npz"
    write_arrays(file, {"bits": np.float64(4), "losses": np.linspace(0, 1, 100)})
    assert is_whole(file)
    damage(file, kind)
    assert not is_whole(file)
    assert not is_whole(tmp_path / "none.npz")
