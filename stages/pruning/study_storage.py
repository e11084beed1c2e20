"""Bits that a pruned network takes in each sparse format: index and weights, in closed form (CRISP, notes 2.6).

python -m stages.pruning.study_storage --layers resnet50.csv --table storage.csv

Every layer keeps the same share of its blocks, at least one in a row of blocks, and n of m weights in each. A row for
each sparsity, pattern, block and format: bits of the index, weights that are stored with it (zeros included, where a
format cannot leave them out), and the size of both, with weights of 16 bits, as a share of the dense network's. That a
written index is as large as its formula says is checked by verify_patterns.
"""

import argparse
from pathlib import Path

import pandas as pd

from stages.lib.core.artifacts import atomic_path
from stages.lib.core.errors import run
from stages.lib.costs.layers import read_layers
from stages.lib.sparse.storage import FORMATS, hybrid_counts, index_bits, stored_weights
from stages.pruning.study_accelerator import BLOCKS, PATTERNS

SPARSITIES = (0.5, 0.75, 0.8, 0.85, 0.9, 0.95)
WEIGHT_BITS = 16


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    layers = read_layers(args.layers)
    layers = layers[layers["weight_name"] != ""]
    shapes = [(int(row["n"]), int(row["k"])) for _, row in layers.iterrows()]
    dense = sum(rows * columns for rows, columns in shapes) * WEIGHT_BITS
    rows = []
    for sparsity in SPARSITIES:
        for n, m in PATTERNS:
            share = (1 - sparsity) * m / n
            if share > 1 + 1e-9:
                continue
            for block in BLOCKS:
                counts = [
                    hybrid_counts(
                        *shape, n=n, m=m, block=block, kept=max(1, int(share * -(-shape[1] // block)))
                    )
                    for shape in shapes
                ]
                for form in FORMATS:
                    index = sum(index_bits(form, c, m=m) for c in counts)
                    stored = sum(stored_weights(form, c) for c in counts)
                    rows.append(
                        {
                            "network": Path(args.layers).stem, "sparsity": sparsity, "n": n, "m": m, "block": block,
                            "format": form, "index_bits": index, "stored_weights": stored,
                            "index_bits_per_weight": index / sum(c.nonzeros for c in counts),
                            "of_dense": (index + stored * WEIGHT_BITS) / dense,
                        }
                    )  # fmt: skip
    with atomic_path(args.table) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", required=True, help="layer table of tabulate_layers")
    parser.add_argument("--table", required=True, help="CSV to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
