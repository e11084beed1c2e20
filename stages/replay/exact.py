"""What can be said of PRE-DFKD without training anything: sizes and gradients (claims P6 and P7)."""

import torch

from stages.lib.inversion.losses import disagreement_loss, released_disagreement_loss
from stages.lib.nets.generator import VAE
from stages.replay.memories import bytes_of

# of the released code: images of 32 x 32 in three channels, codes of 1,000, maps of 64 channels (notes 2.6, 2.7)
RELEASED_LATENT, RELEASED_WIDTH = 1000, 64
PUBLISHED_MB = 2.1  # replay memory, second-hand summary


def vae_megabytes(latent: int = RELEASED_LATENT) -> float:
    """Of encoder and decoder in float32, 10^6 bytes."""
    return bytes_of(VAE(3, 32, latent, RELEASED_WIDTH)) / 1e6


def largest_latent_of(megabytes: float) -> int:
    """The largest size of a code with which the VAE, as wide as released, takes no more; 0 where none does."""
    one, two = vae_megabytes(1), vae_megabytes(2)
    return max(0, 1 + int((megabytes - one) / (two - one))) if one <= megabytes else 0


def disagreement_gradients(classes: int, *, images: int = 256, seed: int = 0) -> dict[str, float]:
    """Norm of the gradient with respect to the student's logits, an image, of L_dis as released and of the true one.

    Teacher and student are uncertain, as a student is at first: logits from N(0, 1).
    """
    chance = torch.Generator().manual_seed(seed)
    teacher = torch.randn(images, classes, generator=chance)
    student = torch.randn(images, classes, generator=chance).requires_grad_()
    found = {}
    for name, loss in (("released", released_disagreement_loss), ("fixed", disagreement_loss)):
        (gradient,) = torch.autograd.grad(loss(student, teacher), [student])
        found[name] = float(gradient.norm() / images**0.5)
    return found
