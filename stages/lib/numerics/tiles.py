"""Matrices cut into square tiles, padded with zeros to whole ones."""

import torch.nn.functional as F
from torch import Size, Tensor


def to_tiles(matrix: Tensor, side: int) -> Tensor:
    """(R, C, side, side) of a matrix (rows, columns)."""
    rows, columns = matrix.shape
    padded = F.pad(matrix, (0, -columns % side, 0, -rows % side))
    return padded.reshape(padded.shape[0] // side, side, -1, side).transpose(1, 2)


def from_tiles(tiles: Tensor, shape: Size | tuple[int, int]) -> Tensor:
    """The matrix of that shape; inverse of to_tiles."""
    high, wide, side, _ = tiles.shape
    return tiles.transpose(1, 2).reshape(high * side, wide * side)[: shape[0], : shape[1]]


def spread(values: Tensor, side: int, shape: Size | tuple[int, int]) -> Tensor:
    """(rows, columns): one value a tile, (R, C), at each place of its tile."""
    whole = values.repeat_interleave(side, 0).repeat_interleave(side, 1)
    return whole[: shape[0], : shape[1]]
