"""Confidence intervals over seeds and over test images."""

from collections.abc import Sequence
from math import isclose

import numpy as np
from scipy import stats

from stages.lib.core.measurements import Sample


def mean_interval(samples: Sequence[Sample], *, confidence: float) -> tuple[float, float] | None:
    """Student's t interval of the mean over seeds; None for fewer than two samples.

    A paired comparison enters as one difference a seed, so that this is the paired interval too.
    """
    values = np.array([sample.value for sample in samples])
    if len(values) < 2:
        return None
    mean, error = float(values.mean()), float(stats.sem(values))
    if isclose(error, 0, abs_tol=1e-15):
        return mean, mean
    low, high = stats.t.interval(confidence, len(values) - 1, loc=mean, scale=error)
    return float(low), float(high)


def bootstrap_interval(resamples: Sequence[float], *, confidence: float) -> tuple[float, float]:
    """Percentile interval (Efron 1979) of a statistic's values on test images drawn anew."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.asarray(resamples), (tail, 1 - tail))
    return float(low), float(high)


def joint_interval(
    samples: Sequence[Sample], resamples: Sequence[float], *, confidence: float
) -> tuple[float, float] | None:
    """What covers both the interval over seeds and that over test images; None for fewer than two seeds."""
    over_seeds = mean_interval(samples, confidence=confidence)
    if over_seeds is None or not resamples:
        return over_seeds
    over_images = bootstrap_interval(resamples, confidence=confidence)
    return min(over_seeds[0], over_images[0]), max(over_seeds[1], over_images[1])
