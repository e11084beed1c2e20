"""Products with packed weights: compiled kernels where there is a compiler, numba's elsewhere; the same results."""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import ml_dtypes
import numba
import numpy as np
from numpy.typing import NDArray

from stages.lib.core.errors import InputError
from stages.lib.sparse.native import library
from stages.lib.sparse.packed import Array, HybridMatrix, block_offsets

STORED_AS = (
    "float32",
    "bfloat16",
    "int8",
)  # weights that a product with a vector reads, in the order of kernels.cpp
ROWS, LANES = 8, 16  # computed together: of a product with many columns, of one with a vector
TILE = 48  # columns at most that are packed at once


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Packed weights in the order in which the kernels read them.

    matmul_values   (R, B / 8, kept, q, 8) and matmul_offsets: eight rows are computed together
    matvec_values   (R, B / 16, kept, q, 16) and matvec_offsets: sixteen rows are sixteen lanes
    block_columns   (R, kept); columns: of the matrix padded to whole blocks
    scales          (rows,) by which products with int8 weights are multiplied; none for the others
    used            (columns / B,) whether any block-row keeps that block
    """

    rows: int
    columns: int
    block: int
    q: int
    block_columns: NDArray[np.int32]
    used: NDArray[np.uint8]
    matmul_values: Array
    matmul_offsets: NDArray[np.uint8]
    matvec_values: NDArray[Any]
    matvec_offsets: NDArray[np.uint8]
    stored_as: str
    scales: Array | None

    # looked up for every product, which may take less time than ctypes needs for that
    @cached_property
    def matmul_addresses(self) -> tuple[int | None, ...]:
        return tuple(map(_address, (self.matmul_values, self.matmul_offsets, self.block_columns, self.used)))

    @cached_property
    def matvec_addresses(self) -> tuple[int | None, ...]:
        kind = STORED_AS.index(self.stored_as)
        scales, offsets, blocks = map(_address, (self.scales, self.matvec_offsets, self.block_columns))
        return (_address(self.matvec_values), kind, scales, offsets, blocks)


def plan(packed: HybridMatrix, *, stored_as: str = "float32") -> Plan:
    """Weights in the kernels' order.

    stored_as  "bfloat16" and "int8" (a scale for each row) round the weights. A product with one vector waits for memory,
               and reads half or a quarter; one with more columns waits for arithmetic, and takes rounded float32.
    """
    if stored_as not in STORED_AS:
        raise InputError(f"weights stored as {stored_as!r}: choose one of {', '.join(STORED_AS)}")
    if packed.block % LANES:
        raise InputError(
            f"blocks of {packed.block}: the kernels compute {LANES} rows at once; use 16, 32 or 64"
        )
    offsets = block_offsets(packed)
    codes, scales = _rounded(packed, stored_as)
    values = _widened(codes, scales)

    def grouped(values: NDArray[Any], rows: int) -> NDArray[Any]:
        block_rows, kept, block, q = values.shape
        cut = values.reshape(block_rows, kept, block // rows, rows, q)
        return np.ascontiguousarray(cut.transpose(0, 2, 1, 4, 3))

    columns = -(-packed.shape[1] // packed.block)
    return Plan(
        rows=packed.shape[0],
        columns=columns * packed.block,
        block=packed.block,
        q=packed.values.shape[-1],
        block_columns=np.ascontiguousarray(packed.block_columns),
        used=np.isin(np.arange(columns), packed.block_columns).astype(np.uint8),
        matmul_values=grouped(values, ROWS),
        matmul_offsets=grouped(offsets, ROWS),
        matvec_values=grouped(codes, LANES),
        matvec_offsets=grouped(offsets, LANES),
        stored_as=stored_as,
        scales=None if scales is None else scales.reshape(-1)[: packed.shape[0]].copy(),
    )


def _rounded(packed: HybridMatrix, stored_as: str) -> tuple[NDArray[Any], Array | None]:
    """Codes (R, kept, B, q) as they are stored, bfloat16 as its 16 bits, and scales (R, 1, B, 1) for int8."""
    if stored_as == "bfloat16":
        return packed.values.astype(ml_dtypes.bfloat16).view(np.uint16), None
    if stored_as == "int8":
        largest = np.abs(packed.values).max(axis=(1, 3), keepdims=True)
        scales = np.where(largest > 0, largest / 127, 1).astype(np.float32)
        return np.rint(packed.values / scales).astype(np.int8), scales
    return packed.values, None


def _widened(codes: NDArray[Any], scales: Array | None) -> Array:
    """What the codes stand for."""
    if codes.dtype == np.uint16:
        return codes.view(ml_dtypes.bfloat16).astype(np.float32)
    return codes if scales is None else codes.astype(np.float32) * scales


def matmul(plan: Plan, x: Array, *, bias: Array | None = None, relu: bool = False, threads: int = 1) -> Array:
    """(rows, n) = W x + bias; x (columns, n) float32, C-contiguous, its columns those of the padded matrix or fewer."""
    if x.shape[1] == 1:
        return matvec(plan, x[:, 0], bias=bias, relu=relu, threads=threads)[:, None]
    x, bias = _checked(plan, x), _bias(plan, bias)
    compiled = library()
    if compiled is None:
        return _finished(_matmul_numba(plan, _whole(plan, x)), bias, relu)
    one_line = Patches(
        channels=x.shape[0], filled_channels=plan.columns, channel_stride=x.shape[1], width=x.shape[1]
    )
    return _compiled_product(compiled, plan, x, one_line, bias, relu, threads)


@dataclass(frozen=True, kw_only=True)
class Patches:
    """Where the patches of a convolution lie in its input; see kernels.cpp. By default a matrix: one tap, one line.

    filled_channels  channels and the zeros that fill up the last group of m
    *_stride         of the input, in floats; dilation and step (the convolution's stride) in pixels
    height, width    of the result, for each of `images`
    """

    channels: int
    filled_channels: int
    kernel: tuple[int, int] = (1, 1)
    channel_stride: int
    image_stride: int = 0
    line_stride: int = 0
    dilation: tuple[int, int] = (1, 1)
    step: tuple[int, int] = (1, 1)
    height: int = 1
    width: int
    images: int = 1

    @property
    def positions(self) -> int:
        return self.images * self.height * self.width

    def numbers(self) -> NDArray[np.int64]:
        """In the order of the struct."""
        return np.array(
            [
                self.channels, self.filled_channels, *self.kernel, self.channel_stride, self.image_stride,
                self.line_stride, *self.dilation, *self.step, self.height, self.width, self.positions,
            ],
            np.int64,
        )  # fmt: skip


def convolve(
    plan: Plan, x: Array, patches: Patches, *, bias: Array | None = None, relu: bool = False, threads: int = 1
) -> Array | None:
    """(rows, positions): the product with patches of x, which are never written out; None without compiled kernels."""
    compiled = library()
    if compiled is None:
        return None
    return _compiled_product(compiled, plan, x, patches, _bias(plan, bias), relu, threads)


def _compiled_product(
    compiled: ctypes.CDLL,
    plan: Plan,
    x: Array,
    patches: Patches,
    bias: Array | None,
    relu: bool,
    threads: int,
) -> Array:
    out = np.empty((plan.rows, patches.positions), np.float32)
    scratch = np.empty(plan.columns * TILE, np.float32)
    block_rows, kept = plan.block_columns.shape
    geometry = patches.numbers()
    compiled.hybrid_matmul(
        *plan.matmul_addresses, _address(x), _address(geometry), _address(out), _address(bias),
        block_rows, kept, plan.block, plan.q, plan.columns, plan.rows, int(relu), threads, _address(scratch),
    )  # fmt: skip
    return out


def matvec(plan: Plan, x: Array, *, bias: Array | None = None, relu: bool = False, threads: int = 1) -> Array:
    """(rows,) = W x + bias; x (columns,)."""
    x, bias = _whole(plan, _checked(plan, x)), _bias(plan, bias)
    compiled = library()
    if compiled is None:
        return _finished(_matvec_numba(plan, x), bias, relu)
    out = np.empty(plan.rows, np.float32)
    block_rows, kept = plan.block_columns.shape
    compiled.hybrid_matvec(
        *plan.matvec_addresses, _address(x), _address(out), _address(bias),
        block_rows, kept, plan.block, plan.q, plan.rows, int(relu), threads,
    )  # fmt: skip
    return out


def _checked(plan: Plan, x: Array) -> Array:
    if x.shape[0] > plan.columns:
        raise InputError(f"x has {x.shape[0]} rows and the weights {plan.columns} columns")
    return np.ascontiguousarray(x, dtype=np.float32)


def _whole(plan: Plan, x: Array) -> Array:
    """x with rows of zeros up to whole blocks."""
    missing = plan.columns - x.shape[0]
    return np.concatenate([x, np.zeros((missing, *x.shape[1:]), np.float32)]) if missing else x


def _bias(plan: Plan, bias: Array | None) -> Array | None:
    if bias is not None and len(bias) != plan.rows:
        raise InputError(f"the bias has {len(bias)} values and the weights {plan.rows} rows")
    return None if bias is None else np.ascontiguousarray(bias, dtype=np.float32)


def _finished(y: Array, bias: Array | None, relu: bool) -> Array:
    if bias is not None:
        y = y + bias.reshape(-1, *[1] * (y.ndim - 1))
    return np.maximum(y, 0) if relu else y


def _address(array: NDArray[Any] | None) -> int | None:
    return None if array is None else array.__array_interface__["data"][0]


def _matmul_numba(plan: Plan, x: Array) -> Array:
    out = np.zeros((plan.block_columns.shape[0] * plan.block, x.shape[1]), np.float32)
    _matmul_loops(plan.matmul_values, plan.matmul_offsets, plan.block_columns, plan.block, x, out)
    return out[: plan.rows]


def _matvec_numba(plan: Plan, x: Array) -> Array:
    out = np.zeros(plan.block_columns.shape[0] * plan.block, np.float32)
    _matvec_loops(
        _widened(plan.matvec_values, None), plan.matvec_offsets, plan.block_columns, plan.block, x, out
    )
    return out[: plan.rows] if plan.scales is None else out[: plan.rows] * plan.scales


_jit: Callable[..., Any] = numba.njit(cache=True, fastmath={"contract"}, nogil=True)


@_jit
def _matmul_loops(values: Any, offsets: Any, blocks: Any, side: int, x: Any, out: Any) -> None:
    block_rows, groups, kept, q, rows = values.shape
    for i in range(block_rows):
        for g in range(groups):
            for j in range(kept):
                base = blocks[i, j] * side
                for u in range(q):
                    for r in range(rows):
                        w = values[i, g, j, u, r]
                        source = x[base + offsets[i, g, j, u, r]]
                        target = out[i * side + g * rows + r]
                        for c in range(x.shape[1]):
                            target[c] += w * source[c]


@_jit
def _matvec_loops(values: Any, offsets: Any, blocks: Any, side: int, x: Any, out: Any) -> None:
    block_rows, groups, kept, q, lanes = values.shape
    for i in range(block_rows):
        for g in range(groups):
            for j in range(kept):
                base = blocks[i, j] * side
                for u in range(q):
                    for r in range(lanes):
                        out[i * side + g * lanes + r] += (
                            values[i, g, j, u, r] * x[base + offsets[i, g, j, u, r]]
                        )
