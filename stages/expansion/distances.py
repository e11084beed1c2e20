"""How far made images are from real ones: in the teacher's features, and in pixels from the nearest of them."""

import numpy as np
from sklearn.metrics import pairwise_distances_argmin_min

REGULAR = 1e-6  # added to the diagonals of covariances, of few images the less sure


def class_frechet(
    features: np.ndarray, labels: np.ndarray, real: np.ndarray, real_labels: np.ndarray
) -> float:
    """Mean over classes of the Frechet distance between two Gaussians: of made and of real features (n, width).

    ||m1 - m2||^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) (Heusel et al. 2017). It falls with the number of images: compare sets
    of the same size. Raises ValueError where a class has fewer than two made or real images.
    """
    classes = np.unique(labels)
    return float(np.mean([frechet(features[labels == c], real[real_labels == c]) for c in classes.tolist()]))


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Between the Gaussians of two sets of rows."""
    if min(len(a), len(b)) < 2:
        raise ValueError(f"a distance of Gaussians needs two rows each, not {len(a)} and {len(b)}")
    of_a, of_b = (np.cov(x, rowvar=False) + REGULAR * np.eye(x.shape[1]) for x in (a, b))
    # (C1 C2)^(1/2) has the trace of (C1^(1/2) C2 C1^(1/2))^(1/2), which is symmetric
    values, vectors = np.linalg.eigh(of_a)
    root = vectors * np.sqrt(np.clip(values, 0, None)) @ vectors.T
    shared = np.sqrt(np.clip(np.linalg.eigvalsh(root @ of_b @ root), 0, None)).sum()
    difference = a.mean(0) - b.mean(0)
    return float(difference @ difference + np.trace(of_a) + np.trace(of_b) - 2 * shared)


def nearest_distances(images: np.ndarray, real: np.ndarray) -> np.ndarray:
    """(n,) root mean square difference in pixels of 0..1 between each image and the nearest real one; uint8 arrays."""
    ours, theirs = (x.reshape(len(x), -1).astype(np.float32) / 255 for x in (images, real))
    _, nearest = pairwise_distances_argmin_min(ours, theirs)
    return nearest / np.sqrt(ours.shape[1])
