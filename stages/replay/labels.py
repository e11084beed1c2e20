"""What noise and rebuilding do to the class that a teacher gives an image (notes 2.4, claims P3, P4 and P9)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from stages.lib.inversion.learning import step_
from stages.lib.inversion.networks import Networks
from stages.lib.nets.generator import VAE
from stages.lib.training.device import channels_last_
from stages.replay.memories import balanced_codes, reconstruction_loss


@torch.no_grad()
def kept_under_noise(
    images: Tensor, networks: Networks, deviations: Sequence[float], *, chance: torch.Generator
) -> list[float]:
    """Share of images (n, channels, size, size) whose class stays when Gaussian noise of each deviation is added.

    Deviations are those of normalised images, whose own is about 1 whether real or made.
    """
    before = networks.ask_teacher(images)[0].argmax(1)
    noise = torch.randn(images.shape, generator=chance).to(images.device)
    return [
        float((networks.ask_teacher(images + deviation * noise)[0].argmax(1) == before).float().mean())
        for deviation in deviations
    ]


@torch.no_grad()
def kept_by_rebuilding(images: Tensor, vae: VAE, networks: Networks) -> float:
    """Share of images whose class the VAE's reconstruction has too, from the mean codes."""
    mean, _ = vae.encoder(images)
    rebuilt = networks.images(vae.decoder, mean)
    classes = (networks.ask_teacher(x)[0].argmax(1) for x in (images, rebuilt))
    return float(torch.eq(*classes).float().mean())


def trained_vae(
    images: Tensor,
    networks: Networks,
    *,
    steps: int,
    latent: int,
    width: int,
    rate: float,
    teacher_response: bool,
    seed: int,
    batch_size: int = 128,
) -> VAE:
    """A VAE of these images; two that differ in teacher_response alone start alike and see the same batches."""
    torch.manual_seed(seed)
    vae = channels_last_(VAE(networks.channels, networks.size, latent, width).to(networks.device)).train()
    optimiser = torch.optim.Adam(vae.parameters(), rate, fused=True)
    chance = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        logits = torch.cat([networks.ask_teacher(part)[0] for part in images.split(1024)])
    for _ in range(steps):
        rows = torch.randint(len(images), (batch_size,), generator=chance)
        noise = torch.randn(batch_size, latent, generator=chance).to(networks.device)
        loss = reconstruction_loss(
            images[rows], logits[rows], vae, networks, noise, teacher_response=teacher_response
        )
        step_(optimiser, loss, list(vae.parameters()))
    return vae


def batch_entropy(
    vae: VAE,
    networks: Networks,
    *,
    balanced: bool,
    rate: float,
    batch_size: int,
    chance: torch.Generator,
    batches: int = 40,
) -> float:
    """Mean entropy of the teacher's classes in batches of the decoder's images, over that of even classes."""
    found = []
    for _ in range(batches):
        codes = torch.randn(batch_size, vae.latent, generator=chance).to(networks.device)
        if balanced:
            codes = balanced_codes(codes, vae.decoder, networks, rate=rate)
        with torch.no_grad():
            classes = networks.ask_teacher(networks.images(vae.decoder, codes))[0].argmax(1)
        shares = torch.bincount(classes, minlength=networks.teacher.head.out_features) / batch_size
        found.append(float(torch.special.entr(shares).sum()))
    return sum(found) / len(found) / math.log(min(networks.teacher.head.out_features, batch_size))
