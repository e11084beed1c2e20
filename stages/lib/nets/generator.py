"""Generators of data-free distillation, and the autoencoder that replays what they made."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm as normed


class Generator(nn.Module):
    """DAFL's generator (Chen 2019): noise -> size/4 map -> two upsampled convolutions -> image.

    forward  (n, noise) -> (n, channels, size, size); a last batch norm without parameters gives unit variance,
             so that the images are in the normalised space that a network sees
    classes  above 0: `forward` takes labels too and adds a learned embedding of the class to the noise
    spectral_norm  of the convolutions, as in PRE-DFKD's novel generator
    """

    def __init__(
        self,
        channels: int = 3,
        size: int = 32,
        noise: int = 100,
        width: int = 64,
        classes: int = 0,
        spectral_norm: bool = False,
    ) -> None:
        super().__init__()
        self.noise, self.start = noise, size // 4
        self.embedding = nn.Embedding(classes, noise) if classes else None
        self.linear = nn.Linear(noise, 2 * width * self.start**2)
        bound: Callable[[nn.Module], nn.Module] = normed if spectral_norm else lambda layer: layer
        self.body = nn.Sequential(
            nn.BatchNorm2d(2 * width),
            nn.Upsample(scale_factor=2),
            bound(nn.Conv2d(2 * width, 2 * width, 3, padding=1)),
            nn.BatchNorm2d(2 * width, eps=0.8),  # the released code passes .8 as eps, and results rest on it
            nn.LeakyReLU(0.2),
            nn.Upsample(scale_factor=2),
            bound(nn.Conv2d(2 * width, width, 3, padding=1)),
            nn.BatchNorm2d(width, eps=0.8),
            nn.LeakyReLU(0.2),
            bound(nn.Conv2d(width, channels, 3, padding=1)),
            nn.Tanh(),
            nn.BatchNorm2d(channels, affine=False),
        )

    def forward(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.embedding is not None and labels is not None:
            noise = noise + self.embedding(labels)
        maps = self.linear(noise).unflatten(1, (-1, self.start, self.start))
        return self.body(maps.contiguous(memory_format=torch.channels_last))


class Encoder(nn.Module):
    """PRE-DFKD's encoder (its notes, section 2.6): images (n, channels, size, size) -> mean and log variance (n, latent).

    Each column of pixels is first divided by its length. The last feature map is an eighth of the image, rounded.
    """

    def __init__(self, channels: int = 3, size: int = 32, latent: int = 100, width: int = 64) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 3, padding=1), nn.BatchNorm2d(2 * width), nn.LeakyReLU(0.2),
        )  # fmt: skip
        self.second = nn.Sequential(nn.Conv2d(2 * width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width))
        with torch.no_grad():
            flat = self.eval()._maps(torch.zeros(1, channels, size, size)).numel()
        self.train()
        self.mean, self.log_variance = nn.Linear(flat, latent), nn.Linear(flat, latent)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self._maps(images).flatten(1)
        return self.mean(hidden), self.log_variance(hidden)

    def _maps(self, images: Tensor) -> Tensor:
        return F.avg_pool2d(self.second(F.avg_pool2d(self.first(F.normalize(images, dim=2)), 2)), 2)


class VAE(nn.Module):
    """Encoder and decoder of generative pseudo replay; the decoder is a Generator without spectral norm.

    forward  images, normal noise (n, latent) -> reconstruction, mean (n, latent), log variance (n, latent)
    """

    def __init__(self, channels: int = 3, size: int = 32, latent: int = 100, width: int = 64) -> None:
        super().__init__()
        self.latent = latent
        self.encoder = Encoder(channels, size, latent, width)
        self.decoder = Generator(channels, size, latent, width)

    def forward(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance = self.encoder(images)
        return self.decoder(mean + noise * (0.5 * log_variance).exp()), mean, log_variance
