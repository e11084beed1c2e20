"""Systolic arrays in closed form: cycles, traffic, time and energy of each layer of a layer table. All of it is modelled.

An array of `rows` x `columns` MACs computes A (m, k) times B (k, n), A the activations and B the weights, in tiles: one
operand stays in the array, the others stream past. A tile's cycles are loading + streaming + skew:

    dataflow           on rows, on columns, streamed    cycles of a tile
    weight_stationary  k, n, m                          rows + (m + rows + columns - 2)
    input_stationary   k, m, n                          rows + (n + rows + columns - 2)
    output_stationary  m, n, k                          k + rows + columns - 2

`cycles` counts cycles, so that SCALE-Sim 3.0.0, which reports the index of the last one from 0, prints one less (HALO's
notes, section 2.5; facts: tests/oracles/test_scalesim.py). Tiles at the edge take the cycles of a full one.

n:m sparsity (weight_stationary) holds the `kept` of each `of` weights along k: k shrinks to ceil(k / of) * kept rows, and
activations are still read in full, since every column selects others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from stages.lib.core.errors import InputError
from stages.lib.costs.dvfs import DvfsLevel

DATAFLOWS = ("weight_stationary", "output_stationary", "input_stationary")
OPERANDS = ("activation", "weight", "output")
IntArray = np.ndarray


@dataclass(frozen=True, kw_only=True)
class SystolicArray:
    """The array and its memories; each operand has its own SRAM.

    double_buffered         the next tile's stationary operand is loaded while this tile computes (not in SCALE-Sim)
    split_streams           what streams past held tiles is cut into parts that fit, with their partial sums, into SRAM;
                            each part loads the held operand again: fewer bytes from DRAM for more cycles (nor this)
    ..._bits                of one element as it lies in SRAM and DRAM; partial sums wait in the output SRAM
    ..._sram_bytes          capacity
    ..._bytes_per_cycle     of each SRAM, reads and writes together
    dram_gb_s               reads and writes together, independent of the array's clock
    """

    rows: int = 128
    columns: int = 128
    double_buffered: bool = False
    split_streams: bool = False
    activation_bits: int = 8
    weight_bits: int = 8
    output_bits: int = 8
    partial_sum_bits: int = 32
    activation_sram_bytes: int = 6 * 2**20
    weight_sram_bytes: int = 6 * 2**20
    output_sram_bytes: int = 2 * 2**20
    activation_bytes_per_cycle: float = np.inf
    weight_bytes_per_cycle: float = np.inf
    output_bytes_per_cycle: float = np.inf
    dram_gb_s: float = np.inf


@dataclass(frozen=True, kw_only=True)
class ArrayEnergy:
    """What the array's work costs.

    mac_fj                  of one MAC at nominal_v: a number, or (layers,) or (layers, levels), see mean_mac_energy_fj
    ..._sram_fj_per_byte    of one access, at a voltage of its own
    static_mw               of everything, while a layer runs
    nominal_v               voltage of mac_fj: at another one a MAC costs (V / nominal_v)^2 of it
    """

    mac_fj: float | np.ndarray
    activation_sram_fj_per_byte: float = 0.0
    weight_sram_fj_per_byte: float = 0.0
    output_sram_fj_per_byte: float = 0.0
    dram_fj_per_byte: float = 0.0
    static_mw: float = 0.0
    nominal_v: float = 1.0


@dataclass(frozen=True)
class _Shape:
    """Sizes as (layers,) float arrays: exact below 2^53, and products of three sizes do not overflow."""

    m: np.ndarray
    k: np.ndarray  # as the dense matrix has it
    held_k: np.ndarray  # after n:m compression
    n: np.ndarray
    groups: np.ndarray
    offset_bits: np.ndarray  # of one kept weight's place in its group of `of`


def systolic_costs(
    layers: pd.DataFrame,
    array: SystolicArray,
    energy: ArrayEnergy,
    *,
    dataflow: str,
    levels: Sequence[DvfsLevel],
    level_share: np.ndarray | None = None,
    kept: IntArray | int = 1,
    of: IntArray | int = 1,
) -> pd.DataFrame:
    """Cycles, utilisation, bytes, time and energy of each layer, in the table's order; transitions are separate.

    layers       columns m, k, n, groups
    levels       voltage and clock of each class of weight tiles
    level_share  (layers, levels) share of a layer's tiles in each class, rows sum to 1; None: all in the first
    kept, of     n:m sparsity, one for all layers or one a layer

    A class takes the longest of its compute, SRAM and DRAM time; classes follow each other. So DRAM-bound layers gain
    nothing from a faster clock.
    """
    share = _level_share(level_share, len(layers), len(levels), dataflow)
    cycles = compute_cycles(layers, array, dataflow=dataflow, kept=kept, of=of)
    moved = traffic(layers, array, dataflow=dataflow, kept=kept, of=of)
    macs = kept_macs(layers, kept=kept, of=of)
    ghz, volt = np.array([(level.frequency_ghz, level.voltage_v) for level in levels]).T
    sram_cycles = np.max(
        [moved[f"sram_{name}_bytes"] / getattr(array, f"{name}_bytes_per_cycle") for name in OPERANDS], axis=0
    )
    dram_bytes = moved[[f"dram_{name}_bytes" for name in OPERANDS]].sum(axis=1).to_numpy()
    compute_ns, sram_ns = (share * c[:, None] / ghz for c in (cycles, sram_cycles))
    dram_ns = share * (dram_bytes / array.dram_gb_s)[:, None]
    time_ns = np.max([compute_ns, sram_ns, dram_ns], axis=0).sum(axis=1)
    bounds = np.stack([part.sum(axis=1) for part in (compute_ns, sram_ns, dram_ns)])
    mac_fj = np.asarray(energy.mac_fj, dtype=float)
    mac_fj = mac_fj[:, None] if mac_fj.ndim == 1 else mac_fj
    costs = moved.assign(
        macs=macs,
        cycles=cycles,
        utilisation=macs / (cycles * float(array.rows * array.columns)),
        compute_ns=bounds[0],
        sram_ns=bounds[1],
        dram_ns=bounds[2],
        time_ns=time_ns,
        bound=np.array(["compute", "sram", "dram"])[bounds.argmax(axis=0)],
        mac_energy_fj=macs * (share * mac_fj * (volt / energy.nominal_v) ** 2).sum(axis=1),
        sram_energy_fj=sum(
            moved[f"sram_{name}_bytes"] * getattr(energy, f"{name}_sram_fj_per_byte") for name in OPERANDS
        ),
        dram_energy_fj=dram_bytes * energy.dram_fj_per_byte,
        static_energy_fj=energy.static_mw * time_ns * 1e3,  # mW * ns = pJ
    )
    parts = ["mac_energy_fj", "sram_energy_fj", "dram_energy_fj", "static_energy_fj"]
    return costs.assign(energy_fj=costs[parts].sum(axis=1))


def compute_cycles(
    layers: pd.DataFrame,
    array: SystolicArray,
    *,
    dataflow: str,
    kept: IntArray | int = 1,
    of: IntArray | int = 1,
) -> np.ndarray:
    """(layers,) int64 cycles without stalls. With double buffering only the first load of a layer is seen."""
    shape = _shape(layers, dataflow, kept, of)
    on_rows, on_columns, streamed = _axes(shape, dataflow)
    tiles = _ceil(on_rows, array.rows) * _ceil(on_columns, array.columns) * shape.groups
    parts, skew = _stream_parts(shape, array, dataflow), array.rows + array.columns - 2
    load = 0 if dataflow == "output_stationary" else array.rows
    stream = streamed + parts * skew
    cycles = load + tiles * stream if array.double_buffered else tiles * (parts * load + stream)
    return cycles.astype(np.int64)


def kept_macs(layers: pd.DataFrame, *, kept: IntArray | int = 1, of: IntArray | int = 1) -> np.ndarray:
    """(layers,) float multiply-accumulates that are done, n:m zeros left out."""
    shape = _shape(layers, "weight_stationary", kept, of)
    return shape.groups * shape.m * shape.held_k * shape.n


def traffic(
    layers: pd.DataFrame,
    array: SystolicArray,
    *,
    dataflow: str,
    kept: IntArray | int = 1,
    of: IntArray | int = 1,
) -> pd.DataFrame:
    """Bytes between array and SRAM and between SRAM and DRAM, for each operand: sram_weight_bytes, ...

    Between array and SRAM an operand moves once for each pass of tiles over it, and partial sums that k does not finish
    in one tile are written and read again. From DRAM an operand comes once if what its passes share fits into its SRAM,
    else once a pass; partial sums spill to DRAM if those of one column of tiles do not fit.
    """
    shape = _shape(layers, dataflow, kept, of)
    passes, sets = _reuse(shape, array, dataflow)
    weight_bits = array.weight_bits + shape.offset_bits
    activations = shape.groups * shape.m * shape.k * array.activation_bits / 8
    weights = shape.groups * shape.held_k * shape.n * weight_bits / 8
    outputs = shape.groups * shape.m * shape.n
    final = outputs * array.output_bits / 8
    spilled = outputs * array.partial_sum_bits / 8 * 2 * (passes[2] - 1)
    activations_fit = sets[0] * array.activation_bits / 8 <= array.activation_sram_bytes
    weights_fit = sets[1] * weight_bits / 8 <= array.weight_sram_bytes
    sums_fit = sets[2] * array.partial_sum_bits / 8 <= array.output_sram_bytes
    return pd.DataFrame(
        {
            "sram_activation_bytes": activations * passes[0],
            "sram_weight_bytes": weights * passes[1],
            "sram_output_bytes": final + spilled,
            "dram_activation_bytes": activations * np.where(activations_fit, 1, passes[0]),
            "dram_weight_bytes": weights * np.where(weights_fit, 1, passes[1]),
            "dram_output_bytes": final + np.where(sums_fit, 0, spilled),
        },
        index=layers.index,
    )


def weight_tiles(k: int, n: int, *, rows: int, columns: int, groups: int = 1) -> pd.DataFrame:
    """The weight tiles of one layer in the order in which they run: group, column tile, row tile.

    Columns group, first_k, first_n, height, width (weights of the tile along k and n).
    """
    tiles = pd.MultiIndex.from_product(
        [range(groups), range(0, n, columns), range(0, k, rows)], names=["group", "first_n", "first_k"]
    ).to_frame(index=False)
    return tiles.assign(
        height=np.minimum(rows, k - tiles["first_k"]), width=np.minimum(columns, n - tiles["first_n"])
    )[["group", "first_k", "first_n", "height", "width"]]


def share_of_levels(tile_levels: Sequence[np.ndarray], levels: int) -> np.ndarray:
    """(layers, levels) share of tiles in each class, from the class index of every tile of every layer.

    Shares of tiles are shares of cycles: every tile of a layer takes the same number.
    """
    counts = np.stack([np.bincount(np.ravel(of_layer), minlength=levels) for of_layer in tile_levels])
    if counts.shape[1] > levels:
        raise InputError(
            f"a tile has the class {counts.shape[1] - 1}; there are the classes 0 to {levels - 1}"
        )
    return counts / counts.sum(axis=1, keepdims=True)


def order_by_pass(level_share: np.ndarray, levels: Sequence[DvfsLevel]) -> list[DvfsLevel]:
    """Levels in the order of one pass whose tiles are grouped over all layers, and back to the first for the next."""
    used = [level for level, share in zip(levels, level_share.max(axis=0), strict=True) if share > 0]
    return [*used, used[0]]


def order_by_layer(level_share: np.ndarray, levels: Sequence[DvfsLevel]) -> list[DvfsLevel]:
    """Levels in the order of one pass that finishes each layer first, and back to the first for the next.

    A layer begins with the level that the one before it ended with, if it has tiles of that class.
    """
    order: list[DvfsLevel] = []
    for shares in level_share:
        used = [level for level, share in zip(levels, shares, strict=True) if share > 0]
        if order and order[-1] in used:
            used.remove(order[-1])
            used.insert(0, order[-1])
        order += used
    return [*order, order[0]]


def mean_mac_energy_fj(weight: np.ndarray, value_energy_fj: np.ndarray) -> float:
    """Mean energy of a MAC over the weights that the array holds.

    weight           int8, any shape
    value_energy_fj  (256,) energy of a MAC for each value, index = value + 128
    """
    return float(value_energy_fj[weight.astype(np.int64) + 128].mean())


def _shape(layers: pd.DataFrame, dataflow: str, kept: IntArray | int, of: IntArray | int) -> _Shape:
    if dataflow not in DATAFLOWS:
        raise InputError(f"the dataflow {dataflow!r} is unknown; choose one of {', '.join(DATAFLOWS)}")
    m, k, n, groups = (layers[name].to_numpy(dtype=float) for name in ("m", "k", "n", "groups"))
    kept, of = (np.broadcast_to(np.asarray(value), k.shape) for value in (kept, of))
    if wrong := np.flatnonzero((kept < 1) | (kept > of)).tolist():
        row = wrong[0]
        raise InputError(
            f"{kept[row]}:{of[row]} sparsity: keep at least 1 and at most {of[row]} of each {of[row]} weights"
        )
    sparse = kept < of
    if dataflow != "weight_stationary" and sparse.any():
        raise InputError(f"{dataflow} with n:m sparsity is not modelled; choose weight_stationary")
    # a short last group is padded, unless that makes k longer than it was
    held_k = np.where(sparse, np.minimum(np.ceil(k / of) * kept, k), k)
    return _Shape(m, k, held_k, n, groups, np.where(sparse, np.ceil(np.log2(of)), 0))


def _axes(shape: _Shape, dataflow: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sizes that lie on rows, on columns and in time."""
    return {
        "weight_stationary": (shape.held_k, shape.n, shape.m),
        "input_stationary": (shape.held_k, shape.m, shape.n),
        "output_stationary": (shape.m, shape.n, shape.k),
    }[dataflow]


def _reuse(
    shape: _Shape, array: SystolicArray, dataflow: str
) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Passes of tiles over activations, weights and partial sums, and the elements of each that its passes share."""
    on_rows, on_columns, _ = _axes(shape, dataflow)
    row_tiles, column_tiles = _ceil(on_rows, array.rows), _ceil(on_columns, array.columns)
    parts, once = _stream_parts(shape, array, dataflow), np.ones_like(shape.m)
    activations, weights = shape.m * shape.k, shape.held_k * shape.n
    if dataflow == "output_stationary":
        one_row_of_tiles = np.minimum(shape.m, array.rows) * shape.k
        return (column_tiles, row_tiles, once), (one_row_of_tiles, weights, once)
    if dataflow == "weight_stationary":
        sums = shape.m * np.minimum(shape.n, array.columns)
        return (column_tiles, parts, row_tiles), (activations / parts, weights, sums / parts)
    sums = shape.n * np.minimum(shape.m, array.columns)
    return (parts, column_tiles, row_tiles), (activations, weights / parts, sums / parts)


def _stream_parts(shape: _Shape, array: SystolicArray, dataflow: str) -> np.ndarray:
    """Parts into which the streamed axis is cut: 1 where it fits whole, or where a single row of it does not fit."""
    if not array.split_streams or dataflow == "output_stationary":
        return np.ones_like(shape.m)
    _, on_columns, streamed = _axes(shape, dataflow)
    streams = "activation" if dataflow == "weight_stationary" else "weight"
    row_bytes = shape.k * getattr(array, f"{streams}_bits") / 8
    sum_bytes = np.minimum(on_columns, array.columns) * array.partial_sum_bits / 8
    room = np.minimum(
        getattr(array, f"{streams}_sram_bytes") / row_bytes, array.output_sram_bytes / sum_bytes
    )
    return np.where(room >= 1, np.ceil(streamed / np.maximum(np.floor(room), 1)), 1)


def _level_share(share: np.ndarray | None, layers: int, levels: int, dataflow: str) -> np.ndarray:
    if share is None:
        return np.tile(np.eye(1, levels), (layers, 1))
    share = np.asarray(share, dtype=float)
    if share.shape != (layers, levels) or not np.allclose(share.sum(axis=1), 1) or (share < 0).any():
        raise InputError(
            f"the shares of DVFS levels are {share.shape}: give {layers} layers x {levels} levels, rows summing to 1"
        )
    if dataflow != "weight_stationary" and (share.max(axis=1) < 1).any():
        raise InputError(f"{dataflow} holds no weight tile still, so that DVFS classes of tiles do not apply")
    return share


def _ceil(size: np.ndarray, side: int) -> np.ndarray:
    return np.ceil(size / side)
