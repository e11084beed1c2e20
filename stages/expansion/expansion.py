"""Expanding a condensed set: rounds of inversion fill a pool, and a student learns from pool and condensed set."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stages.expansion.arms import HOSTS, Arm, Host
from stages.expansion.augmentation import Augmentation
from stages.expansion.config import ExpansionConfig
from stages.expansion.guidance import CondensedSet, Guide, guide_of
from stages.lib.core.progress import Progress
from stages.lib.core.seeds import derive_seed
from stages.lib.inversion.learning import contrast_of_images, generator_loss, new_generator, step_
from stages.lib.inversion.networks import Networks
from stages.lib.training.checkpoint import load_checkpoint, save_checkpoint
from stages.lib.training.fit import imitation_loss

STREAMS = ("codes", "guide", "student")


class Pool:
    """Images that were inverted, the classes that they were meant to be of, and what the teacher says of them."""

    def __init__(self) -> None:
        self.images = self.logits = torch.empty(0)
        self.labels = torch.empty(0, dtype=torch.long)

    def __len__(self) -> int:
        return len(self.labels)

    def add(self, images: Tensor, labels: Tensor, logits: Tensor) -> None:
        first = not len(self)
        self.images = images if first else torch.cat([self.images, images])
        self.labels = labels if first else torch.cat([self.labels, labels])
        self.logits = logits if first else torch.cat([self.logits, logits])

    def draw(self, n: int, chance: torch.Generator) -> Tensor:
        """n images, with repetition."""
        return self.images[torch.randint(len(self), (n,), generator=chance)]


class Inversion:
    """A host: a generator and its codes learn together, for as many images of each class (Fast-Datafree, CMI)."""

    def __init__(
        self,
        networks: Networks,
        host: Host,
        config: ExpansionConfig,
        classes: int,
        chance: torch.Generator,
        within: tuple[Tensor, Tensor] | None,
    ) -> None:
        own = {key: value for key in ("one_hot", "statistics") if (value := getattr(config, key))}
        self.host = replace(host, **own)
        self.networks, self.config, self.chance = networks, config, chance
        self.within = tuple(bound.to(networks.device) for bound in within) if within else None
        self.labels = (torch.arange(config.images_a_round) % classes).to(networks.device)
        self.generator = self._new_generator()

    def _new_generator(self) -> nn.Module:
        return new_generator(self.networks, noise=self.config.noise, width=self.config.width)

    def round(self, pool: Pool, guide: Guide | None, *, adversarial: bool) -> tuple[Tensor, float]:
        """Images of self.labels, and the last loss."""
        net, host = self.networks, self.host
        if host.fresh_start:
            self.generator = self._new_generator()
        if not adversarial:
            host = replace(host, adversary="none")
        codes = torch.randn(len(self.labels), self.config.noise, generator=self.chance).to(net.device)
        learned = [*self.generator.parameters(), codes.requires_grad_()]
        optimiser = torch.optim.Adam(learned, self.config.generator_rate, fused=True)
        for _ in range(self.config.inversion_steps):
            made = self._images(codes)
            images = made.detach().requires_grad_()
            loss, _ = generator_loss(images, net, host, self.labels)
            if host.contrast:
                earlier = pool.draw(len(images), self.chance) if len(pool) else None
                loss = loss + host.contrast * contrast_of_images(images, net, earlier, self.chance)
            (gradient,) = torch.autograd.grad(loss, [images])
            if guide is not None:
                # added in place: a sum in another layout would be rounded differently on its way back
                gradient += torch.autograd.grad(guide.loss(images, self.labels), [images])[0]
            step_(optimiser, made, learned, gradient)
            if guide is not None:
                guide.learn()
        with torch.no_grad():
            return self._images(codes), float(loss.detach())

    def _images(self, codes: Tensor) -> Tensor:
        made = self.networks.images(self.generator, codes)
        return made.clamp(*self.within) if self.within else made


@dataclass(kw_only=True)
class Expanded:
    """rows of the curve, one a round; the pool; the generator. The student is in its networks."""

    curve: list[dict[str, float]]
    pool: Pool
    generator: nn.Module


def expand(
    networks: Networks,
    condensed: CondensedSet,
    arm: Arm,
    config: ExpansionConfig,
    *,
    seed: int,
    evaluate: Callable[[], float],
    stored: Callable[[Tensor], Tensor],
    within: tuple[Tensor, Tensor] | None = None,
    state: Path | None = None,
) -> Expanded:
    """Train networks.student.

    evaluate  its accuracy, after each round; its time is not counted
    stored    images as they come back from the pool's files: the student learns from what others can load
    within    range of a pixel, (1, channels, 1, 1) each: the teacher judges inverted images as they will be stored
    state     folder of checkpoints, one a round; a rerun goes on from the last and equals an undisturbed run

    Codes, guide and student have random streams of their own: two arms with one seed see the same codes, and a guide
    whose weight is 0 leaves the host as it is, bit for bit (claim E11).
    """
    chance = {name: torch.Generator().manual_seed(derive_seed(seed, name) % 2**63) for name in STREAMS}
    torch.manual_seed(derive_seed(seed, "generator") % 2**63)
    inversion = Inversion(networks, HOSTS[config.host], config, condensed.classes, chance["codes"], within)
    torch.manual_seed(derive_seed(seed, "discriminator") % 2**63)
    guide = guide_of(arm, networks, condensed, config, chance["guide"])
    torch.manual_seed(derive_seed(seed, "training") % 2**63)
    parameters = list(networks.student.parameters())
    optimiser = torch.optim.SGD(
        parameters, config.learning_rate, momentum=0.9, weight_decay=5e-4, nesterov=True, fused=True
    )
    pool, curve = Pool(), []
    parts = {"inversion": inversion.generator, "student": networks.student, "optimiser": optimiser}
    if guide is not None:
        parts["guide"] = guide
    if state is not None and (found := load_checkpoint(state)) is not None:
        curve = restore_(found[1], parts, pool, chance)
    progress = Progress(config.rounds, "rounds", done=len(curve))
    spent_s, start_s = (curve[-1]["cpu_s"] if curve else 0.0), time.process_time()
    for at in range(len(curve), config.rounds):
        row: dict[str, float] = {"round": at + 1}
        if arm.inverted:
            images, row["inversion_loss"] = inversion.round(pool, guide, adversarial=at >= config.warm_up)
            images = stored(images.cpu()).to(networks.device)
            with torch.no_grad():
                pool.add(images, inversion.labels, networks.ask_teacher(images)[0])
        row["student_loss"] = distil_(
            networks, pool, condensed if arm.condensed else None, config, optimiser, at, chance["student"]
        )
        spent_s += time.process_time() - start_s
        row |= {"pool_images": len(pool), "accuracy": evaluate(), "cpu_s": spent_s}
        row |= guide.record() if guide is not None else {}
        curve.append(row)
        if state is not None:
            parts["inversion"] = inversion.generator
            save_checkpoint(state, at + 1, snapshot(curve, parts, pool, chance))
        start_s = time.process_time()
        progress.advance(note=f"accuracy {row['accuracy']:.4f}")
    return Expanded(curve=curve, pool=pool, generator=inversion.generator)


def distil_(
    networks: Networks,
    pool: Pool,
    condensed: CondensedSet | None,
    config: ExpansionConfig,
    optimiser: torch.optim.Optimizer,
    at: int,
    chance: torch.Generator,
) -> float:
    """The student's steps after a round (counted from 0): the divergence from the teacher on images of the pool, plus
    that on augmented condensed images; returns the mean loss. The teacher answers for the pool once."""
    augmentation, total = Augmentation(), 0.0
    steps = config.rounds * config.student_steps
    networks.student.train()
    for k in range(config.student_steps):
        for group in optimiser.param_groups:
            done = (at * config.student_steps + k) / steps
            group["lr"] = config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
        batches: list[tuple[Tensor, Tensor]] = []
        if len(pool):
            rows = torch.randint(len(pool), (config.batch_size,), generator=chance)
            batches.append((pool.images[rows], pool.logits[rows]))
        if condensed is not None:
            images = augmentation(condensed.draw(config.condensed_batch, chance).to(networks.device), chance)
            with torch.no_grad():
                batches.append((images, networks.ask_teacher(images)[0]))
        given = networks.ask_student(torch.cat([images for images, _ in batches]))
        parts = zip(given.split([len(images) for images, _ in batches]), batches, strict=True)
        loss = torch.stack(
            [imitation_loss(part, wanted, temperature=config.temperature) for part, (_, wanted) in parts]
        ).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        total += loss.item()
    if not math.isfinite(total):
        raise ValueError("the student's loss is not finite: lower learning_rate or generator_rate")
    return total / config.student_steps


def snapshot(
    curve: list[dict[str, float]], parts: dict[str, Any], pool: Pool, chance: dict[str, torch.Generator]
) -> dict[str, Any]:
    return {
        "curve": curve,
        "parts": {name: part.state_dict() for name, part in parts.items()},
        "pool": (pool.images, pool.labels, pool.logits),
        "chance": {name: generator.get_state() for name, generator in chance.items()},
        "torch": torch.get_rng_state(),
    }


def restore_(
    state: dict[str, Any], parts: dict[str, Any], pool: Pool, chance: dict[str, torch.Generator]
) -> list[dict[str, float]]:
    for name, part in parts.items():
        part.load_state_dict(state["parts"][name])
    pool.images, pool.labels, pool.logits = state["pool"]
    for name, generator in chance.items():
        generator.set_state(state["chance"][name])
    torch.set_rng_state(state["torch"])
    return state["curve"]
