"""Where a student's images come from: a generator that learns beside it, a pool filled by inversion, or a control."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from stages.lib.inversion.learning import contrast_of_images, generator_loss, new_generator, step_
from stages.lib.inversion.networks import Networks
from stages.lib.inversion.pool import ImagePool
from stages.replay.config import DistilConfig
from stages.replay.methods import Method


@dataclass(kw_only=True)
class Made:
    """Images (n, channels, size, size) that a step of the generator came from, the teacher's logits, the step's loss."""

    images: Tensor
    logits: Tensor | None = None
    loss: float = float("nan")


class Source(Protocol):
    """`learn` takes a step, where there is one to take; `fresh` gives images that nobody has seen."""

    def learn(self) -> Made: ...

    def fresh(self) -> Tensor: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Generated:
    """A generator that learns from teacher and student, one step for each `learn`."""

    def __init__(
        self, networks: Networks, method: Method, config: DistilConfig, chance: torch.Generator
    ) -> None:
        self.networks, self.method, self.config, self.chance = networks, method, config, chance
        self.generator = fresh_generator(networks, config)
        self.optimiser = self._new_optimiser()

    def _new_optimiser(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.generator.parameters(), self.config.generator_rate, fused=True)

    def codes(self) -> Tensor:
        shape = (self.config.batch_size, self.config.noise)
        return torch.randn(shape, generator=self.chance).to(self.networks.device)

    def learn(self) -> Made:
        images = self.networks.images(self.generator, self.codes())
        loss, logits = generator_loss(images, self.networks, self.method)
        step_(self.optimiser, loss, list(self.generator.parameters()))
        return Made(images=images.detach(), logits=logits.detach(), loss=float(loss.detach()))

    @torch.no_grad()
    def fresh(self) -> Tensor:
        return self.networks.images(self.generator, self.codes())

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.generator.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.load_state_dict(state["generator"])
        self.optimiser.load_state_dict(state["optimiser"])


class Inverted(Generated):
    """Rounds of inversion fill a pool from which the student draws (CMI, Fast-Datafree).

    In a round both the generator and its codes learn. What the round ends with goes to the pool.
    """

    def __init__(
        self, networks: Networks, method: Method, config: DistilConfig, chance: torch.Generator
    ) -> None:
        super().__init__(networks, method, config, chance)
        self.pool = ImagePool(config.pool_images)

    def learn(self) -> Made:
        if self.method.fresh_start:
            self.generator = fresh_generator(self.networks, self.config)
        codes = self.codes().requires_grad_()
        learned = [*self.generator.parameters(), codes]
        self.optimiser = torch.optim.Adam(learned, self.config.generator_rate, fused=True)
        for _ in range(self.method.inversion_steps):
            images = self.networks.images(self.generator, codes)
            loss, _ = generator_loss(images, self.networks, self.method)
            if self.method.contrast:
                earlier = self.fresh() if len(self.pool) else None
                contrast = contrast_of_images(images, self.networks, earlier, self.chance)
                loss = loss + self.method.contrast * contrast
            step_(self.optimiser, loss, learned)
        with torch.no_grad():
            self.pool.add(self.networks.images(self.generator, codes))
        return Made(images=self.fresh(), loss=float(loss.detach()))

    def fresh(self) -> Tensor:
        return self.pool.draw(self.config.batch_size, generator=self.chance)

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.generator.state_dict(), "pool": self.pool.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.load_state_dict(state["generator"])
        self.pool.load_state_dict(state["pool"])


class Control:
    """Images that no generator learned to make: real ones without labels, noise, or of generators that never learn."""

    def __init__(
        self,
        networks: Networks,
        method: Method,
        config: DistilConfig,
        chance: torch.Generator,
        real: Tensor | None,
    ) -> None:
        if method.source == "real" and real is None:
            raise ValueError("real images are wanted and none are given")
        self.networks, self.kind, self.config, self.chance, self.real = (
            networks,
            method.source,
            config,
            chance,
            real,
        )

    def learn(self) -> Made:
        if self.kind == "untrained":
            self.generator = fresh_generator(self.networks, self.config)
        return Made(images=self.fresh())

    @torch.no_grad()
    def fresh(self) -> Tensor:
        n, net = self.config.batch_size, self.networks
        if self.kind == "real":
            assert self.real is not None
            return self.real[torch.randint(len(self.real), (n,), generator=self.chance)].to(net.device)
        if self.kind == "noise":
            shape = (n, net.channels, net.size, net.size)
            return torch.randn(shape, generator=self.chance).to(net.device)
        codes = torch.randn(n, self.config.noise, generator=self.chance).to(net.device)
        return net.images(self.generator, codes)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def source_of(
    method: Method, networks: Networks, config: DistilConfig, chance: torch.Generator, real: Tensor | None
) -> Source:
    if method.source == "generator":
        return Generated(networks, method, config, chance)
    if method.source == "pool":
        return Inverted(networks, method, config, chance)
    return Control(networks, method, config, chance, real)


def fresh_generator(networks: Networks, config: DistilConfig) -> nn.Module:
    return new_generator(networks, noise=config.noise, width=config.width, spectral_norm=config.spectral_norm)
