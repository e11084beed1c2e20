"""A discriminator of features: which are of given images, and which of made ones, class by class."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class FeatureDiscriminator(nn.Module):
    """Two hidden layers and a projection on an embedding of the class (Miyato and Koyama 2018), spectral norm throughout.

    forward  (n, width) features and (n,) classes -> (n,) scores, high for given images
    conditional  False leaves the class out; the layers stay the same
    """

    def __init__(self, width: int, classes: int, *, hidden: int = 128, conditional: bool = True) -> None:
        super().__init__()
        self.body = nn.Sequential(
            spectral_norm(nn.Linear(width, hidden)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Linear(hidden, hidden)),
            nn.LeakyReLU(0.2),
        )
        self.score = spectral_norm(nn.Linear(hidden, 1))
        self.embedding = spectral_norm(nn.Embedding(classes, hidden)) if conditional else None

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        hidden = self.body(features)
        score = self.score(hidden).squeeze(1)
        return score if self.embedding is None else score + (self.embedding(labels) * hidden).sum(1)


def discriminator_loss(given: Tensor, made: Tensor) -> Tensor:
    """Hinge loss of scores (n,) of given and of made features: mean max(0, 1 - given) + mean max(0, 1 + made)."""
    return F.relu(1 - given).mean() + F.relu(1 + made).mean()


def moment_distance(features: Tensor, labels: Tensor, means: Tensor) -> Tensor:
    """mean over classes of ||mean of the class's features - the given mean||^2 / width, without a discriminator.

    features (n, width) with labels (n,); means (classes, width). Classes without features count nothing.
    """
    present, at = labels.unique(return_inverse=True)
    counts = torch.bincount(at).unsqueeze(1)
    of_class = torch.zeros(len(present), features.shape[1], device=features.device).index_add(0, at, features)
    return (of_class / counts - means[present]).square().mean()
