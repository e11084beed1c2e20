"""Modelled cycles, traffic, time and energy of a network's layers on a systolic array, for each dataflow.

python -m stages.hardware.estimate_systolic --layers layers.csv --config '{"rows": 64, "columns": 64}'
    --table systolic.csv

A layer table may say n:m sparsity in columns `kept` and `of`; only weight_stationary makes use of it.
"""

import argparse

import pandas as pd

from stages.lib.core.artifacts import atomic_path
from stages.lib.core.commands import from_json
from stages.lib.core.errors import run
from stages.lib.costs.arrays import SystolicConfig, array_of
from stages.lib.costs.dvfs import DvfsLevel
from stages.lib.costs.layers import read_layers
from stages.lib.costs.systolic import systolic_costs


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = from_json(SystolicConfig, args.config, where="--config")
    layers = read_layers(args.layers)
    array, energy = array_of(config)
    level = DvfsLevel(voltage_v=energy.nominal_v, frequency_ghz=config.frequency_ghz)
    parts = []
    for dataflow in config.dataflows:
        sparse = {name: layers[name].to_numpy() for name in ("kept", "of") if name in layers}
        if dataflow != "weight_stationary":
            sparse = {}
        costs = systolic_costs(layers, array, energy, dataflow=dataflow, levels=[level], **sparse)
        parts.append(pd.concat([layers.assign(dataflow=dataflow), costs], axis=1))
    with atomic_path(args.table) as temporary:
        pd.concat(parts).to_csv(temporary, index=False)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", required=True, help="layer table, CSV (tabulate_layers)")
    parser.add_argument("--config", default="{}", help="SystolicConfig as JSON")
    parser.add_argument("--table", required=True, help="CSV to write, one row a layer and dataflow")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
