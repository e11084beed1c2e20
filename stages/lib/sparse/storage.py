"""Bits that an index takes in each sparse format: in closed form, and by really writing it (CRISP, notes 2.6)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.lib.numerics.bit_packing import bits_for, pack_fields
from stages.lib.sparse.packed import HybridMatrix, blocks_of

Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What decides the size of a sparse matrix: its shape, weights, most weights in a row, blocks that are not empty."""

    rows: int
    columns: int
    nonzeros: int
    longest_row: int
    kept_blocks: int
    block: int

    @property
    def block_rows(self) -> int:
        return -(-self.rows // self.block)

    @property
    def block_columns(self) -> int:
        return -(-self.columns // self.block)


def counts_of(mask: Mask, *, block: int) -> Counts:
    return Counts(
        rows=mask.shape[0],
        columns=mask.shape[1],
        nonzeros=int(mask.sum()),
        longest_row=int(mask.sum(1).max()),
        kept_blocks=int(blocks_of(mask, block).any(axis=(2, 3)).sum()),
        block=block,
    )


def hybrid_counts(rows: int, columns: int, *, n: int, m: int, block: int, kept: int) -> Counts:
    """Of a matrix that keeps `kept` blocks in every block-row, and n of m weights in each; padding counts as kept."""
    block_rows, per_row = -(-rows // block), kept * block * n // m
    return Counts(
        rows=rows,
        columns=columns,
        nonzeros=block_rows * block * per_row,
        longest_row=per_row,
        kept_blocks=block_rows * kept,
        block=block,
    )


def index_bits(form: str, counts: Counts, *, m: int = 1) -> int:
    """Of the index alone.

    hybrid   R Ck ceil(log2 C) of blocks + ceil(log2 m) for each weight; no row pointers, since rows are equally long
    csr, bsr a column for each weight or block, and row pointers
    bitmap   a bit for each place; ellpack  a column for each place of rows that are all as long as the longest
    """
    c = counts
    if form == "hybrid":
        return c.kept_blocks * bits_for(c.block_columns) + c.nonzeros * bits_for(m)
    if form == "csr":
        return c.nonzeros * bits_for(c.columns) + (c.rows + 1) * bits_for(c.nonzeros + 1)
    if form == "bitmap":
        return c.rows * c.columns
    if form == "ellpack":
        return c.rows * c.longest_row * bits_for(c.columns)
    if form == "bsr":
        return c.kept_blocks * bits_for(c.block_columns) + (c.block_rows + 1) * bits_for(c.kept_blocks + 1)
    raise ValueError(f"there is no format {form!r}")


def stored_weights(form: str, counts: Counts) -> int:
    """Weights that the format stores, zeros included."""
    if form in ("hybrid", "csr", "bitmap"):
        return counts.nonzeros
    if form == "ellpack":
        return counts.rows * counts.longest_row
    if form == "bsr":
        return counts.kept_blocks * counts.block**2
    raise ValueError(f"there is no format {form!r}")


def packed_counts(packed: HybridMatrix) -> Counts:
    return hybrid_counts(
        *packed.shape, n=packed.n, m=packed.m, block=packed.block, kept=packed.block_columns.shape[1]
    )


def written_index(form: str, mask: Mask, *, block: int = 16, packed: HybridMatrix | None = None) -> bytes:
    """The index as bytes, field after field, only the last byte filled up."""
    return _WRITERS[form](mask, block, packed)


def _hybrid(mask: Mask, block: int, packed: HybridMatrix | None) -> bytes:
    assert packed is not None
    columns = -(-packed.shape[1] // packed.block)
    return pack_fields((packed.block_columns, bits_for(columns)), (packed.offsets, bits_for(packed.m)))


def _csr(mask: Mask, block: int, packed: HybridMatrix | None) -> bytes:
    columns = np.nonzero(mask)[1]
    starts = np.concatenate([[0], mask.sum(1).cumsum()])
    return pack_fields((columns, bits_for(mask.shape[1])), (starts, bits_for(int(starts[-1]) + 1)))


def _bsr(mask: Mask, block: int, packed: HybridMatrix | None) -> bytes:
    used = blocks_of(mask, block).any(axis=(2, 3))
    starts = np.concatenate([[0], used.sum(1).cumsum()])
    return pack_fields(
        (np.nonzero(used)[1], bits_for(used.shape[1])), (starts, bits_for(int(starts[-1]) + 1))
    )


def _bitmap(mask: Mask, block: int, packed: HybridMatrix | None) -> bytes:
    return pack_fields((mask, 1))


def _ellpack(mask: Mask, block: int, packed: HybridMatrix | None) -> bytes:
    width = int(mask.sum(1).max())
    columns = np.argsort(~mask, axis=1, kind="stable")[:, :width]
    return pack_fields((columns, bits_for(mask.shape[1])))


_WRITERS: dict[str, Callable[[Mask, int, HybridMatrix | None], bytes]] = {
    "hybrid": _hybrid, "csr": _csr, "bsr": _bsr, "bitmap": _bitmap, "ellpack": _ellpack,
}  # fmt: skip
FORMATS = tuple(_WRITERS)


def bytes_of(index_bits: int) -> int:
    return math.ceil(index_bits / 8)
