"""Modelled cycles, traffic, time and energy of a network's layers on a systolic array, for each dataflow.

python -m stages.hardware.estimate_systolic --layers layers.csv --config '{"rows": 64, "columns": 64}'
    --table systolic.csv

A layer table may say n:m sparsity in columns `kept` and `of`; only weight_stationary makes use of it.
"""

import argparse

import pandas as pd

from stages.hardware.config import SystolicConfig
from stages.lib.core.artifacts import atomic_path
from stages.lib.core.commands import from_json
from stages.lib.core.errors import run
from stages.lib.costs.dvfs import DvfsLevel
from stages.lib.costs.layers import read_layers
from stages.lib.costs.memory import dram_energy_fj_per_byte, sram_energy
from stages.lib.costs.systolic import OPERANDS, ArrayEnergy, SystolicArray, systolic_costs


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


def array_of(config: SystolicConfig) -> tuple[SystolicArray, ArrayEnergy]:
    """The model's array and unit energies; an SRAM's byte costs the mean of reading and writing it."""
    names = [name for name in SystolicArray.__dataclass_fields__ if hasattr(config, name)]
    array = SystolicArray(**{name: getattr(config, name) for name in names})
    srams = {
        name: sram_energy(getattr(config, f"{name}_sram_bytes"), technology_nm=config.technology_nm)
        for name in OPERANDS
    }
    energy = ArrayEnergy(
        mac_fj=config.mac_fj,
        dram_fj_per_byte=dram_energy_fj_per_byte(config.dram),
        static_mw=config.static_mw,
        **{
            f"{name}_sram_fj_per_byte": (sram.read_fj_per_byte + sram.write_fj_per_byte) / 2
            for name, sram in srams.items()
        },
    )
    return array, energy


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
