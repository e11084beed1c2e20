"""Training: laws of its parts, and a resumed run that equals an undisturbed one."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.lib.nets.build import build
from stages.lib.training.checkpoint import load_checkpoint, save_checkpoint
from stages.lib.training.fit import Schedule, distil, distillation_loss, fit, learning_rate, update_average_
from stages.lib.training.images import augment, black, normalise

CPU = torch.device("cpu")


@pytest.fixture
def task():
    """Two classes that the mean brightness tells apart: (images, labels), (held-out images, labels)."""
    chance = torch.Generator().manual_seed(0)
    labels = torch.arange(320) % 2
    images = torch.randn(320, 1, 8, 8, generator=chance) * 0.5 + labels[:, None, None, None]
    return (images[:256], labels[:256]), (images[256:], labels[256:])


def run(task, schedule, state=None, seed=0):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = build("convnet.ConvBN", {"channels": 1, "classes": 2, "width": 4})
    (images, labels), held_out = task
    return fit(model, images, labels, held_out, schedule=schedule, fill=torch.zeros(1), seed=seed, device=CPU,
               state=state)  # fmt: skip


def digest(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize(
    "options",
    [{}, {"ema": 0.9}, {"optimiser": "adamw", "learning_rate": 0.02, "weight_decay": 0.05}],
    ids=["sgd", "averaged", "adamw"],
)
def test_a_run_resumed_after_every_epoch_equals_an_undisturbed_one(task, tmp_path, options):
    schedule = Schedule(epochs=4, batch_size=64, flip=True, shift_px=1, **options)
    whole, curve = run(task, schedule)
    assert curve[-1].held_out_accuracy > 0.9
    run(task, schedule, tmp_path)
    newest = sorted(tmp_path.glob("*.pt"))[-1]
    newest.unlink()  # as if killed in the last epoch
    resumed, resumed_curve = run(task, schedule, tmp_path)
    assert resumed_curve == curve
    for name, tensor in digest(whole).items():
        assert torch.equal(tensor, digest(resumed)[name]), name


def test_a_damaged_checkpoint_is_passed_over(tmp_path):
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, {"weights": torch.full((4,), float(step))})
    assert load_checkpoint(tmp_path)[0] == 3
    assert len(list(tmp_path.glob("*.pt"))) == 2
    newest = sorted(tmp_path.glob("*.pt"))[-1]
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    step, state = load_checkpoint(tmp_path)
    assert step == 2
    assert torch.equal(state["weights"], torch.full((4,), 2.0))


def test_seeds_decide_the_weights(task):
    schedule = Schedule(epochs=1, batch_size=64)
    first, again, other = (run(task, schedule, seed=seed)[0] for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(digest(first).values(), digest(again).values(), strict=True))
    assert not torch.equal(first.head.weight, other.head.weight)


def test_the_learning_rate_rises_and_falls():
    schedule = Schedule(epochs=1, learning_rate=1.0, warm_up=0.25)
    rates = [learning_rate(step, 100, schedule) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == rates[25] == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.02, abs=0.02)
    assert np.all(np.diff(rates[:26]) > 0)
    assert np.all(np.diff(rates[25:]) < 0)


def test_the_average_is_the_exponential_one():
    model, average = torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(average.weight)
    values = [1.0, -2.0, 5.0]
    for value in values:
        torch.nn.init.constant_(model.weight, value)
        update_average_(average, model, 0.5)
    assert average.weight.item() == pytest.approx(sum(v * 0.5 ** (3 - i) for i, v in enumerate(values)))


def test_distillation_follows_the_teacher():
    torch.manual_seed(0)
    teacher, student = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
    batches = iter(torch.randn(300, 32, 4))
    optimiser = torch.optim.Adam(student.parameters(), 0.05)
    # a linear layer has no layout of channels: give it images of one pixel
    wrap = torch.nn.Sequential
    losses = list(
        distil(
            wrap(torch.nn.Flatten(), student),
            wrap(torch.nn.Flatten(), teacher),
            (b[:, :, None, None] for b in batches),
            optimiser=optimiser,
            temperature=4.0,
            device=CPU,
            bf16=False,
        )
    )
    assert losses[-1] < 1e-3 * losses[0]


@given(st.floats(0.5, 20))
@settings(max_examples=20, deadline=None)
def test_the_distillation_loss_is_hintons(temperature):
    student, teacher = torch.randn(5, 7).double(), torch.randn(5, 7).double()
    p, q = (teacher / temperature).softmax(1), (student / temperature).softmax(1)
    wanted = (p * (p / q).log()).sum(1).mean() * temperature**2
    given_loss = distillation_loss(student, teacher, temperature=temperature)
    assert given_loss.item() == pytest.approx(wanted.item(), rel=1e-4, abs=1e-6)


def test_augmentation_moves_pixels_and_brings_in_black():
    images = normalise(np.full((64, 4, 4, 1), 200, np.uint8), (0.5,), (0.25,))
    chance = torch.Generator().manual_seed(0)
    shifted = augment(images, flip=True, shift_px=2, fill=black((0.5,), (0.25,)), generator=chance)
    bright, dark = (200 / 255 - 0.5) / 0.25, -2.0
    assert sorted(shifted.unique().tolist()) == pytest.approx([dark, bright])
    kept = (shifted == images[0, 0, 0, 0]).sum((1, 2, 3))
    # a shift by (a, b) of at most 2 of 4 pixels keeps (4 - |a|) (4 - |b|) of them
    assert set(kept.tolist()) == {(4 - a) * (4 - b) for a in range(3) for b in range(3)}
