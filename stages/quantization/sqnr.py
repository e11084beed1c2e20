"""Signal-to-quantisation-noise ratio of formats with the scale of least error (minifloats notes, 5 and M6).

A source is known by the partial moments of its magnitude: of a distribution in closed form, of a tensor by sums over
its sorted values. The error of a symmetric quantiser then is a finite sum, with no sampling and no integration by
points: between two midpoints m_k all magnitudes become s q_k, so that

    MSE(s) = sum_k ( M2[k] - 2 s q_k M1[k] + s^2 q_k^2 M0[k] ),   Mj[k] = E[ |w|^j ; s m_k-1 < |w| <= s m_k ]
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from stages.lib.numerics.decode import decode_table
from stages.lib.numerics.formats import Format

Array = NDArray[np.float64]

STEPS_PER_OCTAVE = 16
REFINED_STEPS = 33
# thresholds that are tried, as multiples of the root mean square
LOWEST_THRESHOLD, HIGHEST_THRESHOLD = 2.0**-1, 2.0**10


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is to be quantised; symmetric about 0.

    moments   t (...) of 0 or more -> (3, ...): E[1], E[|w|], E[w^2], each over |w| <= t
    rms       root mean square
    kurtosis  E[w^4] / E[w^2]^2: 3 for a Gaussian (inf where it has none)
    largest   of |w| (inf for a distribution without bounds)
    """

    moments: Callable[[Array], Array]
    rms: float
    kurtosis: float
    largest: float


def distributions() -> dict[str, Source]:
    """The four of claim M6a in the order of their tails, then one with heavier tails than any weight has."""
    return {
        "uniform": uniform(),
        "gaussian": gaussian(),
        "laplace": laplace(),
        "student-t, 5 degrees": student_t(5),
        "student-t, 3 degrees": student_t(3),
    }


def uniform() -> Source:
    """Density 1/2 on -1..1."""

    def moments(t: Array) -> Array:
        t = np.minimum(t, 1)
        return np.stack([t, t**2 / 2, t**3 / 3])

    return Source(moments=moments, rms=3**-0.5, kurtosis=1.8, largest=1.0)


def gaussian() -> Source:
    """Variance 1: w^2 / 2 is a gamma variable, whose partial moments are incomplete gamma functions."""

    def moments(t: Array) -> Array:
        parts = []
        for j in range(3):
            p = (1 + j) / 2
            whole = 2 ** (j / 2) * special.gamma(p) / special.gamma(0.5)
            parts.append(whole * special.gammainc(p, t**2 / 2))
        return np.stack(parts)

    return Source(moments=moments, rms=1.0, kurtosis=3.0, largest=np.inf)


def laplace() -> Source:
    """Density exp(-|w|) / 2: |w| is a gamma variable."""

    def moments(t: Array) -> Array:
        return np.stack([special.gammainc(j + 1, t) * special.gamma(j + 1) for j in range(3)])

    return Source(moments=moments, rms=2**0.5, kurtosis=6.0, largest=np.inf)


def student_t(degrees: float) -> Source:
    """Student's t of more than 2 degrees of freedom: with b = w^2 / (degrees + w^2), b is a beta variable."""
    if degrees <= 2:
        raise ValueError(f"Student's t of {degrees} degrees of freedom has no variance; choose more than 2")

    def moments(t: Array) -> Array:
        b = np.where(np.isinf(t), 1.0, t**2 / (degrees + np.where(np.isinf(t), 0.0, t) ** 2))
        parts = []
        for j in range(3):
            p, q = (1 + j) / 2, (degrees - j) / 2
            whole = degrees ** (j / 2) * special.beta(p, q) / special.beta(0.5, degrees / 2)
            parts.append(whole * special.betainc(p, q, b))
        return np.stack(parts)

    kurtosis = 3 + 6 / (degrees - 4) if degrees > 4 else np.inf
    return Source(moments=moments, rms=(degrees / (degrees - 2)) ** 0.5, kurtosis=kurtosis, largest=np.inf)


def values(w: NDArray[np.floating]) -> Source:
    """The values of a tensor that is not all 0, each as likely as the other; the sign of none matters."""
    magnitude = np.sort(np.abs(np.asarray(w, dtype=np.float64)).ravel())
    powers = np.stack([np.ones_like(magnitude), magnitude, magnitude**2])
    sums = np.concatenate([np.zeros((3, 1)), np.cumsum(powers, axis=1)], axis=1) / len(magnitude)

    def moments(t: Array) -> Array:
        return sums[:, np.searchsorted(magnitude, t, side="right")]

    square = float(np.mean(powers[2]))
    return Source(
        moments=moments,
        rms=square**0.5,
        kurtosis=float(np.mean(powers[2] ** 2)) / square**2,
        largest=float(magnitude[-1]),
    )


def sqnr_db(source: Source, format: Format) -> float:
    """10 log10(E[w^2] / MSE) with the scale of least error, found on a grid and once more around its best point."""
    _, error = best_scale(source, format)
    return ratio_db(source, error)


def abs_max_sqnr_db(source: Source, format: Format) -> float:
    """The same with the scale that maps the largest magnitude onto the format's largest value."""
    error = mean_squared_error(source, format, np.array([source.largest / format.max_value]))
    return ratio_db(source, float(error[0]))


def ratio_db(source: Source, error: float) -> float:
    return float(10 * np.log10(source.rms**2 / error)) if error > 0 else np.inf


def best_scale(source: Source, format: Format) -> tuple[float, float]:
    """(scale, mean squared error) of least error."""
    octaves = np.log2(HIGHEST_THRESHOLD / LOWEST_THRESHOLD)
    thresholds = LOWEST_THRESHOLD * 2 ** np.linspace(0, octaves, int(octaves * STEPS_PER_OCTAVE) + 1)
    thresholds = thresholds[thresholds * source.rms <= 2 * source.largest]
    scales = thresholds * source.rms / format.max_value
    near = scales[np.argmin(mean_squared_error(source, format, scales))]
    around = near * 2 ** (np.linspace(-1, 1, REFINED_STEPS) / STEPS_PER_OCTAVE)
    errors = mean_squared_error(source, format, around)
    at = int(np.argmin(errors))
    return float(around[at]), float(errors[at])


def mean_squared_error(source: Source, format: Format, scales: Array) -> Array:
    """(S,) error for each of these scales (S,)."""
    table = decode_table(format)
    q = np.unique(np.abs(table[~np.isnan(table)]))
    middles = np.concatenate([(q[1:] + q[:-1]) / 2, [np.inf]])
    ends = source.moments(scales[:, None] * middles)
    m0, m1, m2 = np.diff(ends, axis=2, prepend=0.0)
    points = scales[:, None] * q
    return (m2 - 2 * points * m1 + points**2 * m0).sum(axis=1)
