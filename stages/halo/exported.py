"""Language models on code books, as files: indices packed to the bits that are counted, and a schedule of the clock.

    weights.safetensors  of each linear layer NAME, all as bytes:
                         NAME.low, NAME.high      indices into the books of the weights in low and in high tiles, by rows
                         NAME.classes             a bit a tile, 1 for low
                         NAME.scales              (R, C) float16 of the tiles; a negative one turns the signs of its book
                         NAME.sparse_columns, NAME.sparse_starts, NAME.sparse_codes   exceptional weights as CSR
                         NAME.sparse_scales       (outputs,) float16
    halo.json            books, sides of tiles, shapes, the row's settings, and the digest of the float model
    schedule.json        see stages.halo.schedule

Nine values take ten bits in threes; an index of a book of 16 takes four. Embeddings and norms stay with the float model.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import Tensor

from stages.halo.quantise import Matrix, Quantised
from stages.lib.core.artifacts import atomic_path, read_json, write_json
from stages.lib.core.errors import InputError
from stages.lib.numerics.bit_packing import bits_for, pack_fields, unpack_field
from stages.lib.numerics.codebooks import code_book, nearest
from stages.lib.numerics.tiles import spread

LAYOUT = 1  # of the folder; a reader refuses others
NINE = 9  # values, of which three are packed into ten bits


def write_exported(folder: Path, quantised: Quantised, *, tile: int, record: Mapping[str, Any]) -> None:
    """Write weights.safetensors and halo.json, the latter last. record: what else halo.json shall say."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, NDArray[np.generic]] = {}
    for name, matrix in quantised.matrices.items():
        if matrix.low is None:
            raise InputError(f"{name} has no tiles: only rows on code books are exported")
        tensors |= {f"{name}.{key}": part for key, part in _parts(matrix, quantised.books, tile).items()}
    with atomic_path(folder / "weights.safetensors") as temporary:
        save_file(tensors, temporary)
    shapes = {name: list(matrix.values.shape) for name, matrix in quantised.matrices.items()}
    write_json(
        folder / "halo.json",
        dict(record)
        | {
            "layout": LAYOUT,
            "tile": tile,
            "books": {name: list(book) for name, book in quantised.books.items()},
            "shapes": shapes,
            "bits_per_weight": quantised.bits_per_weight,
            "payload_bytes": sum(t.nbytes for t in tensors.values()),
        },
    )


def read_exported(folder: Path) -> tuple[dict[str, Matrix], dict[str, Any]]:
    """Matrices by layer, and what halo.json says. Raises InputError where the folder is not whole."""
    record = read_json(folder / "halo.json")
    if not isinstance(record, dict) or record.get("layout") != LAYOUT:
        raise InputError(f"{folder / 'halo.json'} is not of layout {LAYOUT}; export the row again")
    tensors = load_file(folder / "weights.safetensors")
    found = {}
    for name, shape in record["shapes"].items():
        parts = {
            key.removeprefix(f"{name}."): t for key, t in tensors.items() if key.rpartition(".")[0] == name
        }
        try:
            found[name] = _matrix(parts, record["books"], record["tile"], tuple(shape))
        except (KeyError, ValueError, IndexError) as error:
            raise InputError(
                f"{folder / 'weights.safetensors'}: {name} cannot be read ({error}); export the row again"
            ) from error
    return found, record


def _parts(matrix: Matrix, books: Mapping[str, tuple[int, ...]], tile: int) -> dict[str, NDArray[np.generic]]:
    assert matrix.low is not None
    assert matrix.scales is not None
    assert matrix.codes is not None
    is_low = spread(matrix.low, tile, matrix.codes.shape).numpy()
    parts: dict[str, NDArray[np.generic]] = {
        "classes": _bytes(pack_fields((matrix.low.numpy(), 1))),
        "scales": matrix.scales.half().numpy(),
    }
    for name, chosen in (("low", is_low), ("high", ~is_low)):
        # a weight kept apart is 0 here: where the book has no 0 its index is that of the nearest value
        index = nearest(matrix.codes.float(), code_book(books[name])).numpy()[chosen]
        parts[name] = _bytes(_packed_indices(index, len(books[name])))
    if matrix.sparse is not None and matrix.sparse.any():
        assert matrix.sparse_codes is not None
        assert matrix.sparse_scales is not None
        apart = matrix.sparse.numpy()
        starts = np.concatenate([[0], apart.sum(1).cumsum()])
        parts |= {
            "sparse_columns": _bytes(pack_fields((np.nonzero(apart)[1], bits_for(apart.shape[1])))),
            "sparse_starts": _bytes(pack_fields((starts, bits_for(int(starts[-1]) + 1)))),
            "sparse_codes": matrix.sparse_codes.numpy(),
            "sparse_scales": matrix.sparse_scales.half().numpy(),
        }
    return parts


def _matrix(
    parts: Mapping[str, NDArray[np.generic]],
    books: Mapping[str, Sequence[int]],
    tile: int,
    shape: tuple[int, int],
) -> Matrix:
    scales = torch.from_numpy(parts["scales"]).float()
    classes = unpack_field(parts["classes"].tobytes(), n=scales.numel(), width=1)
    low = torch.from_numpy(classes.reshape(scales.shape).astype(bool))
    is_low = spread(low, tile, torch.Size(shape)).numpy()
    if is_low.shape != shape:
        raise ValueError(f"{tuple(scales.shape)} tiles of {tile} do not make {shape}")
    codes = np.zeros(shape, np.int8)
    for name, chosen in (("low", is_low), ("high", ~is_low)):
        book = np.array(sorted(books[name]), np.int8)
        codes[chosen] = book[_unpacked_indices(parts[name].tobytes(), int(chosen.sum()), len(book))]
    sparse, exact = np.zeros(shape, bool), np.zeros(shape, np.float32)
    sparse_codes, sparse_scales = np.zeros(0, np.int8), np.ones(shape[0], np.float32)
    if "sparse_codes" in parts:
        sparse_codes = parts["sparse_codes"].astype(np.int8)
        n = len(sparse_codes)
        starts = unpack_field(parts["sparse_starts"].tobytes(), n=shape[0] + 1, width=bits_for(n + 1))
        columns = unpack_field(parts["sparse_columns"].tobytes(), n=n, width=bits_for(shape[1]))
        rows = np.repeat(np.arange(shape[0]), np.diff(starts))
        sparse_scales = parts["sparse_scales"].astype(np.float32)
        sparse[rows, columns] = True
        exact[rows, columns] = sparse_codes * sparse_scales[rows]
        codes[sparse] = 0
    scale = spread(scales, tile, torch.Size(shape))
    values = torch.where(
        torch.from_numpy(sparse), torch.from_numpy(exact), torch.from_numpy(codes).float() * scale
    )
    return Matrix(
        values=values,
        bits=8.0 * sum(part.nbytes for part in parts.values()),
        codes=torch.from_numpy(codes),
        scales=scales,
        low=low,
        sparse=torch.from_numpy(sparse),
        sparse_codes=torch.from_numpy(sparse_codes),
        sparse_scales=torch.from_numpy(sparse_scales),
    )


def _packed_indices(index: NDArray[np.integer], size: int) -> bytes:
    if size != NINE:
        return pack_fields((index, bits_for(size)))
    threes = np.pad(index, (0, -len(index) % 3)).reshape(-1, 3)
    return pack_fields((threes @ np.array([NINE**2, NINE, 1]), bits_for(NINE**3)))


def _unpacked_indices(packed: bytes, n: int, size: int) -> NDArray[np.integer]:
    """Raises IndexError where an index is beyond the book's size."""
    if size != NINE:
        index = unpack_field(packed, n=n, width=bits_for(size))
    else:
        threes = unpack_field(packed, n=-(-n // 3), width=bits_for(NINE**3))
        index = np.stack([threes // NINE**2, threes // NINE % NINE, threes % NINE], 1).reshape(-1)[:n]
    if len(index) and index.max() >= size:
        raise IndexError(f"an index of {index.max()} into a book of {size} values")
    return index


def _bytes(packed: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(packed, np.uint8)


def same_matrix(one: Matrix, other: Matrix) -> bool:
    """Whether both say the same in every bit: codes, values, scales, classes and what is kept apart."""

    def same(a: Tensor | None, b: Tensor | None) -> bool:
        return a is not None and b is not None and torch.equal(a, b)

    apart = one.sparse is None or torch.equal(one.sparse, other.sparse)
    return apart and all(
        same(getattr(one, k), getattr(other, k)) for k in ("codes", "values", "scales", "low")
    )
