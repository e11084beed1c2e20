"""The one loop of all methods: the generator takes a step, the student takes some, what is rehearsed learns beside it."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from stages.lib.core.progress import Progress
from stages.lib.core.seeds import derive_seed
from stages.lib.inversion.networks import Networks
from stages.lib.training.checkpoint import load_checkpoint, save_checkpoint
from stages.lib.training.fit import imitation_loss
from stages.replay.config import DistilConfig
from stages.replay.memories import Memory, memory_of
from stages.replay.methods import Method
from stages.replay.sources import Source, source_of


@dataclass(frozen=True, kw_only=True)
class Point:
    """One evaluation: accuracy on test images, which decide nothing; CPU seconds of training so far; mean losses since
    the last one; bytes kept for rehearsal; entropy of the teacher's classes of rehearsed images over that of even ones.
    """

    iteration: int
    accuracy: float
    cpu_s: float
    student_loss: float
    generator_loss: float
    memory_bytes: int
    rehearsed_entropy: float


@dataclass(kw_only=True)
class Distilled:
    """What a run ends with; the student is in its networks."""

    curve: list[Point]
    source: Source
    memory: Memory


def distil(
    networks: Networks,
    method: Method,
    config: DistilConfig,
    *,
    seed: int,
    evaluate: Callable[[], float],
    real: Tensor | None = None,
    state: Path | None = None,
) -> Distilled:
    """Train networks.student.

    evaluate  accuracy of the student; its time is not counted
    real      (n, channels, size, size) images without labels, for the control that may see them
    state     folder of checkpoints, one an evaluation; a rerun goes on from the last and equals an undisturbed run

    New images, rehearsal and networks have random streams of their own: two methods with one seed see the same codes.
    """
    torch.manual_seed(derive_seed(seed, "generator") % 2**63)
    chance = {
        name: torch.Generator().manual_seed(derive_seed(seed, name) % 2**63) for name in ("new", "memory")
    }
    source = source_of(method, networks, config, chance["new"], real)
    torch.manual_seed(derive_seed(seed, "memory network") % 2**63)
    memory = memory_of(method, networks, config, chance["memory"], source)
    torch.manual_seed(derive_seed(seed, "training") % 2**63)
    optimiser = student_optimiser(networks, config)
    curve: list[Point] = []
    if state is not None and (found := load_checkpoint(state)) is not None:
        curve = _restore_(found[1], networks, source, memory, optimiser, chance)
    every = evaluation_points(config)
    progress = Progress(config.iterations, "iterations", done=curve[-1].iteration if curve else 0)
    spent_s, start_s = (curve[-1].cpu_s if curve else 0.0), time.process_time()
    seen = Seen()
    for iteration in range(curve[-1].iteration if curve else 0, config.iterations):
        rate = 0.5 * (1 + math.cos(math.pi * iteration / config.iterations)) if config.cosine else 1.0
        for group in optimiser.param_groups:
            group["lr"] = config.student_rate * rate
        train_round(networks, method, source, memory, optimiser, seen)
        if iteration + 1 in every:
            spent_s += time.process_time() - start_s
            curve.append(seen.point(iteration + 1, evaluate(), spent_s, memory.bytes, networks))
            seen = Seen()
            if state is not None:
                save_checkpoint(
                    state, iteration + 1, _snapshot(curve, networks, source, memory, optimiser, chance)
                )
            start_s = time.process_time()
        progress.advance(note=f"accuracy {curve[-1].accuracy:.4f}" if curve else "")
    return Distilled(curve=curve, source=source, memory=memory)


def train_round(
    networks: Networks,
    method: Method,
    source: Source,
    memory: Memory,
    optimiser: torch.optim.Optimizer,
    seen: "Seen",
) -> None:
    """One step of the generator and the student's steps that follow it."""
    made = source.learn()
    seen.generator.append(made.loss)
    for k in range(method.student_steps):
        # the generator's own batch, and what the teacher said of it, serve the first step
        new, logits = (made.images, made.logits) if k == 0 or method.shared else (source.fresh(), None)
        loss, logits, rehearsed = student_step(networks, method, optimiser, memory, new, logits)
        memory.after_step(k, new, logits, rehearsed)
        seen.student.append(loss)
        if rehearsed is not None:
            seen.classes.append(rehearsed[1].argmax(1))
    memory.after_round(made.images)


def student_step(
    networks: Networks,
    method: Method,
    optimiser: torch.optim.Optimizer,
    memory: Memory,
    new: Tensor,
    logits: Tensor | None,
) -> tuple[float, Tensor, tuple[Tensor, Tensor] | None]:
    """The loss, the teacher's logits of the new images, and what was rehearsed beside them."""
    if logits is None:
        with torch.no_grad():
            logits = networks.ask_teacher(new)[0]
    rehearsed = memory.draw()
    images, wanted = new, logits
    if rehearsed is not None:
        images, wanted = torch.cat([new, rehearsed[0]]), torch.cat([logits, rehearsed[1]])
    networks.student.train()
    given = networks.ask_student(images)
    loss = imitation_loss(given, wanted, temperature=method.temperature)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    value = loss.item()
    if not math.isfinite(value):
        raise ValueError("the student's loss is not finite: lower student_rate or generator_rate")
    return value, logits, rehearsed


def student_optimiser(networks: Networks, config: DistilConfig) -> torch.optim.Optimizer:
    parameters = list(networks.student.parameters())
    if config.optimiser == "adam":
        return torch.optim.Adam(parameters, config.student_rate, fused=True)
    return torch.optim.SGD(parameters, config.student_rate, momentum=0.9, weight_decay=5e-4, fused=True)


def evaluation_points(config: DistilConfig) -> set[int]:
    """Iterations after which the student is evaluated; the last is one."""
    return {round((i + 1) * config.iterations / config.evaluations) for i in range(config.evaluations)}


class Seen:
    """What happened since the last evaluation."""

    def __init__(self) -> None:
        self.student: list[float] = []
        self.generator: list[float] = []
        self.classes: list[Tensor] = []

    def point(
        self, iteration: int, accuracy: float, cpu_s: float, memory_bytes: int, networks: Networks
    ) -> Point:
        entropy = math.nan
        if self.classes:
            counts = torch.bincount(torch.cat(self.classes), minlength=networks.teacher.head.out_features)
            shares = counts / counts.sum()
            entropy = float(torch.special.entr(shares).sum()) / math.log(len(shares))
        return Point(
            iteration=iteration,
            accuracy=accuracy,
            cpu_s=cpu_s,
            student_loss=sum(self.student) / len(self.student),
            generator_loss=sum(self.generator) / len(self.generator),
            memory_bytes=memory_bytes,
            rehearsed_entropy=entropy,
        )


def _snapshot(
    curve: list[Point],
    networks: Networks,
    source: Source,
    memory: Memory,
    optimiser: torch.optim.Optimizer,
    chance: dict[str, torch.Generator],
) -> dict[str, object]:
    return {
        "curve": [asdict(point) for point in curve],
        "student": networks.student.state_dict(),
        "optimiser": optimiser.state_dict(),
        "source": source.state_dict(),
        "memory": memory.state_dict(),
        "chance": {name: generator.get_state() for name, generator in chance.items()},
        "torch": torch.get_rng_state(),
    }


def _restore_(
    state: dict,
    networks: Networks,
    source: Source,
    memory: Memory,
    optimiser: torch.optim.Optimizer,
    chance: dict[str, torch.Generator],
) -> list[Point]:
    networks.student.load_state_dict(state["student"])
    optimiser.load_state_dict(state["optimiser"])
    source.load_state_dict(state["source"])
    memory.load_state_dict(state["memory"])
    for name, generator in chance.items():
        generator.set_state(state["chance"][name])
    torch.set_rng_state(state["torch"])
    return [Point(**point) for point in state["curve"]]
