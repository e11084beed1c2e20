"""The closed forms against an array simulated register by register, and laws of time, DVFS classes and energy."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stages.hardware.estimate_systolic import main as estimate_systolic
from stages.lib.core.errors import InputError
from stages.lib.costs.dvfs import HALO_ARRAY_LEVELS, DvfsLevel
from stages.lib.costs.layers import LAYER_COLUMNS
from stages.lib.costs.systolic import (
    DATAFLOWS,
    ArrayEnergy,
    SystolicArray,
    compute_cycles,
    kept_macs,
    mean_mac_energy_fj,
    order_by_layer,
    order_by_pass,
    share_of_levels,
    systolic_costs,
    traffic,
    weight_tiles,
)

ROOT = Path(__file__).resolve().parents[3]
SIZE = st.integers(1, 9)


def table(*rows: tuple[int, int, int]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["m", "k", "n"]).assign(groups=1)


class Grid:
    """An array whose values move one cell a cycle, right along rows and down along columns; it counts what enters."""

    def __init__(self, rows, columns):
        self.shape = rows, columns
        self.cycles = self.left = self.top = self.out = 0

    def stationary(self, held, streamed):
        """held (rows, columns) of (weight, offset); streamed (time, rows) of groups of values: sums (time, columns)."""
        rows, columns = self.shape
        self.cycles += rows  # the held operand is pushed in from above, one row a cycle
        self.top += sum(cell is not None for row in held for cell in row)
        time = len(streamed)
        values = [[None] * columns for _ in range(rows)]
        sums = [[0] * columns for _ in range(rows)]
        results = np.zeros((time, columns))
        arrived = 0
        cycle = 0
        while arrived < time * columns:
            values = [
                [streamed[cycle - r][r] if 0 <= cycle - r < time else None, *values[r][:-1]]
                for r in range(rows)
            ]
            self.left += sum(row[0] is not None for row in values)
            above = [[0] * columns, *sums[:-1]]
            sums = [
                [above[r][c] + self._product(held[r][c], values[r][c]) for c in range(columns)]
                for r in range(rows)
            ]
            for c in range(columns):
                t = cycle - (rows - 1) - c
                if 0 <= t < time:
                    results[t, c] = sums[-1][c]
                    arrived += 1
            cycle += 1
        self.cycles += cycle
        return results

    def in_place(self, left, top):
        """left (rows, time) and top (time, columns) meet in the cells, which keep their sums (rows, columns)."""
        rows, columns = self.shape
        time = len(top)
        a, b = np.zeros(self.shape), np.zeros(self.shape)
        sums, done = np.zeros(self.shape), np.zeros(self.shape)
        valid = np.zeros(self.shape, bool)
        cycle = 0
        while done.min() < time:
            a, b, valid = np.roll(a, 1, axis=1), np.roll(b, 1, axis=0), np.roll(valid, 1, axis=1)
            for r in range(rows):
                valid[r, 0] = 0 <= cycle - r < time
                a[r, 0] = left[r, cycle - r] if valid[r, 0] else 0
            for c in range(columns):
                b[0, c] = top[cycle - c, c] if 0 <= cycle - c < time else 0
            sums += a * b
            done += valid
            cycle += 1
        self.cycles += cycle
        return sums

    @staticmethod
    def _product(cell, group):
        return 0 if cell is None or group is None else cell[0] * group[cell[1]]


def compress(w, kept, of):
    """Each column of w (k, n) as `ceil(k / of) * kept` cells (weight, offset in its group), as an n:m array holds it."""
    held = []
    for start in range(0, len(w), of):
        group = w[start : start + of]
        for slot in range(kept):
            row = []
            for column in group.T:
                places = np.flatnonzero(column)
                offset = int(places[slot]) if slot < len(places) else 0
                row.append((column[offset] if slot < len(places) else 0, offset))
            held.append(row)
    return held


def run_stationary(grid, x, w, kept=1, of=1):
    """x (m, k) @ w (k, n) in tiles of held weights; counts the partial sums that leave the array."""
    rows, columns = grid.shape
    held = compress(w, kept, of)
    padded = np.pad(x, ((0, 0), (0, -x.shape[1] % of)))
    result = np.zeros((len(x), w.shape[1]))
    for first_n in range(0, w.shape[1], columns):
        for first in range(0, len(held), rows):
            tile = [row[first_n : first_n + columns] for row in held[first : first + rows]]
            groups = [(first + r) // kept * of for r in range(len(tile))]
            streamed = [
                [padded[t, g : g + of] for g in groups] + [None] * (rows - len(tile)) for t in range(len(x))
            ]
            width = len(tile[0])
            full = [row + [None] * (columns - width) for row in tile]
            full += [[None] * columns] * (rows - len(tile))
            result[:, first_n : first_n + width] += grid.stationary(full, streamed)[:, :width]
            grid.out += len(x) * width
    return result


def run_in_place(grid, x, w):
    rows, columns = grid.shape
    result = np.zeros((len(x), w.shape[1]))
    for i in range(0, len(x), rows):
        for j in range(0, w.shape[1], columns):
            a, b = x[i : i + rows], w[:, j : j + columns]
            grid.left, grid.top = grid.left + a.size, grid.top + b.size
            a = np.pad(a, ((0, rows - len(a)), (0, 0)))
            padded = np.pad(b, ((0, 0), (0, columns - b.shape[1])))
            sums = grid.in_place(a, padded)[: len(x) - i, : b.shape[1]]
            result[i : i + rows, j : j + columns] = sums
            grid.out += sums.size
    return result


@settings(max_examples=40, deadline=None)
@given(m=SIZE, k=SIZE, n=SIZE, rows=st.integers(1, 5), columns=st.integers(1, 5))
@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_cycles_and_reads_of_a_simulated_array(dataflow, m, k, n, rows, columns):
    rng = np.random.default_rng(m + 10 * k + 100 * n)
    x, w = rng.integers(-8, 8, (m, k)), rng.integers(1, 8, (k, n))
    grid = Grid(rows, columns)
    if dataflow == "weight_stationary":
        product, reads = run_stationary(grid, x, w), {"activation": grid.left, "weight": grid.top}
    elif dataflow == "input_stationary":
        product = run_stationary(grid, w.T, x.T).T
        reads = {"activation": grid.top, "weight": grid.left}
    else:
        product, reads = run_in_place(grid, x, w), {"activation": grid.left, "weight": grid.top}
    np.testing.assert_array_equal(product, x @ w)
    # one byte for everything: bytes are elements; a partial sum that leaves the array and is not final comes back
    array = SystolicArray(rows=rows, columns=columns, partial_sum_bits=8)
    assert compute_cycles(table((m, k, n)), array, dataflow=dataflow) == [grid.cycles]
    moved = traffic(table((m, k, n)), array, dataflow=dataflow).iloc[0]
    assert moved["sram_activation_bytes"] == reads["activation"]
    assert moved["sram_weight_bytes"] == reads["weight"]
    assert moved["sram_output_bytes"] == grid.out + (grid.out - m * n)


@settings(max_examples=40, deadline=None)
@given(m=SIZE, k=st.integers(1, 20), n=SIZE, pattern=st.sampled_from([(2, 4), (1, 4), (2, 8), (3, 4)]))
def test_nm_sparsity_of_a_simulated_array(m, k, n, pattern):
    kept, of = pattern
    rng = np.random.default_rng(m + 10 * k + 100 * n)
    x, w = rng.integers(-8, 8, (m, k)), rng.integers(1, 8, (k, n))
    for start in range(0, k, of):
        for column in range(n):
            size = min(of, k - start)
            w[start + rng.permutation(size)[kept:], column] = 0
    grid = Grid(4, 3)
    assume(k >= -(-k // of) * kept)  # else compression would make k longer, and the model leaves it as it is
    np.testing.assert_array_equal(run_stationary(grid, x, w, kept, of), x @ w)
    array = SystolicArray(rows=4, columns=3)
    cycles = compute_cycles(table((m, k, n)), array, dataflow="weight_stationary", kept=kept, of=of)
    assert cycles == [grid.cycles]


@settings(max_examples=200, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 3000)] * 3),
    grown=st.sampled_from(["m", "k", "n"]),
    by=st.integers(1, 500),
    dataflow=st.sampled_from(DATAFLOWS),
    buffered=st.booleans(),
)
def test_larger_layers_never_take_fewer_cycles(shape, grown, by, dataflow, buffered):
    array = SystolicArray(rows=16, columns=32, double_buffered=buffered)
    layers = table(shape, shape)
    layers.loc[1, grown] += by
    small, large = compute_cycles(layers, array, dataflow=dataflow)
    assert small <= large
    assert small * array.rows * array.columns >= np.prod(shape)  # no more than one MAC a cell and cycle


@given(
    shape=st.tuples(*[st.integers(1, 3000)] * 3), pattern=st.sampled_from([(2, 4), (1, 4), (2, 8), (3, 4)])
)
def test_sparsity_and_double_buffering_are_never_slower(shape, pattern):
    layers, array = table(shape), SystolicArray(rows=16, columns=32)
    dense = compute_cycles(layers, array, dataflow="weight_stationary")
    sparse = compute_cycles(layers, array, dataflow="weight_stationary", kept=pattern[0], of=pattern[1])
    assert sparse <= dense
    hidden = compute_cycles(
        layers, SystolicArray(rows=16, columns=32, double_buffered=True), dataflow="weight_stationary"
    )
    tiles = len(weight_tiles(shape[1], shape[2], rows=16, columns=32))
    assert dense - hidden == (tiles - 1) * array.rows  # every load but the first


def test_groups_are_separate_products():
    layers = pd.DataFrame({"m": [49, 49], "k": [9, 9], "n": [1, 1], "groups": [32, 1]})
    array, energy = SystolicArray(rows=8, columns=8), ArrayEnergy(mac_fj=1.0)
    costs = systolic_costs(
        layers, array, energy, dataflow="weight_stationary", levels=[DvfsLevel(voltage_v=1, frequency_ghz=1)]
    )
    sums = ["cycles", "macs", "sram_weight_bytes", "dram_activation_bytes", "time_ns", "energy_fj"]
    np.testing.assert_allclose(costs.loc[0, sums].astype(float), 32 * costs.loc[1, sums].astype(float))
    assert costs.utilisation[0] == costs.utilisation[1]


def test_tiles_cover_the_weights_once():
    tiles = weight_tiles(333, 200, rows=128, columns=64, groups=2)
    assert (tiles.height * tiles.width).sum() == 2 * 333 * 200
    assert len(tiles) == 2 * 3 * 4
    covered = np.zeros((2, 333, 200), int)
    for t in tiles.itertuples():
        covered[t.group, t.first_k : t.first_k + t.height, t.first_n : t.first_n + t.width] += 1
    assert covered.min() == covered.max() == 1


def test_operands_come_from_dram_once_if_they_fit_and_once_a_pass_if_not():
    layers = table((100, 300, 300))
    for sram_bytes, passes in ((100 * 300, 1), (100 * 300 - 1, 3)):
        array = SystolicArray(rows=128, columns=128, activation_sram_bytes=sram_bytes)
        moved = traffic(layers, array, dataflow="weight_stationary").iloc[0]
        assert moved["dram_activation_bytes"] == passes * 100 * 300
    array = SystolicArray(rows=128, columns=128, output_sram_bytes=100 * 128 * 4 - 1)
    moved = traffic(layers, array, dataflow="weight_stationary").iloc[0]
    assert moved["dram_output_bytes"] == 100 * 300 * (
        1 + 2 * 2 * 4
    )  # two of three sums are written and read again


@pytest.mark.parametrize("dataflow", ["weight_stationary", "input_stationary"])
def test_split_streams_are_the_parts_run_alone(dataflow):
    """2,000 rows of 300 bytes in an SRAM for 600 of them, against four layers of 500 rows."""
    srams = {"activation_sram_bytes": 600 * 300, "weight_sram_bytes": 600 * 300}
    whole = SystolicArray(rows=64, columns=32, split_streams=True, **srams)
    alone = SystolicArray(rows=64, columns=32, **srams)
    held_axis, streamed_axis = ("n", "m") if dataflow == "weight_stationary" else ("m", "n")
    sizes = {"k": 300, held_axis: 700, streamed_axis: 2000}
    layers = pd.DataFrame([sizes, sizes | {streamed_axis: 500}]).assign(groups=1)
    cycles = [compute_cycles(layers, array, dataflow=dataflow) for array in (whole, alone)]
    assert cycles[0][0] == 4 * cycles[1][1]
    moved = [traffic(layers, array, dataflow=dataflow) for array in (whole, alone)]
    np.testing.assert_allclose(moved[0].iloc[0], 4 * moved[1].iloc[1])
    assert moved[0].iloc[0].filter(like="dram").sum() < moved[1].iloc[0].filter(like="dram").sum()


def costs_of(layers, share, levels=HALO_ARRAY_LEVELS, mac_fj=1.0, **array):
    energy = ArrayEnergy(mac_fj=mac_fj, static_mw=2.0, dram_fj_per_byte=1.0)
    return systolic_costs(
        layers,
        SystolicArray(**array),
        energy,
        dataflow="weight_stationary",
        levels=levels,
        level_share=np.atleast_2d(share),
    ).iloc[0]


def test_a_faster_clock_speeds_up_compute_and_no_dram_bound_layer():
    layers = table((512, 512, 512))
    slow, fast = (costs_of(layers, share) for share in ([1, 0, 0], [0, 0, 1]))
    assert slow.bound == "compute"
    assert slow.time_ns / fast.time_ns == pytest.approx(3.7 / 1.9)  # HALO H4: the bound on frequency alone
    slow, fast = (costs_of(layers, share, dram_gb_s=1) for share in ([1, 0, 0], [0, 0, 1]))
    assert slow.bound == "dram"
    assert slow.time_ns == fast.time_ns
    assert fast.mac_energy_fj / slow.mac_energy_fj == pytest.approx(1.2**2)


def test_classes_of_tiles_run_one_after_another():
    layers = table((50, 300, 300))
    tiles = np.array([0, 2, 2, 1, 2, 2, 2, 0, 2])  # 3 x 3 tiles of 128 x 128
    share = share_of_levels([tiles], levels=3)
    mixed = costs_of(layers, share)
    alone = [costs_of(layers, np.eye(3)[i]).time_ns for i in range(3)]
    # tile by tile, each at its own clock
    cycles = 2 * 128 + 128 + 50 - 2
    assert mixed.time_ns == pytest.approx(sum(cycles / HALO_ARRAY_LEVELS[t].frequency_ghz for t in tiles))
    assert min(alone) < mixed.time_ns < max(alone)
    assert mixed.static_energy_fj == pytest.approx(2.0 * mixed.time_ns * 1e3)
    by_class = np.array([[1.0, 2.0, 3.0]])
    expected = sum(share[0, i] * by_class[0, i] * HALO_ARRAY_LEVELS[i].voltage_v ** 2 for i in range(3))
    dear = costs_of(layers, share, mac_fj=by_class)
    assert dear.mac_energy_fj == pytest.approx(50 * 300 * 300 * expected)


def test_transitions_of_both_orders():
    share = np.array([[0.5, 0.5, 0], [0, 1, 0], [0.2, 0.3, 0.5]])
    a, b, c = HALO_ARRAY_LEVELS
    assert order_by_pass(share, HALO_ARRAY_LEVELS) == [a, b, c, a]
    order = order_by_layer(share, HALO_ARRAY_LEVELS)
    assert order == [a, b, b, b, a, c, a]
    assert sum(x != y for x, y in pairwise(order)) == 4


def test_mac_energy_is_the_mean_over_the_weights():
    energy = np.arange(256.0)
    weight = np.array([[-128, 127], [0, 1]], dtype=np.int8)
    assert mean_mac_energy_fj(weight, energy) == (0 + 255 + 128 + 129) / 4


def test_macs_of_sparse_weights():
    assert kept_macs(table((3, 8, 5)), kept=1, of=4).tolist() == [3 * 2 * 5]


@pytest.mark.parametrize("dataflow", ["output_stationary", "input_stationary"])
def test_sparsity_needs_held_weights(dataflow):
    with pytest.raises(InputError, match="choose weight_stationary"):
        compute_cycles(table((1, 8, 1)), SystolicArray(), dataflow=dataflow, kept=2, of=4)


def layers_file(path: Path, **changes) -> Path:
    row = dict(zip(LAYER_COLUMNS, ("fc", "linear", 4, 300, 10, 1, "fc.weight"), strict=True)) | changes
    pd.DataFrame([row]).to_csv(path, index=False)
    return path


def test_command_writes_a_row_a_layer_and_dataflow(tmp_path):
    source = layers_file(tmp_path / "layers.csv")
    estimate_systolic(["--layers", str(source), "--table", str(tmp_path / "out.csv")])
    written = pd.read_csv(tmp_path / "out.csv")
    assert written.dataflow.tolist() == list(DATAFLOWS)
    assert written.cycles.tolist() == [
        (2 * 128 + 128 + 4 - 2) * 3,
        (128 + 128 + 300 - 2) * 1,
        (2 * 128 + 128 + 10 - 2) * 3,
    ]


def test_zero_size_is_one_sentence_and_no_file(tmp_path):
    source = layers_file(tmp_path / "layers.csv", k=0)
    command = ["-m", "stages.hardware.estimate_systolic", "--layers", str(source)]
    done = subprocess.run(
        [sys.executable, *command, "--table", str(tmp_path / "out.csv")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "layer fc: k is 0" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["layers.csv"]
