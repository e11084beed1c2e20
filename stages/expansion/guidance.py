"""What draws inverted images to a condensed set: a discriminator of the teacher's features, or their means alone."""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from stages.expansion.arms import Arm
from stages.expansion.augmentation import Augmentation
from stages.expansion.config import ExpansionConfig
from stages.lib.inversion.discriminator import FeatureDiscriminator, discriminator_loss, moment_distance
from stages.lib.inversion.learning import step_
from stages.lib.inversion.networks import Networks

VIEWS = 64  # augmented views of each condensed image, for means and deviations of features
ADAM_BETAS = (0.5, 0.999)
PLAIN = Augmentation(flip=False, shift_px=0.0, scale=0.0, turn_deg=0.0, cutout=0.0)


class CondensedSet:
    """images (n, channels, size, size) normalised, labels (n,); each class has one image or more.

    Raises ValueError where a class has none.
    """

    def __init__(self, images: Tensor, labels: Tensor, classes: int) -> None:
        self.images, self.labels, self.classes = images, labels, classes
        self._of_class = [(labels == c).nonzero().squeeze(1) for c in range(classes)]
        if missing := [c for c, rows in enumerate(self._of_class) if not len(rows)]:
            raise ValueError(f"class {missing[0]} has no images")

    def draw(self, n: int, chance: torch.Generator) -> Tensor:
        """n images, of any class, with repetition."""
        return self.images[torch.randint(len(self.images), (n,), generator=chance)]

    def draw_of(self, labels: Tensor, chance: torch.Generator) -> Tensor:
        """An image of each label's class."""
        picks = torch.rand(len(labels), generator=chance)
        rows = [
            self._of_class[c][int(p * len(self._of_class[c]))]
            for c, p in zip(labels.tolist(), picks.tolist(), strict=True)
        ]
        return self.images[torch.stack(rows)]


class Guide(Protocol):
    """loss   of made images (n, ...) that gradients flow to, meant to be of the classes `labels` (n,)
    learn    what tells given from made takes a step on the images of the last `loss`
    record   what to write beside the curve
    """

    def loss(self, images: Tensor, labels: Tensor) -> Tensor: ...

    def learn(self) -> None: ...

    def record(self) -> dict[str, float]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class SeenFeatures:
    """The teacher's features of augmented images, standardised by those of the condensed set alone."""

    def __init__(
        self, networks: Networks, condensed: CondensedSet, augmentation: Augmentation, chance: torch.Generator
    ) -> None:
        self.networks, self.augmentation, self.chance = networks, augmentation, chance
        views = condensed.images.repeat_interleave(VIEWS, 0)
        with torch.no_grad():
            features = torch.cat([self._ask(part) for part in views.split(1024)])
        self.mean, self.deviation = features.mean(0), features.std(0).clamp(min=1e-3)
        standard = (features - self.mean) / self.deviation
        of = condensed.labels.repeat_interleave(VIEWS).to(standard.device)
        self.class_means = torch.stack([standard[of == c].mean(0) for c in range(condensed.classes)])

    def __call__(self, images: Tensor) -> Tensor:
        return (self._ask(images) - self.mean) / self.deviation

    def _ask(self, images: Tensor) -> Tensor:
        return self.networks.ask_teacher(self.augmentation(images.to(self.networks.device), self.chance))[1]


class Discriminated:
    """L_FA = -weight * mean D(features, class), against a discriminator that learns beside the generator (notes 2.2)."""

    def __init__(
        self,
        seen: SeenFeatures,
        condensed: CondensedSet,
        config: ExpansionConfig,
        *,
        conditional: bool,
        chance: torch.Generator,
    ) -> None:
        self.seen, self.condensed, self.weight, self.chance = seen, condensed, config.guidance, chance
        self.discriminator = FeatureDiscriminator(
            len(seen.mean), condensed.classes, hidden=config.discriminator_hidden, conditional=conditional
        ).to(seen.networks.device)
        self.optimiser = torch.optim.Adam(
            self.discriminator.parameters(), config.discriminator_rate, ADAM_BETAS, fused=True
        )
        self._made: tuple[Tensor, Tensor] | None = None

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        features = self.seen(images)
        self._made = features.detach(), labels
        return -self.weight * self.discriminator(features, labels).mean()

    def learn(self) -> None:
        assert self._made is not None, "learn follows loss"
        made, labels = self._made
        with torch.no_grad():
            given = self.seen(self.condensed.draw_of(labels, self.chance))
        loss = discriminator_loss(self.discriminator(given, labels), self.discriminator(made, labels))
        step_(self.optimiser, loss, list(self.discriminator.parameters()))

    @torch.no_grad()
    def record(self) -> dict[str, float]:
        """Shares of unchanged condensed images, and of the last made ones, that the discriminator tells rightly."""
        if self._made is None:
            return {}
        net = self.seen.networks
        features = net.ask_teacher(self.condensed.images.to(net.device))[1]
        features = (features - self.seen.mean) / self.seen.deviation
        self.discriminator.eval()
        given = self.discriminator(features, self.condensed.labels.to(net.device)) > 0
        made = self.discriminator(*self._made) <= 0
        self.discriminator.train()
        return {"given_told": float(given.float().mean()), "made_told": float(made.float().mean())}

    def state_dict(self) -> dict[str, Any]:
        return {
            "discriminator": self.discriminator.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "made": self._made,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.discriminator.load_state_dict(state["discriminator"])
        self.optimiser.load_state_dict(state["optimiser"])
        self._made = state["made"]


class MatchedMoments:
    """weight * distance of the classes' mean features to those of the condensed set: no discriminator."""

    def __init__(self, seen: SeenFeatures, config: ExpansionConfig) -> None:
        self.seen, self.weight = seen, config.moment_guidance

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        return self.weight * moment_distance(self.seen(images), labels, self.seen.class_means)

    def learn(self) -> None:
        pass

    def record(self) -> dict[str, float]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        pass


def guide_of(
    arm: Arm, networks: Networks, condensed: CondensedSet, config: ExpansionConfig, chance: torch.Generator
) -> Guide | None:
    """The guide of an arm; it draws from `chance` alone."""
    if arm.guide == "none":
        return None
    seen = SeenFeatures(networks, condensed, Augmentation() if arm.augmented else PLAIN, chance)
    if arm.guide == "moments":
        return MatchedMoments(seen, config)
    return Discriminated(seen, condensed, config, conditional=arm.guide == "conditional", chance=chance)
