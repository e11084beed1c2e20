"""Modelled cycles, traffic and energy of a network's layers on dense and sparse tensor cores (CRISP, section 2.6).

python -m stages.hardware.estimate_tensor_cores --layers layers.csv --config '{"kept": 2, "of": 4, "kept_blocks": 0.25}'
    --table tensor_cores.csv

Columns `kept`, `of`, `block`, `kept_blocks` and `activation_density` of the layer table, where it has them, go before
the configuration. Attention, whose second operand is no weight, is dense on every design but DSTC.
"""

import argparse

import pandas as pd

from stages.hardware.config import TensorCoreConfig
from stages.lib.core.artifacts import atomic_path
from stages.lib.core.commands import from_json
from stages.lib.core.errors import run
from stages.lib.costs.layers import read_layers
from stages.lib.costs.tensor_core_mappings import TensorCore
from stages.lib.costs.tensor_cores import tensor_core_costs

DENSE = {"kept": 1, "of": 1, "kept_blocks": 1.0}


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = from_json(TensorCoreConfig, args.config, where="--config")
    products = with_sparsity(read_layers(args.layers), config)
    core = TensorCore(
        smem_bytes_per_cycle=config.smem_bytes_per_cycle, dram_bytes_per_cycle=config.dram_bytes_per_cycle
    )
    parts = [
        pd.concat([products.assign(design=design), tensor_core_costs(products, design, core=core)], axis=1)
        for design in config.designs
    ]
    with atomic_path(args.table) as temporary:
        pd.concat(parts).to_csv(temporary, index=False)


def with_sparsity(layers: pd.DataFrame, config: TensorCoreConfig) -> pd.DataFrame:
    """The layers with every column that the model reads; what the table does not say comes from the configuration."""
    products, no_weight = layers.copy(), layers["weight_name"] == ""
    for name in ("kept", "of", "block", "kept_blocks", "activation_density"):
        if name not in products:
            products[name] = getattr(config, name)
            if name in DENSE:
                products[name] = products[name].mask(no_weight, DENSE[name])
    return products


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", required=True, help="layer table, CSV (tabulate_layers)")
    parser.add_argument("--config", default="{}", help="TensorCoreConfig as JSON")
    parser.add_argument("--table", required=True, help="CSV to write, one row a layer and design")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
