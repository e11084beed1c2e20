"""Confidence intervals over seeds."""

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
