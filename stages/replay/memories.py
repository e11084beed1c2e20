"""What a student rehearses beside new images: nothing, a bank of them, a generator's past, or what a VAE makes of it."""

import copy
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.lib.inversion.learning import step_
from stages.lib.inversion.losses import class_balance_loss, one_hot_loss
from stages.lib.inversion.networks import Networks
from stages.lib.inversion.pool import ImagePool
from stages.lib.nets.generator import VAE
from stages.lib.training.device import channels_last_, mixed_precision
from stages.lib.training.fit import update_average_
from stages.replay.config import DistilConfig
from stages.replay.methods import Method
from stages.replay.sources import Generated, Source

PRIOR_WEIGHT = 1e-5  # of KL(N(mu, sigma^2) || N(0, I)) in the VAE's loss (notes 2.4)
ADAM_EPSILON = 1e-8
AVERAGE_DECAY = 0.95  # of MAD's generator


class Memory(Protocol):
    """draw      images to rehearse, and the teacher's logits of them; none before there is anything to rehearse
    after_step   of the student, the k-th since the generator's last
    after_round  of the generator and its student steps
    bytes        that are kept for rehearsal
    """

    bytes: int

    def draw(self) -> tuple[Tensor, Tensor] | None: ...

    def after_step(
        self, k: int, images: Tensor, logits: Tensor, rehearsed: tuple[Tensor, Tensor] | None
    ) -> None: ...

    def after_round(self, images: Tensor) -> None: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Nothing:
    bytes = 0

    def draw(self) -> None:
        return None

    def after_step(
        self, k: int, images: Tensor, logits: Tensor, rehearsed: tuple[Tensor, Tensor] | None
    ) -> None:
        pass

    def after_round(self, images: Tensor) -> None:
        pass

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


class Bank(Nothing):
    """The newest images, first in first out; some of every round are kept (MB-DFKD, our reading: notes 4)."""

    def __init__(
        self, networks: Networks, method: Method, config: DistilConfig, chance: torch.Generator
    ) -> None:
        self.networks, self.config, self.chance = networks, config, chance
        self.n = rehearsed_images(method, config)
        self.pool = ImagePool(config.bank_images)

    @property
    def bytes(self) -> int:  # type: ignore[override]
        return self.pool.bytes

    @torch.no_grad()
    def draw(self) -> tuple[Tensor, Tensor] | None:  # type: ignore[override]
        if not len(self.pool):
            return None
        images = self.pool.draw(self.n, generator=self.chance)
        return images, self.networks.ask_teacher(images)[0]

    def after_round(self, images: Tensor) -> None:
        self.pool.add(images[: self.config.banked_a_round])

    def state_dict(self) -> dict[str, Any]:
        return self.pool.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.pool.load_state_dict(state)


class AveragedGenerator(Nothing):
    """Images of the moving average of the generator (MAD, Do et al. 2022)."""

    def __init__(
        self,
        networks: Networks,
        method: Method,
        config: DistilConfig,
        chance: torch.Generator,
        source: Source,
    ) -> None:
        if not isinstance(source, Generated):
            raise ValueError("a moving average needs a generator that learns")
        self.networks, self.config, self.chance, self.source = networks, config, chance, source
        self.n = rehearsed_images(method, config)
        self.average = copy.deepcopy(source.generator)
        self.bytes = bytes_of(self.average)

    @torch.no_grad()
    def draw(self) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        codes = torch.randn(self.n, self.config.noise, generator=self.chance).to(self.networks.device)
        images = self.networks.images(self.average, codes)
        return images, self.networks.ask_teacher(images)[0]

    def after_round(self, images: Tensor) -> None:
        update_average_(self.average, self.source.generator, AVERAGE_DECAY)

    def state_dict(self) -> dict[str, Any]:
        return self.average.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.average.load_state_dict(state)


class PseudoReplay(Nothing):
    """A VAE learns what the generator makes, and its own images too, so that it need not keep any (notes 2.3, 2.4).

    Nothing is drawn before its first update.
    """

    def __init__(
        self, networks: Networks, method: Method, config: DistilConfig, chance: torch.Generator
    ) -> None:
        self.networks, self.method, self.config, self.chance = networks, method, config, chance
        self.n = rehearsed_images(method, config)
        vae = VAE(networks.channels, networks.size, config.noise, config.memory_width)
        self.vae = channels_last_(vae.to(networks.device)).train()
        self.optimiser = torch.optim.Adam(self.vae.parameters(), config.memory_rate, fused=True)
        self.bytes = bytes_of(self.vae)
        self.updates = 0

    def draw(self) -> tuple[Tensor, Tensor] | None:  # type: ignore[override]
        if not self.updates:
            return None
        codes = self._noise(self.n)
        if self.method.balanced:
            codes = balanced_codes(codes, self.vae.decoder, self.networks, rate=self.config.generator_rate)
        with torch.no_grad():
            images = self.networks.images(self.vae.decoder, codes)
            return images, self.networks.ask_teacher(images)[0]

    def after_step(
        self, k: int, images: Tensor, logits: Tensor, rehearsed: tuple[Tensor, Tensor] | None
    ) -> None:
        """An update in the first steps after the generator's, on half of the new images and those of the memory."""
        if k >= self.config.memory_updates:
            return
        half = len(images) // 2
        images, logits = images[:half], logits[:half]
        if rehearsed is not None:
            images, logits = torch.cat([images, rehearsed[0]]), torch.cat([logits, rehearsed[1]])
        loss = reconstruction_loss(
            images,
            logits,
            self.vae,
            self.networks,
            self._noise(len(images)),
            teacher_response=self.method.teacher_response,
        )
        step_(self.optimiser, loss, list(self.vae.parameters()))
        self.updates += 1

    def _noise(self, n: int) -> Tensor:
        return torch.randn(n, self.config.noise, generator=self.chance).to(self.networks.device)

    def state_dict(self) -> dict[str, Any]:
        return {
            "vae": self.vae.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "updates": self.updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.vae.load_state_dict(state["vae"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.updates = state["updates"]


def reconstruction_loss(
    images: Tensor, logits: Tensor, vae: VAE, networks: Networks, noise: Tensor, *, teacher_response: bool
) -> Tensor:
    """L_VAE = L1(v^, v) + L1(T(v^), T(v)) + 1e-5 KL(N(mu, sigma^2) || N(0, I)) (notes 2.4).

    logits  of the teacher for the images; the KL is summed over the latent space and averaged over the batch
    """
    with mixed_precision(networks.device, networks.bf16):
        rebuilt, mean, log_variance = vae(images.contiguous(memory_format=torch.channels_last), noise)
    rebuilt, mean, log_variance = rebuilt.float(), mean.float(), log_variance.float()
    prior = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(1).mean()
    loss = F.l1_loss(rebuilt, images) + PRIOR_WEIGHT * prior
    if teacher_response:
        loss = loss + F.l1_loss(networks.ask_teacher(rebuilt)[0], logits)
    return loss


def balanced_codes(codes: Tensor, decoder: nn.Module, networks: Networks, *, rate: float) -> Tensor:
    """Codes after one step of Adam down L_z (notes 2.3), which makes a batch's classes more alike in number:

    L_z = 5 sum p log10 p + CE(o, argmax o) + MSE(var(z), 1) + MSE(mean(z), 0), var and mean over the batch.
    """
    codes = codes.requires_grad_()
    logits, _ = networks.ask_teacher(networks.images(decoder, codes))
    loss = (
        5 * class_balance_loss(logits, base=10)
        + one_hot_loss(logits)
        + (codes.var(0) - 1).square().mean()
        + codes.mean(0).square().mean()
    )
    (gradient,) = torch.autograd.grad(loss, [codes])
    # Adam's first step: both moments are those of one gradient
    return (codes - rate * gradient / (gradient.abs() + ADAM_EPSILON)).detach()


def memory_of(
    method: Method, networks: Networks, config: DistilConfig, chance: torch.Generator, source: Source
) -> Memory:
    if method.memory == "bank":
        return Bank(networks, method, config, chance)
    if method.memory == "vae":
        return PseudoReplay(networks, method, config, chance)
    if method.memory == "average":
        return AveragedGenerator(networks, method, config, chance, source)
    return Nothing()


def rehearsed_images(method: Method, config: DistilConfig) -> int:
    return max(1, round(method.replay * config.batch_size))


def bytes_of(network: nn.Module) -> int:
    """Of parameters and buffers."""
    return sum(t.numel() * t.element_size() for t in network.state_dict().values())
