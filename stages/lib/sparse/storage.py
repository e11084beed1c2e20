"""Bits that an index takes in each sparse format: in closed form, and by really writing it (CRISP, notes 2.6)."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from stages.lib.sparse.packed import HybridMatrix, blocks_of

Mask = NDArray[np.bool_]


def bits(values: int) -> int:
    """That tell `values` cases apart; one case needs none."""
    return max(values - 1, 0).bit_length()


def hybrid_index_bits(packed: HybridMatrix) -> int:
    """Block indices and offsets: R Ck ceil(log2 C) + kept weights ceil(log2 m); no row pointers."""
    block_rows, kept = packed.block_columns.shape
    columns = -(-packed.shape[1] // packed.block)
    return block_rows * kept * bits(columns) + packed.nonzeros * bits(packed.m)


def index_bits(form: str, mask: Mask, *, block: int = 16) -> int:
    """Of a mask (rows, columns) as CSR, BSR, bitmap or ELLPACK; BSR and ELLPACK store zeros beside the weights."""
    rows, columns = mask.shape
    nonzeros = int(mask.sum())
    if form == "csr":
        return nonzeros * bits(columns) + (rows + 1) * bits(nonzeros + 1)
    if form == "bitmap":
        return rows * columns
    if form == "ellpack":
        return rows * int(mask.sum(1).max()) * bits(columns)
    if form == "bsr":
        kept = int(blocks_of(mask, block).any(axis=(2, 3)).sum())
        block_rows, block_columns = -(-rows // block), -(-columns // block)
        return kept * bits(block_columns) + (block_rows + 1) * bits(kept + 1)
    raise ValueError(f"there is no format {form!r}")


def stored_weights(form: str, mask: Mask, *, block: int = 16) -> int:
    """Weights that the format stores, zeros included."""
    if form in ("csr", "bitmap"):
        return int(mask.sum())
    if form == "ellpack":
        return mask.shape[0] * int(mask.sum(1).max())
    if form == "bsr":
        return int(blocks_of(mask, block).any(axis=(2, 3)).sum()) * block * block
    raise ValueError(f"there is no format {form!r}")


def written_index(form: str, mask: Mask, *, block: int = 16, packed: HybridMatrix | None = None) -> bytes:
    """The index as bytes, field after field, only the last byte filled up."""
    return _WRITERS[form](mask, block, packed)


def _hybrid(mask: Mask, block: int, packed: HybridMatrix | None) -> bytes:
    assert packed is not None
    columns = -(-packed.shape[1] // packed.block)
    return _joined((packed.block_columns, bits(columns)), (packed.offsets, bits(packed.m)))


def _csr(mask: Mask, block: int, packed: HybridMatrix | None) -> bytes:
    columns = np.nonzero(mask)[1]
    starts = np.concatenate([[0], mask.sum(1).cumsum()])
    return _joined((columns, bits(mask.shape[1])), (starts, bits(int(starts[-1]) + 1)))


def _bsr(mask: Mask, block: int, packed: HybridMatrix | None) -> bytes:
    used = blocks_of(mask, block).any(axis=(2, 3))
    starts = np.concatenate([[0], used.sum(1).cumsum()])
    return _joined((np.nonzero(used)[1], bits(used.shape[1])), (starts, bits(int(starts[-1]) + 1)))


def _bitmap(mask: Mask, block: int, packed: HybridMatrix | None) -> bytes:
    return _joined((mask, 1))


def _ellpack(mask: Mask, block: int, packed: HybridMatrix | None) -> bytes:
    width = int(mask.sum(1).max())
    columns = np.argsort(~mask, axis=1, kind="stable")[:, :width]
    return _joined((columns, bits(mask.shape[1])))


def _joined(*fields: tuple[NDArray[np.generic], int]) -> bytes:
    """Values of so many bits each, one after the other, the highest bit first."""
    parts = [np.zeros(0, np.uint8)]
    for values, width in fields:
        numbers = np.asarray(values).ravel().astype(np.uint64)
        shifts = np.arange(width - 1, -1, -1, dtype=np.uint64)
        parts.append(((numbers[:, None] >> shifts) & np.uint64(1)).astype(np.uint8).ravel())
    return np.packbits(np.concatenate(parts)).tobytes()


_WRITERS: dict[str, Callable[[Mask, int, HybridMatrix | None], bytes]] = {
    "hybrid": _hybrid, "csr": _csr, "bsr": _bsr, "bitmap": _bitmap, "ellpack": _ellpack,
}  # fmt: skip
FORMATS = tuple(_WRITERS)


def bytes_of(index_bits: int) -> int:
    return math.ceil(index_bits / 8)
