"""The hybrid format: indices of kept blocks, n:m offsets, values. Lossless for weights that follow the pattern.

A matrix (rows x columns) is padded with zeros to whole blocks. Every block-row keeps the same number of blocks, so there
are no row pointers; every group of m along a row of a kept block keeps n weights, so an offset has ceil(log2 m) bits
(CRISP, notes 2.6).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.lib.core.errors import InputError

Array = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class HybridMatrix:
    """shape (rows, columns); block_columns (R, kept); offsets (R, kept, B, q) within their group of m; values likewise.

    q = B n / m weights of each row of a block, in the order of their columns.
    """

    shape: tuple[int, int]
    block: int
    n: int
    m: int
    block_columns: NDArray[np.int32]
    offsets: NDArray[np.uint8]
    values: Array

    @property
    def nonzeros(self) -> int:
        """Weights that are stored, including zeros in groups with fewer than n."""
        return int(self.values.size)


def pack(weight: Array, *, block: int, n: int, m: int) -> HybridMatrix:
    """The packed form of a matrix that follows the pattern. Raises InputError where it does not."""
    if block % m or not 0 < n <= m or block < 1:
        raise InputError(
            f"blocks of {block} with {n}:{m} do not fit: n is 1 to m, and m divides the side of a block"
        )
    rows, columns = weight.shape
    tiles = blocks_of(np.asarray(weight, np.float32), block)  # (R, C, B, B)
    used = tiles.any(axis=(2, 3))
    kept = max(int(used.sum(1).max()), 1)
    # rows with fewer blocks keep some that are all zeros: the first ones that are free
    order = np.argsort(~used, axis=1, kind="stable")[:, :kept]
    order = np.sort(order, axis=1)
    chosen = np.take_along_axis(tiles, order[:, :, None, None], axis=1)
    groups = chosen.reshape(*chosen.shape[:3], block // m, m)
    filled = groups != 0
    if (filled.sum(-1) > n).any():
        raise InputError(f"a group of {m} holds more than {n} weights: prune to {n}:{m} before packing")
    # the positions that are filled, then free ones, in the order of their columns
    places = np.sort(np.argsort(~filled, axis=-1, kind="stable")[..., :n], axis=-1)
    values = np.take_along_axis(groups, places, axis=-1)
    shape = (*chosen.shape[:3], block // m * n)
    return HybridMatrix(
        shape=(rows, columns),
        block=block,
        n=n,
        m=m,
        block_columns=order.astype(np.int32),
        offsets=places.astype(np.uint8).reshape(shape),
        values=np.ascontiguousarray(values.reshape(shape)),
    )


def unpack(packed: HybridMatrix) -> Array:
    """The matrix (rows, columns)."""
    rows, columns = packed.shape
    block_rows, kept = packed.block_columns.shape
    block_columns = -(-columns // packed.block)
    groups = np.zeros((block_rows, kept, packed.block, packed.block // packed.m, packed.m), np.float32)
    grouped = (*groups.shape[:4], packed.n)
    np.put_along_axis(
        groups, packed.offsets.reshape(grouped).astype(np.int64), packed.values.reshape(grouped), axis=-1
    )
    tiles = np.zeros((block_rows, block_columns, packed.block, packed.block), np.float32)
    tiles[np.arange(block_rows)[:, None], packed.block_columns] = groups.reshape(
        block_rows, kept, packed.block, packed.block
    )
    whole = tiles.transpose(0, 2, 1, 3).reshape(block_rows * packed.block, block_columns * packed.block)
    return np.ascontiguousarray(whole[:rows, :columns])


def blocks_of(matrix: NDArray[np.generic], block: int) -> NDArray[np.generic]:
    """(R, C, B, B) view of a matrix padded with zeros to whole blocks."""
    rows, columns = matrix.shape
    padded = np.pad(matrix, ((0, -rows % block), (0, -columns % block)))
    shape = (padded.shape[0] // block, block, padded.shape[1] // block, block)
    return padded.reshape(shape).transpose(0, 2, 1, 3)


def block_offsets(packed: HybridMatrix) -> NDArray[np.uint8]:
    """(R, kept, B, q) offsets within the row of a block instead of within groups."""
    group = np.repeat(np.arange(packed.block // packed.m), packed.n) * packed.m
    return (packed.offsets + group.astype(np.uint8)).astype(np.uint8)
