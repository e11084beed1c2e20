"""Non-uniform code books: few values with a scale, each weight takes the nearest.

A code book is a sorted vector of values (int8 codes of a multiplier, powers of two, centroids); what a weight becomes is
value * scale. Ties go to the lower value.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.lib.core.errors import InputError

CLIPS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)  # of the scale that reaches the largest weight


def code_book(values: Sequence[float]) -> Tensor:
    """(n,) float32, sorted, each value once. Raises InputError where there is none but zero."""
    book = torch.tensor(sorted(set(values)), dtype=torch.float32)
    if not book.any():
        raise InputError("a code book needs a value other than 0")
    return book


def nearest(x: Tensor, book: Tensor) -> Tensor:
    """Index into the book of the value nearest to each x, int64."""
    return torch.bucketize(x, (book[1:] + book[:-1]) / 2)


def rounded(x: Tensor, book: Tensor, scale: Tensor) -> Tensor:
    """x to the nearest value * scale; scale broadcasts against x."""
    return book[nearest(x / scale, book)] * scale


def fitted_scales(
    rows: Tensor, book: Tensor, *, clips: Sequence[float] = CLIPS, signs: bool = True
) -> Tensor:
    """(n,) scale of each row of (n, e) with the least squared error, of a few that clip the largest weights.

    A scale reaches a row's extreme on the side where the book has a value for it. signs: where the book is lopsided a
    negative scale is tried too, which stands for the book with its signs turned. A row of zeros gets 1.
    """
    values = sorted_rows(rows)
    sums = F.pad(values.double().cumsum(1), (1, 0))
    best = torch.full_like(rows[:, 0], torch.inf, dtype=torch.float64)
    found = torch.ones_like(rows[:, 0])
    for sign in (1, -1) if signs and not torch.equal(book, -book.flip(0)) else (1,):
        turned = book if sign > 0 else -book.flip(0)
        low, high = turned[0], turned[-1]
        up = values[:, -1] / high if high > 0 else torch.zeros_like(best, dtype=rows.dtype)
        down = values[:, 0] / low if low < 0 else torch.zeros_like(best, dtype=rows.dtype)
        reach = torch.maximum(up, down).clamp(min=0)
        for clip in clips:
            scale = torch.where(reach == 0, torch.ones_like(reach), reach * clip)
            error = _error_less_squares(values, sums, turned, scale)
            better = error < best
            best, found = torch.where(better, error, best), torch.where(better, sign * scale, found)
    return found


def _error_less_squares(values: Tensor, sums: Tensor, book: Tensor, scale: Tensor) -> Tensor:
    """Squared error of sorted rows to the nearest value * scale, less the sum of their squares.

    A value of the book takes an interval of a sorted row, so that sums up to the interval's ends give
    sum (x - v)^2 - x^2 = n v^2 - 2 v sum x.
    """
    edges = torch.searchsorted(values, ((book[1:] + book[:-1]) / 2 * scale[:, None]).contiguous())
    edges = F.pad(edges, (1, 1))
    edges[:, -1] = values.shape[1]
    v = book.double() * scale.double()[:, None]
    return (edges.diff(dim=1) * v**2 - 2 * v * sums.gather(1, edges).diff(dim=1)).sum(1)


def _sorting(rows: Tensor) -> Tensor:
    if rows.device.type == "cpu":
        return torch.from_numpy(np.argsort(rows.numpy(), axis=1))
    return rows.argsort(1)


def sorted_rows(rows: Tensor) -> Tensor:
    """NumPy sorts with vector instructions, several times as fast as torch does on a CPU."""
    if rows.device.type == "cpu":
        return torch.from_numpy(np.sort(rows.numpy(), axis=1))
    return rows.sort(1).values


def weighted_centroids(rows: Tensor, weight: Tensor, n: int, *, steps: int = 12) -> Tensor:
    """(rows, n) sorted centroids of each row (rows, e) by Lloyd's k-means with weights, from weighted quantiles.

    The book of a row is its own (SqueezeLLM, Kim et al. 2024, with Fisher information as the weight).
    """
    order = _sorting(rows)
    values, mass = rows.gather(1, order), weight.gather(1, order) + 1e-30
    # in float64: differences of long sums
    total = mass.double().cumsum(1)
    quantiles = (torch.arange(n, device=rows.device, dtype=torch.float64) + 0.5) / n
    at = torch.searchsorted(total, quantiles * total[:, -1:]).clamp(max=rows.shape[1] - 1)
    centroids = values.gather(1, at)
    masses, moments = F.pad(total, (1, 0)), F.pad((mass.double() * values).cumsum(1), (1, 0))
    for _ in range(steps):
        # in sorted order a cluster is an interval, so that prefix sums give its mean
        edges = torch.searchsorted(values, (centroids[:, 1:] + centroids[:, :-1]) / 2)
        edges = torch.cat(
            [torch.zeros_like(edges[:, :1]), edges, torch.full_like(edges[:, :1], rows.shape[1])], 1
        )
        inside = masses.gather(1, edges).diff(dim=1)
        means = (moments.gather(1, edges).diff(dim=1) / inside.clamp(min=1e-30)).to(values.dtype)
        centroids = torch.where(inside > 0, means, centroids).sort(1).values
    return centroids
