"""Generators of data-free distillation and the autoencoder that replays them."""

import torch
from torch import Tensor, nn


class Generator(nn.Module):
    """DAFL's generator (Chen 2019): noise -> size/4 map -> two upsampled convolutions -> image.

    forward  (n, noise) -> (n, channels, size, size); a last batch norm without parameters gives unit variance,
             so that the images are in the normalised space that a network sees
    classes  above 0: `forward` takes labels too and adds a learned embedding of the class to the noise
    """

    def __init__(
        self, channels: int = 3, size: int = 32, noise: int = 100, width: int = 64, classes: int = 0
    ) -> None:
        super().__init__()
        self.noise, self.start = noise, size // 4
        self.embedding = nn.Embedding(classes, noise) if classes else None
        self.linear = nn.Linear(noise, 2 * width * self.start**2)
        self.body = nn.Sequential(
            nn.BatchNorm2d(2 * width),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            nn.BatchNorm2d(2 * width, eps=0.8),  # the released code passes .8 as eps, and results rest on it
            nn.LeakyReLU(0.2),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(2 * width, width, 3, padding=1),
            nn.BatchNorm2d(width, eps=0.8),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, channels, 3, padding=1),
            nn.Tanh(),
            nn.BatchNorm2d(channels, affine=False),
        )

    def forward(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.embedding is not None and labels is not None:
            noise = noise + self.embedding(labels)
        return self.body(self.linear(noise).unflatten(1, (-1, self.start, self.start)))


class VAE(nn.Module):
    """Convolutional variational autoencoder: three strided convolutions, mirrored.

    forward  images (n, channels, size, size) -> reconstruction, mean (n, latent), log variance (n, latent)
    """

    def __init__(self, channels: int = 3, size: int = 32, latent: int = 100, width: int = 32) -> None:
        super().__init__()
        self.start, self.deep = size // 8, 4 * width
        down = [
            nn.Conv2d(channels, width, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 4, 2, 1),
            nn.ReLU(),
        ]
        self.encoder = nn.Sequential(*down, nn.Conv2d(2 * width, self.deep, 4, 2, 1), nn.ReLU(), nn.Flatten())
        flat = self.deep * self.start**2
        self.mean, self.log_variance = nn.Linear(flat, latent), nn.Linear(flat, latent)
        self.expand = nn.Linear(latent, flat)
        up = [nn.ConvTranspose2d(self.deep, 2 * width, 4, 2, 1), nn.ReLU()]
        up += [nn.ConvTranspose2d(2 * width, width, 4, 2, 1), nn.ReLU()]
        self.decoder = nn.Sequential(*up, nn.ConvTranspose2d(width, channels, 4, 2, 1))

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.encoder(images)
        return self.mean(hidden), self.log_variance(hidden)

    def decode(self, latent: Tensor) -> Tensor:
        return self.decoder(self.expand(latent).unflatten(1, (self.deep, self.start, self.start)))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance = self.encode(images)
        noise = torch.randn_like(mean)
        return self.decode(mean + noise * (0.5 * log_variance).exp()), mean, log_variance
