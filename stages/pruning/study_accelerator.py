"""Modelled latency and energy of a pruned network on dense and sparse tensor cores (CRISP, notes 2.6 and 4.2).

python -m stages.pruning.study_accelerator --layers resnet50.csv --table accelerator.csv

Every layer has the same sparsity; the hybrid pattern (CRISP_STC) with 1:4, 2:4, 3:4 in blocks of 16, 32, 64, against the
dense network on TC, STC and DSTC, and against plain n:m of the same sparsity on STC_flexible, with the SMEM's bandwidth
and without its limit. A row for each sparsity, pattern and block: cycles and energy of the whole network, and how often
better than each baseline. Activations are dense, but for DSTC, which gets half of them as zeros.
"""

import argparse
from fractions import Fraction

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
    baselines = {
        "TC, dense": totals(layers, "TC"),
        "STC, dense": totals(layers, "STC"),
        "DSTC, dense": totals(layers.assign(activation_density=ACTIVATION_DENSITY), "DSTC"),
        "STC, 2:4": totals(layers.assign(kept=2, of=4), "STC"),
    }
    rows = []
    for sparsity in SPARSITIES:
        plain = n_m_of(sparsity)
        same = {
            f"STC_flexible, {plain.numerator}:{plain.denominator}": layers.assign(
                kept=plain.numerator, of=plain.denominator
            )
        }
        for n, m in PATTERNS:
            share = (1 - sparsity) * m / n
            if share > 1 + 1e-9:
                continue
            for block in BLOCKS:
                hybrid = layers.assign(kept=n, of=m, block=block, kept_blocks=min(share, 1.0))
                rows.append(row(args.layers, sparsity, n, m, block, hybrid, baselines, same))
    with atomic_path(args.table) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)


def row(
    name: str, sparsity: float, n: int, m: int, block: int, hybrid: pd.DataFrame,
    baselines: dict[str, tuple[float, float]], same: dict[str, pd.DataFrame],
) -> dict[str, object]:  # fmt: skip
    ours, free = tensor_core_costs(hybrid, "CRISP_STC"), tensor_core_costs(hybrid, "CRISP_STC", core=ENDLESS)
    found: dict[str, object] = {
        "network": name.rsplit("/", 1)[-1].partition(".")[0], "sparsity": sparsity, "n": n, "m": m, "block": block,
        "cycles": ours["cycles"].sum(), "energy_uj": ours["energy_fj"].sum() / 1e9,
    }  # fmt: skip
    for title, (cycles, energy) in baselines.items():
        found[f"times faster than {title}"] = cycles / ours["cycles"].sum()
        found[f"times less energy than {title}"] = energy / ours["energy_fj"].sum()
    for title, layers in same.items():
        theirs = tensor_core_costs(layers, "STC_flexible")
        unbound = tensor_core_costs(layers, "STC_flexible", core=ENDLESS)
        found |= {
            "plain": title.partition(", ")[2],
            "times faster than plain n:m": theirs["cycles"].sum() / ours["cycles"].sum(),
            "times less energy than plain n:m": theirs["energy_fj"].sum() / ours["energy_fj"].sum(),
            "layers": len(ours),
            "layers that are slower": int((ours["cycles"].to_numpy() > theirs["cycles"].to_numpy()).sum()),
            "layers with more activation bytes": int(
                (ours["smem_activation_bytes"].to_numpy() > theirs["smem_activation_bytes"].to_numpy()).sum()
            ),
            "times faster without SMEM limit": unbound["cycles"].sum() / free["cycles"].sum(),
        }
    return found


def totals(layers: pd.DataFrame, design: str) -> tuple[float, float]:
    """Cycles and fJ of all layers."""
    costs = tensor_core_costs(layers, design)
    return float(costs["cycles"].sum()), float(costs["energy_fj"].sum())


def n_m_of(sparsity: float) -> Fraction:
    """n / m of the plain pattern that is as sparse, as nearly as 16 weights a group allow."""
    return Fraction(1 - sparsity).limit_denominator(16)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", required=True, help="layer table of tabulate_layers")
    parser.add_argument("--table", required=True, help="CSV to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
