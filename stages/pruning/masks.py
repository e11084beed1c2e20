"""Masks of hybrid sparsity: blocks ranked within their row of blocks, n:m inside those that stay (CRISP, notes 2.4).

Matrices are those of stages.lib.sparse.matrices, (outputs, columns), columns along the input channels. Scores are not
negative; a weight outside its matrix (padding) has score 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.lib.core.errors import InputError

ORDERS = ("correct", "scrambled_as_released", "random")
NORMALISATIONS = ("mean", "sum", "share")


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """n of m weights in blocks of `block` x `block`; n = m: blocks alone."""

    n: int = 2
    m: int = 4
    block: int = 16

    def __post_init__(self) -> None:
        if not 0 < self.n <= self.m or self.block % self.m:
            raise ValueError(
                f"{self.n}:{self.m} in blocks of {self.block}: n is 1 to m, and m divides the side of a block"
            )


def keep_n_of_m(scores: Tensor, n: int, m: int) -> Tensor:
    """Boolean mask (outputs, columns) of the n largest of every m columns; among equals the first. m divides columns."""
    groups = scores.reshape(scores.shape[0], -1, m)
    order = groups.argsort(dim=-1, descending=True, stable=True)
    kept = torch.zeros_like(groups, dtype=torch.bool)
    kept.scatter_(-1, order[..., :n], True)
    return kept.reshape(scores.shape)


def block_scores(scores: Tensor, block: int) -> Tensor:
    """(R, C) sums over blocks of a matrix padded with zeros to whole ones."""
    rows, columns = scores.shape
    padded = F.pad(scores, (0, -columns % block, 0, -rows % block))
    return padded.reshape(padded.shape[0] // block, block, -1, block).sum((1, 3))


def scrambled(sums: Tensor) -> Tensor:
    """Sums (R, C) as the released code attaches them: written column by column, read row by row (notes 3, defect 1)."""
    return sums.T.reshape(sums.shape)


def expand_blocks(kept: Tensor, shape: torch.Size | Sequence[int], block: int) -> Tensor:
    """(rows, columns) of a mask of blocks (R, C)."""
    whole = kept.repeat_interleave(block, 0).repeat_interleave(block, 1)
    return whole[: shape[0], : shape[1]]


def rank_columns(sums: Tensor) -> Tensor:
    """(C,) ascending: q[j] is the sum over block-rows of their j-th smallest block (notes 2.4, step 8)."""
    return sums.sort(dim=1).values.sum(0)


def kept_blocks(
    sums: Mapping[str, Tensor],
    share: float,
    *,
    normalisation: str = "mean",
    floor: float = 0.0,
    limits: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Name -> blocks that each block-row of a layer keeps, so that about `share` of all weights in blocks is kept.

    sums     name -> (R, C) block scores
    floor    share of its blocks that a layer keeps at least; one block is kept in any case
    limits   name -> most that it may keep (masks that only shrink)
    Rank-columns of all layers compete by their score; `mean` divides it by R, `share` also by the layer's mean, `sum`
    is as released, where layers with few block-rows lose out (claim C12). A rank-column counts by its R blocks; of equal
    scores the first layer's is taken first.
    """
    if normalisation not in NORMALISATIONS:
        raise InputError(f"normalisation {normalisation!r}: choose one of {', '.join(NORMALISATIONS)}")
    names = list(sums)
    entries = []  # (score, -order, name, weight)
    kept = {}
    for place, name in enumerate(names):
        rows, columns = sums[name].shape
        q = rank_columns(sums[name]).double()
        if normalisation != "sum":
            q = q / rows
        if normalisation == "share":
            q = q / max(float(q.mean()), 1e-30)
        most = min(columns, (limits or {}).get(name, columns))
        kept[name] = min(max(1, int(np.ceil(floor * columns))), most)
        # descending: the largest ranks are kept first
        for j in range(kept[name], most):
            entries.append((float(q[columns - 1 - j]), -place, name, rows))
    total = sum(s.numel() for s in sums.values())
    room = share * total - sum(kept[name] * sums[name].shape[0] for name in names)
    for _, _, name, rows in sorted(entries, reverse=True):
        if room < rows / 2:
            break
        kept[name] += 1
        room -= rows
    return kept


def block_mask(sums: Tensor, kept: int, alive: Tensor | None = None) -> Tensor:
    """(R, C) mask of the `kept` best blocks of each row, of those that are alive; among equals the first."""
    ranked = sums if alive is None else torch.where(alive, sums, torch.full_like(sums, -1.0))
    order = ranked.argsort(dim=1, descending=True, stable=True)
    found = torch.zeros_like(sums, dtype=torch.bool)
    return found.scatter(1, order[:, :kept], True)


def ordered(sums: Tensor, order: str, chance: torch.Generator | None = None) -> Tensor:
    """Block scores as an ablation attaches them to blocks; what a layer has in all stays the same."""
    if order == "correct":
        return sums
    if order == "scrambled_as_released":
        return scrambled(sums)
    if order == "random":
        return sums.flatten()[torch.randperm(sums.numel(), generator=chance)].reshape(sums.shape)
    raise InputError(f"score order {order!r}: choose one of {', '.join(ORDERS)}")


def block_share(sparsity: float, pattern: Pattern) -> float:
    """Share of blocks to keep: kappa = 1 - n/m (1 - r) (notes 2.1). Raises InputError where n:m alone is sparser."""
    kept = (1 - sparsity) * pattern.m / pattern.n
    if kept > 1 + 1e-9:
        raise InputError(
            f"{pattern.n}:{pattern.m} alone prunes {1 - pattern.n / pattern.m:.0%}: a sparsity of {sparsity:.0%} is less"
        )
    return min(kept, 1.0)
