"""The systolic model against SCALE-Sim 3.0.0: equal cycles on every layer, and equal counts of what dense layers read.

SCALE-Sim's "Total Cycles" is the index of the last cycle, counted from 0; the model counts cycles, hence the 1.
"""

import os
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from stages.hardware.scale_sim import ARRAYS, DATAFLOWS, SPARSITIES, judged_layers
from stages.lib.costs.systolic import SystolicArray, compute_cycles, traffic

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    if not (ROOT / ".venv/oracles/bin/python").exists() and not os.environ.get("CI"):
        pytest.skip("the environment oracles is not there; run ./repro setup oracles")
    folder = tmp_path_factory.mktemp("scalesim")
    judged_layers().to_csv(folder / "layers.csv", index=False)
    command = [ROOT / "envs/py", "oracles", ROOT / "tests/oracles/scalesim_judge.py"]
    done = subprocess.run(
        [*command, folder / "layers.csv", folder / "judged.csv"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return pd.read_csv(folder / "judged.csv")


def modelled(layers: pd.DataFrame) -> pd.DataFrame:
    """Cycles and elements read, in the order of the layers."""
    parts = []
    for (rows, columns, dataflow), part in layers.groupby(["rows", "columns", "dataflow"]):
        # one byte for everything, so that bytes are elements
        array = SystolicArray(rows=rows, columns=columns, partial_sum_bits=8)
        sparse = {"kept": part["kept"].to_numpy(), "of": part["of"].to_numpy()}
        moved = traffic(part, array, dataflow=dataflow, **sparse)
        parts.append(moved.assign(cycles=compute_cycles(part, array, dataflow=dataflow, **sparse)))
    return pd.concat(parts).sort_index()


def test_the_list_holds_what_it_should(judged):
    assert len(judged) == 76
    assert set(zip(judged["rows"], judged["columns"], strict=True)) == set(ARRAYS)
    assert set(judged["dataflow"]) == set(DATAFLOWS)
    sparse = judged[judged["kept"] < judged["of"]]
    assert set(zip(sparse["kept"], sparse["of"], strict=True)) == set(SPARSITIES)
    assert (judged["k"] % judged["rows"] != 0).mean() > 0.9
    assert (judged["stall_cycles"] == 0).all()


def test_cycles_are_equal_on_every_layer(judged):
    assert (modelled(judged)["cycles"] - 1).tolist() == judged["last_cycle"].tolist()


def test_reads_of_dense_layers_are_equal(judged):
    dense = judged[judged["kept"] == judged["of"]]
    ours = modelled(dense)
    assert ours["sram_activation_bytes"].tolist() == dense["activation_reads"].tolist()
    assert ours["sram_weight_bytes"].tolist() == dense["weight_reads"].tolist()
