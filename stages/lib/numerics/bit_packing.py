"""Numbers of a few bits each, one after the other without gaps, the highest bit first."""

import numpy as np
from numpy.typing import NDArray


def bits_for(cases: int) -> int:
    """That tell so many cases apart; one case needs none."""
    return max(cases - 1, 0).bit_length()


def pack_fields(*fields: tuple[NDArray[np.generic], int]) -> bytes:
    """Fields of (values, bits of each), one after the other; only the last byte is filled up."""
    parts = [np.zeros(0, np.uint8)]
    for values, width in fields:
        numbers = np.asarray(values).ravel().astype(np.uint64)
        parts.append(((numbers[:, None] >> _shifts(width)) & np.uint64(1)).astype(np.uint8).ravel())
    return np.packbits(np.concatenate(parts)).tobytes()


def unpack_field(packed: bytes, *, n: int, width: int) -> NDArray[np.int64]:
    """The n values of a single field."""
    found = np.unpackbits(np.frombuffer(packed, np.uint8), count=n * width).reshape(n, width)
    return (found.astype(np.uint64) << _shifts(width)).sum(1).astype(np.int64)


def _shifts(width: int) -> NDArray[np.uint64]:
    return np.arange(width - 1, -1, -1, dtype=np.uint64)
