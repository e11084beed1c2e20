"""The one loop: what is paired, resumed, rehearsed and counted, on a tiny teacher and student."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from stages.lib.core.measurements import over_cases
from stages.lib.inversion.learning import generator_loss
from stages.lib.inversion.networks import Networks
from stages.lib.nets.generator import VAE, Generator
from stages.lib.nets.lenet import LeNet5
from stages.lib.training.checkpoint import load_checkpoint
from stages.replay.config import DistilConfig
from stages.replay.distillation import distil
from stages.replay.exact import disagreement_gradients, largest_latent_of, vae_megabytes
from stages.replay.labels import kept_under_noise
from stages.replay.measure_replay import kept_bytes
from stages.replay.memories import balanced_codes, bytes_of, reconstruction_loss
from stages.replay.methods import METHODS
from stages.replay.reference_loop import reference_steps
from stages.replay.stability import stability

CPU = torch.device("cpu")
CONFIG = DistilConfig(
    iterations=4, evaluations=2, batch_size=16, noise=8, width=4, memory_width=4, bank_images=40, banked_a_round=8,
    pool_images=40,
)  # fmt: skip


def networks(*, batch_norm: bool = True, bf16: bool = False) -> Networks:
    torch.manual_seed(0)
    teacher, student = LeNet5(batch_norm=batch_norm), LeNet5(width_divisor=2)
    return Networks(teacher=teacher, student=student, channels=1, size=28, device=CPU, bf16=bf16)


def small(name: str):
    return replace(METHODS[name], student_steps=2, inversion_steps=2)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_the_student_and_nothing_else(name):
    net = networks()
    before = {k: v.clone() for k, v in net.teacher.state_dict().items()}
    student = [p.detach().clone() for p in net.student.parameters()]
    real = torch.randn(50, 1, 28, 28)
    done = distil(net, small(name), CONFIG, seed=0, evaluate=lambda: 0.5, real=real)
    assert all(torch.equal(v, before[k]) for k, v in net.teacher.state_dict().items())
    assert all(p.grad is None for p in net.teacher.parameters())
    assert not any(torch.equal(a, b) for a, b in zip(student, net.student.parameters(), strict=True))
    assert [point.iteration for point in done.curve] == [2, 4]
    rehearses = METHODS[name].memory != "none"
    assert (done.memory.bytes > 0) == rehearses
    assert np.isfinite(done.curve[-1].rehearsed_entropy) == rehearses


@pytest.mark.parametrize("name", ["pre", "mb", "mad", "cmi-lite", "untrained"])
def test_a_resumed_run_equals_an_undisturbed_one(name, tmp_path):
    ends = []
    for state, stops in ((tmp_path / "once", False), (tmp_path / "twice", True)):
        net = networks()
        if stops:

            def killed(state=state) -> float:
                if load_checkpoint(state) is not None:
                    raise KeyboardInterrupt
                return 0.5

            with pytest.raises(KeyboardInterrupt):
                distil(networks(), small(name), CONFIG, seed=3, evaluate=killed, state=state)
        done = distil(net, small(name), CONFIG, seed=3, evaluate=lambda: 0.5, state=state)
        ends.append((net.student.state_dict(), done.curve))
    assert all(torch.equal(v, ends[1][0][k]) for k, v in ends[0][0].items())
    assert [p.student_loss for p in ends[0][1]] == [p.student_loss for p in ends[1][1]]


def test_methods_of_one_seed_start_alike_and_see_the_same_codes():
    first = []
    for name in ("pre-none", "pre"):
        net = networks()
        seen = []
        net.images = lambda generator, codes, seen=seen, old=net.images: (
            seen.append(codes),
            old(generator, codes),
        )[1]
        distil(net, small(name), CONFIG, seed=1, evaluate=lambda: 0.0)
        first.append([codes for codes in seen if len(codes) == CONFIG.batch_size])
    assert all(torch.equal(a, b) for a, b in zip(*first, strict=True))


def test_balanced_codes_take_adams_first_step():
    net = networks()
    decoder = Generator(1, 28, 8, 4)
    codes = torch.randn(12, 8)
    found = balanced_codes(codes.clone(), decoder, net, rate=0.05)
    ours = codes.clone().requires_grad_()
    optimiser = torch.optim.Adam([ours], 0.05)
    logits, _ = net.ask_teacher(net.images(decoder, ours))
    p = logits.softmax(1).mean(0)
    loss = 5 * (p * p.log10()).sum() + F.cross_entropy(logits, logits.argmax(1))
    loss = loss + F.mse_loss(ours.var(0), torch.ones(8)) + F.mse_loss(ours.mean(0), torch.zeros(8))
    loss.backward()
    optimiser.step()
    torch.testing.assert_close(found, ours.detach(), rtol=0, atol=1e-5)


def test_reconstruction_loss_adds_its_three_parts():
    net, vae = networks(), VAE(1, 28, 8, 4).eval()
    images, noise = torch.randn(6, 1, 28, 28), torch.randn(6, 8)
    rebuilt, mean, log_variance = vae(images, noise)
    logits = net.teacher(images)
    prior = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, (0.5 * log_variance).exp()), torch.distributions.Normal(0.0, 1.0)
    ).sum(1).mean()  # fmt: skip
    pixels = (rebuilt - images).abs().mean() + 1e-5 * prior
    response = (net.teacher(rebuilt) - logits).abs().mean()
    for answers, wanted in ((False, pixels), (True, pixels + response)):
        found = reconstruction_loss(images, logits, vae, net, noise, teacher_response=answers)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def test_the_generators_loss_reaches_it_through_both_networks():
    net = networks()
    images = torch.randn(8, 1, 28, 28, requires_grad=True)
    for name in ("pre", "dafl", "dfad", "dfq", "cmi-lite"):
        loss, _ = generator_loss(images, net, METHODS[name])
        (gradient,) = torch.autograd.grad(loss, [images])
        assert gradient.abs().sum() > 0, name


def test_sizes_are_those_of_the_released_networks():
    vae = VAE(3, 32, 1000, 64)
    parameters = [sum(p.numel() for p in part.parameters()) for part in (vae.decoder, vae.encoder)]
    # 8.42 M and 4.32 M (notes, section 6)
    assert [round(n / 1e6, 2) for n in parameters] == [8.42, 4.32]
    assert vae_megabytes() == pytest.approx(4 * sum(parameters) / 1e6, rel=1e-3)
    latent = largest_latent_of(2.1)
    assert vae_megabytes(latent) <= 2.1 < vae_megabytes(latent + 1)
    assert bytes_of(torch.nn.Linear(3, 2)) == 4 * 8


def test_the_released_loss_has_next_to_no_gradient_for_a_hundred_classes():
    hundred, ten = disagreement_gradients(100), disagreement_gradients(10)
    assert hundred["released"] / hundred["fixed"] < 0.1 * ten["released"] / ten["fixed"]


def test_labels_under_no_noise_and_under_nothing_but_noise():
    net = networks()
    images = torch.randn(64, 1, 28, 28)
    none, some, much = kept_under_noise(
        images, net, (0.0, 0.5, 50.0), chance=torch.Generator().manual_seed(0)
    )
    assert none == 1
    assert some >= much


def test_the_reference_loop_of_the_benchmark_trains_the_student_too():
    torch.manual_seed(0)
    teacher, student = LeNet5(), LeNet5(width_divisor=2)
    before = [p.detach().clone() for p in student.parameters()]
    steps = reference_steps(teacher, student, small("pre"), CONFIG, channels=1, size=28)
    next(steps), next(steps)
    assert not any(torch.equal(a, b) for a, b in zip(before, student.parameters(), strict=True))


def test_stability_of_a_known_curve():
    found = stability([0.1, 0.5, 0.4, 0.6, 0.3, 0.7])
    assert found["mean"] == pytest.approx(2.6 / 6)
    assert found["std"] == pytest.approx(np.std([0.1, 0.5, 0.4, 0.6, 0.3, 0.7], ddof=1))
    assert found["variance"] == pytest.approx(found["std"] ** 2)
    assert (found["max"], found["last"]) == (0.7, 0.7)
    assert found["drawdown"] == pytest.approx(0.3)
    assert found["drawdown_second_half"] == pytest.approx(0.3)
    assert found["below_best"] == pytest.approx((0.1 + 0.3) / 6)
    assert found["mean_second_half"] == pytest.approx(1.6 / 3)
    with pytest.raises(ValueError, match="no evaluations"):
        stability([])


def test_seeds_are_samples_and_are_drawn_anew():
    index = pd.MultiIndex.from_product([["a", "b"], ["t"], [0, 1, 2]], names=["study", "teacher", "seed"])
    found = over_cases("P1", pd.Series([1.0, 2, 3, 3, 4, 5], index=index), unit="1", n=6, controls={})
    assert [s.value for s in found.samples] == [2, 3, 4]
    assert found.value == 3
    assert min(found.resamples) >= 2
    assert max(found.resamples) <= 4


def test_a_vae_keeps_its_bytes_and_a_bank_grows_to_its_cap():
    def curve(method, kept):
        return pd.DataFrame(
            {"study": "s", "teacher": "t", "method": method, "seed": 0, "iteration": range(len(kept)),
             "memory_bytes": kept}
        )  # fmt: skip

    good = pd.concat([curve("pre", [5, 5, 5]), curve("mb", [1, 2, 3, 3]), curve("pre-none", [0, 0])])
    assert (kept_bytes(good).value, kept_bytes(good).n) == (0, 2)
    assert kept_bytes(pd.concat([curve("pre", [5, 6]), curve("mb", [2, 1, 3])])).value == 2
