"""Modelled latency and energy of a pruned network on dense and sparse tensor cores (CRISP, notes 2.6 and 4.2).

python -m stages.pruning.study_accelerator --layers resnet50.csv --table accelerator.csv --by-layer by_layer.csv

Every layer has the same sparsity; the hybrid pattern (CRISP_STC) with 1:4, 2:4, 3:4 in blocks of 16, 32, 64, against the
dense network on TC, STC and DSTC, and against plain n:m of the same sparsity on STC_flexible, with the SMEM's bandwidth
and without its limit. A row for each sparsity, pattern and block: cycles and energy of the whole network, and how often
better than each baseline. Activations are dense, but for DSTC, which gets half of them as zeros. The second table has the
cycles and the energy of every layer on every design.
"""

import argparse
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd

from stages.lib.core.artifacts import atomic_path
from stages.lib.core.errors import run
from stages.lib.costs.layers import read_layers
from stages.lib.costs.tensor_core_mappings import TensorCore
from stages.lib.costs.tensor_cores import tensor_core_costs

PATTERNS = ((1, 4), (2, 4), (3, 4))
BLOCKS = (16, 32, 64)
# the last but one: what 14 times fewer multiplications need (notes 6), 1 - 1/14
SPARSITIES = (0.5, 0.625, 0.75, 0.875, 13 / 14, 0.95)
ACTIVATION_DENSITY = 0.5
ENDLESS = TensorCore(smem_bytes_per_cycle=np.inf)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    layers = read_layers(args.layers)
    layers = layers[layers["weight_name"] != ""]
    half = layers.assign(activation_density=ACTIVATION_DENSITY)
    fixed = {
        "TC, dense": costs_of(layers, "TC"),
        "STC, dense": costs_of(layers, "STC"),
        "DSTC, dense": costs_of(half, "DSTC"),
        "STC, 2:4": costs_of(layers.assign(kept=2, of=4), "STC", sparsity=0.5, n=2, m=4),
    }
    rows, parts = [], list(fixed.values())
    for sparsity in SPARSITIES:
        plain = n_m_of(sparsity)
        flexible = layers.assign(kept=plain.numerator, of=plain.denominator)
        baselines = fixed | {
            "plain n:m": costs_of(
                flexible, "STC_flexible", sparsity=sparsity, n=plain.numerator, m=plain.denominator
            ),
            "DSTC, same": costs_of(half.assign(kept=1, of=1 / (1 - sparsity)), "DSTC", sparsity=sparsity),
        }
        parts += [costs for name, costs in baselines.items() if name not in fixed]
        unbound = tensor_core_costs(flexible, "STC_flexible", core=ENDLESS)["cycles"].sum()
        for n, m in PATTERNS:
            share = (1 - sparsity) * m / n
            if share > 1 + 1e-9:
                continue
            for block in BLOCKS:
                hybrid = layers.assign(kept=n, of=m, block=block, kept_blocks=min(share, 1.0))
                ours = costs_of(hybrid, "CRISP_STC", sparsity=sparsity, n=n, m=m, block=block)
                free = tensor_core_costs(hybrid, "CRISP_STC", core=ENDLESS)["cycles"].sum()
                parts.append(ours)
                rows.append(
                    {
                        "network": Path(args.layers).stem, "sparsity": sparsity, "n": n, "m": m, "block": block,
                        "plain": f"{plain.numerator}:{plain.denominator}",
                    }
                    | compared(ours, baselines)
                    | {"times faster without SMEM limit": unbound / free}
                )  # fmt: skip
    for path, table in ((args.table, pd.DataFrame(rows)), (args.by_layer, pd.concat(parts))):
        with atomic_path(path) as temporary:
            table.to_csv(temporary, index=False)


def compared(ours: pd.DataFrame, baselines: dict[str, pd.DataFrame]) -> dict[str, object]:
    """Cycles and energy of the whole network, and how often each baseline's."""
    found: dict[str, object] = {
        "cycles": ours["cycles"].sum(),
        "energy_uj": ours["energy_uj"].sum(),
        "layers": len(ours),
    }
    for name, theirs in baselines.items():
        found[f"times faster than {name}"] = theirs["cycles"].sum() / ours["cycles"].sum()
        found[f"times less energy than {name}"] = theirs["energy_uj"].sum() / ours["energy_uj"].sum()
    plain = baselines["plain n:m"]
    for name, column in (("slower", "cycles"), ("with more activation bytes", "smem_activation_bytes")):
        more = ours[column].to_numpy() > plain[column].to_numpy()
        found[f"layers {name}"] = int(more.sum())
    return found


def costs_of(
    layers: pd.DataFrame, design: str, *, sparsity: float = 0.0, n: int = 1, m: int = 1, block: int = 0
) -> pd.DataFrame:
    """A row a layer; block 0: no blocks."""
    costs = tensor_core_costs(layers, design)
    return pd.DataFrame(
        {
            "layer": layers["name"], "design": design, "sparsity": sparsity, "n": n, "m": m, "block": block,
            "cycles": costs["cycles"], "bound": costs["bound"], "energy_uj": costs["energy_fj"] / 1e9,
            "smem_activation_bytes": costs["smem_activation_bytes"],
        }
    )  # fmt: skip


def n_m_of(sparsity: float) -> Fraction:
    """n / m of the plain pattern that is as sparse, as nearly as 16 weights a group allow."""
    return Fraction(1 - sparsity).limit_denominator(16)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", required=True, help="layer table of tabulate_layers")
    parser.add_argument("--table", required=True, help="CSV to write, a row a sparsity, pattern and block")
    parser.add_argument("--by-layer", required=True, help="CSV to write, a row a layer and design")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
