"""Formats layer by layer: the exact choice by enumeration, costs by hand, and the command from end to end."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from stages.lib.core.errors import InputError
from stages.lib.core.measurements import read_measurements
from stages.quantization import measure_search, search_formats
from stages.quantization.config import MixedConfig, Technique
from stages.quantization.mixed import Sensitivities, bit_costs, choose_formats, layer_macs, lut_costs
from stages.quantization.network import prepare
from tests.unit.quantization.test_sweep_formats import folders, write_costs  # noqa: F401


@pytest.mark.parametrize("seed", range(20))
def test_the_choice_is_the_best_of_all(seed):
    rng = np.random.default_rng(seed)
    loss, cost = rng.exponential(size=(5, 4)), rng.integers(1, 30, (5, 4)).astype(float)
    budget = cost.min(1).sum() + rng.integers(0, 40)
    sensitivity = Sensitivities(layers=tuple("abcde"), pairs=("INT3", "INT4", "INT6", "INT8"), loss=loss)
    taken = choose_formats(sensitivity, cost, budget=budget)
    rows = np.arange(5)
    assert cost[rows, taken].sum() <= budget
    every = (np.array(choice) for choice in itertools.product(range(4), repeat=5))
    best = min(loss[rows, c].sum() for c in every if cost[rows, c].sum() <= budget)
    assert loss[rows, taken].sum() == pytest.approx(best)


def test_a_budget_below_the_cheapest_formats_is_refused():
    sensitivity = Sensitivities(layers=("a",), pairs=("INT3", "INT4"), loss=np.ones((1, 2)))
    with pytest.raises(InputError, match="the budget is 2, and the cheapest formats cost 3"):
        choose_formats(sensitivity, np.array([[3.0, 4.0]]), budget=2)


def test_costs_of_a_network_worked_by_hand():
    prepared = prepare(nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(16, 5)).eval())
    macs = layer_macs(prepared, torch.zeros(1, 2, 4, 4))
    assert macs == {"0": 4 * 4 * 18, "2": 16 * 5}
    luts = lut_costs(macs, ("INT4", "E2M1"), {"INT4": 10, "E2M1": 20})
    np.testing.assert_allclose(luts, np.array([[288], [80]]) / 368 * np.array([[10, 20]]))
    bits = bit_costs(prepared, ("INT4", "INT8"), Technique())
    assert bits.tolist() == [[4 * 72 + 4 * 32, 8 * 72 + 4 * 32], [4 * 80 + 5 * 32, 8 * 80 + 5 * 32]]
    mx = bit_costs(prepared, ("INT4",), Technique(granularity="mx", group=16))
    # kernel positions 9, one group of 2 channels each; 16 inputs make one group a row
    assert mx.tolist() == [[4 * 72 + 4 * 9 * 8], [4 * 80 + 5 * 8]]
    with pytest.raises(InputError, match="no operator of E3M0"):
        lut_costs(macs, ("E3M0",), {"INT4": 10})


def test_search_and_measurement_from_end_to_end(folders, tmp_path):  # noqa: F811
    write_costs(tmp_path / "costs.parquet")
    settings = {
        "candidates": ["INT3", "INT4", "E2M1", "INT8"], "budgets": ["INT4"], "calibration_images": 20,
        "selection_images": 20, "test_images": 60, "calibration_seeds": [0, 1],
    }  # fmt: skip
    paths = [f"--{k}={folders / k}" for k in ("model", "train", "test")] + [
        f"--costs={tmp_path / 'costs.parquet'}"
    ]
    outputs = [
        f"--table={tmp_path / 's.csv'}",
        f"--outcomes={tmp_path / 's.npz'}",
        f"--formats={tmp_path / 's.json'}",
    ]
    search_formats.main([*paths, "--config", json.dumps(settings), "--device", "cpu", *outputs])
    table = pd.read_csv(tmp_path / "s.csv", keep_default_na=False)
    assert len(table) == 2 * (4 + 2)
    mixed = table[table.kind == "mixed"]
    uniform = table[(table.kind == "uniform") & (table.budget == "INT4")].iloc[0]
    for row in mixed.itertuples():
        assert getattr(row, f"{row.cost}_spent") <= uniform[f"{row.cost}_spent"] * (1 + 1e-9)
        assert row.predicted_loss <= uniform.predicted_loss + 1e-12
    chosen = json.loads((tmp_path / "s.json").read_text())
    assert set(chosen) == {f"seed {s}, {c} of INT4" for s in (0, 1) for c in ("lut", "bits")}
    measure_search.main(
        ["--tables", str(tmp_path / "s.csv"), "--measurements", str(tmp_path / "m.json"), "--draws=5"]
    )
    (measured,) = read_measurements(tmp_path / "m.json")
    assert measured.claim == "M18"
    assert [s.seed for s in measured.samples] == [0, 1]


def test_wrong_settings_are_refused_with_the_key():
    with pytest.raises(ValueError, match="budgets has 'INT7', which is no candidate"):
        MixedConfig(budgets=("INT7",))
    with pytest.raises(ValueError, match="costs has 'area'"):
        MixedConfig(costs=("area",))
