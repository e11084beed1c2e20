"""How tensor cores run a matrix product: the cycles, multiplications and bytes of every mapping that they allow.

Weights W (outputs, k) times activations X (k, positions), sizes padded along k to whole steps of 16 kept weights. The
designs are those of stages.lib.costs.tensor_cores, which chooses among the mappings and prices them. Padding is fetched
and multiplied like data, as in the artifact of Sparseloop (MICRO 2022), figure 15, whose architecture this is.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np

SUBPARTITIONS = 4
ROWS, LANES = (
    16,
    16,
)  # of a subpartition's MACs: rows of W, kept weights along k (DSTC: rows of W, columns of X)
SUMS = 2048  # partial sums that a subpartition's register file holds
# DSTC's tile of a subpartition, in vectors of 16 weights and of 16 activations: 2,048 sums fill the register file, and
# the operands' latches (128 bytes) leave out 1 x 8 and 8 x 1
DSTC_TILES = ((2, 4), (4, 2))


@dataclass(frozen=True, kw_only=True)
class TensorCore:
    """The memories in the configuration of CRISP's notes, section 4.2; bytes a cycle are those of each direction."""

    smem_bytes: int = 256 * 1024
    smem_bytes_per_cycle: float = 42.0
    dram_bytes_per_cycle: float = 32.0


@dataclass(frozen=True)
class Product:
    """W (outputs, k) times X (k, positions), (products,) float arrays; `kept` of each `of` weights, in blocks."""

    positions: np.ndarray
    k: np.ndarray
    outputs: np.ndarray
    groups: np.ndarray
    kept: np.ndarray
    of: np.ndarray
    block: np.ndarray
    kept_blocks: np.ndarray
    activation_density: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one mapping does, (products,) each; bytes except for the first four."""

    compute: np.ndarray  # cycles
    macs: np.ndarray
    sums_read: np.ndarray
    sums_written: np.ndarray
    lrf: np.ndarray
    lrf_meta: np.ndarray
    smem_read_weights: np.ndarray
    smem_read_activations: np.ndarray
    smem_read_meta: np.ndarray
    smem_write: np.ndarray
    smem_write_meta: np.ndarray
    dram_read: np.ndarray
    dram_read_meta: np.ndarray
    dram_write: np.ndarray


def structured_mappings(p: Product, design: str, core: TensorCore) -> Iterator[Work]:
    """TC, STC, STC_flexible, CRISP_STC: weights stay, positions stream. One mapping for each number of positions."""
    kept, of = _pattern(p, design)
    blocks = np.ceil(p.k / p.block)
    rows = ROWS * SUBPARTITIONS
    held_k = np.ceil(p.k / of) * kept
    index_bits, lists = np.zeros_like(p.k), np.ones_like(p.k)
    if design == "CRISP_STC":
        kept_blocks = np.ceil(p.kept_blocks * blocks - 1e-9)
        pruned = kept_blocks < blocks
        held_k = np.where(pruned, np.ceil(kept_blocks * p.block / of) * kept, held_k)
        index_bits = np.ceil(p.outputs / p.block) * kept_blocks * np.ceil(np.log2(blocks)) * pruned
        # lower blocks than the rows of one step: subpartitions follow different lists and share no activations
        lists = np.maximum(rows / p.block, 1)
    steps = np.ceil(held_k / LANES)
    all_k = np.ceil(np.ceil(p.k / of) * kept / LANES) * LANES * of / kept
    fetched_k = np.minimum(lists * steps * LANES * of / kept, all_k)
    row_tiles = np.ceil(p.outputs / rows)
    weights = p.outputs * steps * LANES
    meta = weights * offset_bits(of) / 8 + index_bits / 8
    activations = p.positions * all_k
    macs = weights * p.positions
    for held_positions in _halvings(SUMS // ROWS):
        tiles = np.ceil(p.positions / held_positions)
        weight_fetches, activation_fetches = _fetches(
            weights,
            weights / row_tiles,
            row_tiles,
            activations,
            held_positions * all_k,
            tiles,
            core.smem_bytes,
        )
        yield _scale(
            p.groups,
            Work(
                compute=row_tiles * steps * p.positions,
                macs=macs,
                sums_read=p.outputs * p.positions * (steps - 1),
                sums_written=p.outputs * p.positions * (steps + 1),
                lrf=macs + weights * tiles,
                lrf_meta=(macs + weights * tiles) * offset_bits(of) / 8,
                smem_read_weights=weights * tiles,
                smem_read_activations=p.positions * fetched_k * row_tiles,
                smem_read_meta=meta * tiles,
                smem_write=weights * weight_fetches + activations * activation_fetches,
                smem_write_meta=meta * weight_fetches,
                dram_read=weights * weight_fetches + activations * activation_fetches,
                dram_read_meta=meta * weight_fetches,
                dram_write=p.outputs * p.positions,
            ),
        )


def _pattern(p: Product, design: str) -> tuple[np.ndarray, np.ndarray]:
    """The n:m that a design makes of the weights' own."""
    if design == "TC":
        return np.ones_like(p.kept), np.ones_like(p.of)
    if design == "STC":
        halved = p.kept / p.of <= 0.5
        return np.where(halved, 2.0, 1.0), np.where(halved, 4.0, 1.0)
    return p.kept, p.of


def dual_sparse_mappings(p: Product, core: TensorCore) -> Iterator[Work]:
    """DSTC: partial sums stay. A mapping is the tile of a subpartition, 16 a x 16 b sums that fill its register file.

    Non-zeros lie independently. A tile's vectors of 16 a weights and 16 b activations are packed into passes of 16; the
    array's utilisation is the mean over vectors, as Sparseloop has it (the mean of a ratio: optimistic).
    """
    k = np.ceil(np.ceil(p.k / p.of) * p.kept / LANES) * LANES * p.of / p.kept
    weight_density, activation_density = p.kept / p.of * p.kept_blocks, p.activation_density
    for a, b in DSTC_TILES:
        height, width = 2 * a * ROWS, 2 * b * LANES  # of the sums in all four subpartitions
        row_tiles, column_tiles = np.ceil(p.outputs / height), np.ceil(p.positions / width)
        weight_passes, weight_use = _packing(a * LANES, weight_density)
        activation_passes, activation_use = _packing(b * LANES, activation_density)
        weights, weight_meta = _compressed(p.outputs * k, weight_density, a * LANES)
        activations, activation_meta = _compressed(p.positions * k, activation_density, b * LANES)
        macs = p.outputs * k * p.positions * weight_density * activation_density
        weight_fetches, activation_fetches = _fetches(
            weights, height * k, row_tiles, activations, width * k, column_tiles, core.smem_bytes
        )
        read_weights, read_activations = weights * column_tiles, activations * row_tiles
        yield _scale(
            p.groups,
            Work(
                compute=macs / (SUBPARTITIONS * ROWS * LANES) / (weight_use * activation_use),
                macs=macs,
                sums_read=macs * (1 - 1 / k),  # a sum's first product is not added to anything
                sums_written=macs + p.outputs * p.positions,
                # two subpartitions take the same operand; it is read again for each pass of the other one
                lrf=2 * (read_weights * (1 + activation_passes) + read_activations * (1 + weight_passes)),
                lrf_meta=2 * (weight_meta * column_tiles * (1 + b) + activation_meta * row_tiles * (1 + a)),
                smem_read_weights=read_weights,
                smem_read_activations=read_activations,
                smem_read_meta=weight_meta * column_tiles + activation_meta * row_tiles,
                smem_write=weights * weight_fetches + activations * activation_fetches,
                smem_write_meta=weight_meta * weight_fetches + activation_meta * activation_fetches,
                dram_read=weights * weight_fetches + activations * activation_fetches,
                dram_read_meta=weight_meta * weight_fetches + activation_meta * activation_fetches,
                dram_write=p.outputs * p.positions,
            ),
        )


def offset_bits(of: np.ndarray) -> np.ndarray:
    """Bits that say which of `of` weights one is: log2 rounded up to 1, 2, 4, 8, ..., so that none straddles a byte."""
    bits = np.ceil(np.log2(np.maximum(of, 1)))
    return np.where(bits > 0, 2 ** np.ceil(np.log2(np.maximum(bits, 1))), 0)


def _fetches(
    weights: np.ndarray,
    weight_tile: np.ndarray,
    row_tiles: np.ndarray,
    activations: np.ndarray,
    activation_tile: np.ndarray,
    position_tiles: np.ndarray,
    smem: int,
) -> tuple[np.ndarray, np.ndarray]:
    """How often weights and activations come from DRAM, in the order of tiles that moves the fewest bytes.

    weights, activations   bytes of all, as stored
    ..._tile               bytes that one tile may take at worst: its elements, where it is not known how many are zero

    Either as many tiles of weights as fit stay in SMEM and all activations stream past them, or the other way round.
    """
    weights_held = _held(weights, weight_tile, row_tiles, np.minimum(activation_tile, activations), smem)
    activations_held = _held(
        activations, activation_tile, position_tiles, np.minimum(weight_tile, weights), smem
    )
    hold_weights = (
        np.where(weights_held > 0, 1, position_tiles),
        np.ceil(row_tiles / np.maximum(weights_held, 1)),
    )
    hold_activations = (
        np.ceil(position_tiles / np.maximum(activations_held, 1)),
        np.where(activations_held > 0, 1, row_tiles),
    )
    moved = [w * weights + x * activations for w, x in (hold_weights, hold_activations)]
    pairs = zip(hold_weights, hold_activations, strict=True)
    weight_fetches, activation_fetches = (np.where(moved[0] <= moved[1], *pair) for pair in pairs)
    return weight_fetches, activation_fetches


def _held(
    total: np.ndarray, tile: np.ndarray, tiles: np.ndarray, other_tile: np.ndarray, smem: int
) -> np.ndarray:
    """Tiles that stay in SMEM; more than one only beside a tile of the other operand, which each of them uses."""
    held = np.clip(np.floor((smem - other_tile) / tile), 1, tiles)
    held = np.where(total + other_tile <= smem, tiles, held)
    return np.where(np.minimum(tile, total) <= smem, held, 0)


def _packing(size: int, density: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean number of passes of 16 that a vector of `size` elements takes, and mean share of lanes in use."""
    x = np.arange(1, size + 1)
    ways = np.array([math.comb(size, int(i)) for i in x], dtype=float)
    d = density[:, None]
    probability = ways * d**x * (1 - d) ** (size - x)
    passes = np.ceil(x / LANES)
    return (probability * passes).sum(axis=1), (probability * x / (LANES * passes)).sum(axis=1)


def _compressed(elements: np.ndarray, density: np.ndarray, vector: int) -> tuple[np.ndarray, np.ndarray]:
    """Bytes of the non-zeros, and of their bitmap: a bit for each vector, and one for each element of its 16s in use.

    Without zeros there is no bitmap.
    """
    bits = np.where(density < 1, 1 / vector + 1 - (1 - density) ** LANES, 0)
    return elements * density, elements * bits / 8


def _scale(groups: np.ndarray, work: Work) -> Work:
    return Work(**{field.name: getattr(work, field.name) * groups for field in fields(work)})


def _halvings(largest: int) -> Iterator[int]:
    while largest >= 8:
        yield largest
        largest //= 2
