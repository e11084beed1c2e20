"""Condensing a data set: a few images a class that stand for it, learned by matching what networks make of them.

Distribution matching (Zhao and Bilen 2023) and gradient matching (Zhao et al. 2021; with the augmentation of DSA, Zhao
and Bilen 2021). Both start from real images and draw a new random network again and again.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.expansion.augmentation import Augmentation
from stages.expansion.config import CondensationConfig
from stages.lib.core.seeds import derive_seed
from stages.lib.nets.convnet import ConvNet3
from stages.lib.training.device import mixed_precision

Advance = Callable[[int, Tensor], None]
AUGMENTATION = Augmentation()
REAL_BATCH = 64  # real images embedded at a time: what fits a CPU's cache takes two thirds of the time
# with more than one image a class: steps of matching before a new network is drawn, and of the network between them
# (DSA's public code has 10 and 50 for ten images)
GRADIENT_STEPS_A_NETWORK = 10
NETWORK_STEPS = 50


class RealImages:
    """images (n, channels, size, size) normalised, labels (n,); drawn class by class."""

    def __init__(self, images: Tensor, labels: Tensor, classes: int, chance: torch.Generator) -> None:
        self.images, self.chance = images, chance
        self.of_class = [(labels == c).nonzero().squeeze(1) for c in range(classes)]
        # the range of pixels, which condensed images keep to: others could not be stored
        self.range = images.amin((0, 2, 3), keepdim=True), images.amax((0, 2, 3), keepdim=True)
        for c, rows in enumerate(self.of_class):
            if not len(rows):
                raise ValueError(f"class {c} has no images")

    def require(self, n: int) -> None:
        """Raises ValueError where a class has fewer than n images."""
        if short := [c for c, rows in enumerate(self.of_class) if len(rows) < n]:
            raise ValueError(
                f"class {short[0]} has {len(self.of_class[short[0]])} images where {n} a class are wanted"
            )

    def draw(self, n: int) -> Tensor:
        """(classes * n, channels, size, size), n of each class in order, with repetition where there are fewer."""
        rows = [rows[torch.randint(len(rows), (n,), generator=self.chance)] for rows in self.of_class]
        return self.images[torch.cat(rows)]

    def distinct(self, n: int) -> Tensor:
        """As `draw`, without repetition. Raises ValueError where a class has fewer."""
        self.require(n)
        rows = [rows[torch.randperm(len(rows), generator=self.chance)[:n]] for rows in self.of_class]
        return self.images[torch.cat(rows)]


def match_distributions(
    real: RealImages,
    per_class: int,
    config: CondensationConfig,
    *,
    seed: int,
    device: torch.device,
    advance: Advance,
) -> Tensor:
    """(classes * per_class, channels, size, size), classes in order: their means of embedded images are matched, in a new
    ConvNet each time: sum over classes of ||mean embedding of real images - of condensed ones||^2 (DM eq. 4)."""
    learned, classes = _start(real, per_class, device), len(real.of_class)
    optimiser = torch.optim.SGD([learned], config.image_rate, momentum=0.5, fused=True)
    chance = torch.Generator().manual_seed(derive_seed(seed, "augmentation") % 2**63)
    for iteration in range(config.iterations):
        network = random_network(learned, classes, config.width, derive_seed(seed, "network", iteration))
        network.requires_grad_(False)
        drawn = real.draw(config.real_images).to(device)
        both = AUGMENTATION(torch.cat([drawn, learned]), chance, together=True).split(
            [len(drawn), len(learned)]
        )
        with mixed_precision(device):
            with torch.no_grad():
                parts = both[0].split(REAL_BATCH)
                wanted = torch.cat([network.features(part).float() for part in parts])
            given = network.features(both[1]).float()
        means = [x.unflatten(0, (classes, -1)).mean(1) for x in (wanted, given)]
        loss = (means[0] - means[1]).square().sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        _keep_in_range_(learned, real)
        advance(iteration + 1, learned.detach())
    return learned.detach()


def match_gradients(
    real: RealImages,
    per_class: int,
    config: CondensationConfig,
    *,
    seed: int,
    device: torch.device,
    advance: Advance,
) -> Tensor:
    """As match_distributions, but gradients of a network's loss on real and on condensed images of a class are matched
    (DC eq. 9), and the network learns from the condensed set between steps where a class has more than one image."""
    learned, classes = _start(real, per_class, device), len(real.of_class)
    of_images = torch.optim.SGD([learned], config.gradient_image_rate, momentum=0.5, fused=True)
    chance = torch.Generator().manual_seed(derive_seed(seed, "augmentation") % 2**63)
    # with one image a class the public code draws a new network each time
    steps_a_network = 1 if per_class == 1 else GRADIENT_STEPS_A_NETWORK
    labels = torch.arange(classes, device=device).repeat_interleave(per_class)
    for iteration in range(config.iterations):
        if iteration % steps_a_network == 0:
            network = random_network(learned, classes, config.width, derive_seed(seed, "network", iteration))
            parameters = [p for p in network.parameters() if p.ndim > 1]  # biases and norms are not matched
            of_network = torch.optim.SGD(network.parameters(), 0.01, momentum=0.5, fused=True)
        drawn = real.draw(config.real_images).to(device)
        loss = torch.zeros((), device=device)
        for c in range(classes):
            a, b = drawn[c * config.real_images :][: config.real_images], learned[labels == c]
            a, b = AUGMENTATION(torch.cat([a, b]), chance, together=True).split([len(a), len(b)])
            wanted, given = (
                torch.autograd.grad(
                    F.cross_entropy(network(x), torch.full((len(x),), c, device=device)),
                    parameters,
                    create_graph=x is b,
                )
                for x in (a, b)
            )
            loss = loss + gradient_distance(given, [g.detach() for g in wanted])
        of_images.zero_grad()
        loss.backward()
        of_images.step()
        _keep_in_range_(learned, real)
        if steps_a_network > 1:
            for _ in range(NETWORK_STEPS):
                images = AUGMENTATION(learned.detach(), chance)
                of_network.zero_grad()
                F.cross_entropy(network(images), labels).backward()
                of_network.step()
        advance(iteration + 1, learned.detach())
    return learned.detach()


MATCHES = {"dm": match_distributions, "dc": match_gradients}


def gradient_distance(given: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Sum over layers and output units of 1 - cosine of the two gradients (DC eq. 10)."""
    parts = [
        (1 - F.cosine_similarity(a.flatten(1), b.flatten(1), dim=1, eps=1e-6)).sum()
        for a, b in zip(given, wanted, strict=True)
    ]
    return torch.stack(parts).sum()


def random_network(images: Tensor, classes: int, width: int, seed: int) -> ConvNet3:
    torch.manual_seed(seed % 2**63)
    network = ConvNet3(images.shape[1], classes, images.shape[-1], width)
    # not channels last: group norm takes four times as long there
    return network.to(images.device).train()


def _start(real: RealImages, per_class: int, device: torch.device) -> Tensor:
    return real.distinct(per_class).to(device).clone().requires_grad_()


@torch.no_grad()
def _keep_in_range_(learned: Tensor, real: RealImages) -> None:
    low, high = (bound.to(learned.device) for bound in real.range)
    learned.clamp_(low, high)
