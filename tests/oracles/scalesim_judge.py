"""Simulates layers with SCALE-Sim: runs in the environment `oracles`, called by test_scalesim.py.

envs/py oracles tests/oracles/scalesim_judge.py layers.csv judged.csv

layers.csv  one row a layer: rows, columns, dataflow, m, k, n, kept, of
judged.csv  the same rows in the same order, with SCALE-Sim's last_cycle, stall_cycles and element counts
"""

import sys
import tempfile
from pathlib import Path

import pandas as pd

from stages.hardware.scale_sim import Setup, prepare, simulate


def main() -> None:
    source, target = sys.argv[1:]
    layers = pd.read_csv(source)
    layers["sparse"] = layers["kept"] < layers["of"]
    judged = []
    with tempfile.TemporaryDirectory() as folder:
        for i, (key, part) in enumerate(layers.groupby(["rows", "columns", "dataflow", "sparse"])):
            names = ("rows", "columns", "dataflow", "sparse")
            setup = Setup(**dict(zip(names, key, strict=True)))
            place = Path(folder) / str(i)
            report = simulate(prepare(part, setup, place), place)
            judged.append(part.join(report.set_index(part.index)))
    pd.concat(judged).sort_index().drop(columns="sparse").to_csv(target, index=False)


if __name__ == "__main__":
    main()
