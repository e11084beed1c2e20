"""PRE-DFKD's loop in the structure of its public code, rebuilt from the specification: what bench_replay compares with.

float32 in the default layout; the teacher keeps its gradients; every student step makes images and answers of its own;
the VAE's step decodes memory images and asks the teacher once more. Losses are those of the stage.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F

from stages.lib.inversion.losses import (
    activation_loss,
    class_balance_loss,
    one_hot_loss,
    released_disagreement_loss,
)
from stages.lib.nets.generator import VAE, Generator
from stages.lib.nets.layers import Classifier
from stages.replay.config import DistilConfig
from stages.replay.memories import PRIOR_WEIGHT
from stages.replay.methods import Method


def reference_steps(
    teacher: Classifier,
    student: Classifier,
    method: Method,
    config: DistilConfig,
    *,
    channels: int,
    size: int,
) -> Iterator[None]:
    """One outer iteration each time it is asked, for a method with the VAE's memory or none."""
    generator = Generator(channels, size, config.noise, config.width, spectral_norm=config.spectral_norm)
    vae = VAE(channels, size, config.noise, config.memory_width)
    of_generator = torch.optim.Adam(generator.parameters(), config.generator_rate)
    of_vae = torch.optim.Adam(vae.parameters(), config.memory_rate)
    of_student = torch.optim.Adam(student.parameters(), config.student_rate)
    teacher.eval().requires_grad_(True)
    n, replayed, first = config.batch_size, max(1, round(method.replay * config.batch_size)), True
    while True:
        images = generator(torch.randn(n, config.noise))
        features = teacher.features(images)
        logits = teacher.head(features)
        student.eval()
        loss = (
            method.one_hot * one_hot_loss(logits)
            + method.balance * class_balance_loss(logits, base=10)
            + method.activation * activation_loss(features)
            + released_disagreement_loss(student(images), logits)
        )
        of_generator.zero_grad()
        loss.backward()
        of_generator.step()
        for k in range(method.student_steps):
            batch = [generator(torch.randn(n, config.noise)).detach()]
            if method.memory == "vae" and not first:
                codes = torch.randn(replayed, config.noise, requires_grad=True)
                of_codes = torch.optim.Adam([codes], config.generator_rate)
                answers = teacher(vae.decoder(codes))
                spread = (codes.var(0) - 1).square().mean() + codes.mean(0).square().mean()
                balance = 5 * class_balance_loss(answers, base=10) + one_hot_loss(answers) + spread
                of_codes.zero_grad()
                balance.backward()
                of_codes.step()
                batch.append(vae.decoder(codes).detach())
            together = torch.cat(batch)
            student.train()
            wanted = teacher(together).detach()
            loss = F.l1_loss(student(together), wanted)
            of_student.zero_grad()
            loss.backward()
            of_student.step()
            if method.memory == "vae" and k < config.memory_updates:
                seen = batch[0][: n // 2]
                if not first:
                    seen = torch.cat([seen, vae.decoder(torch.randn(replayed, config.noise)).detach()])
                rebuilt, mean, log_variance = vae(seen, torch.randn(len(seen), config.noise))
                prior = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(1).mean()
                loss = F.l1_loss(rebuilt, seen) + F.l1_loss(teacher(rebuilt), teacher(seen).detach())
                loss = loss + PRIOR_WEIGHT * prior
                of_vae.zero_grad()
                loss.backward()
                of_vae.step()
        first = False
        yield
