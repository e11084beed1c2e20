"""The reference table of Sparseloop's artifact beside our tensor-core model, cell by cell."""

from pathlib import Path

import numpy as np
import pandas as pd

from stages.lib.costs import tensor_cores
from stages.lib.costs.tensor_core_mappings import TensorCore
from stages.lib.costs.tensor_cores import tensor_core_costs

REFERENCE = Path(tensor_cores.__file__).with_name("sparseloop_reference.csv")


def read_reference() -> pd.DataFrame:
    """One row a cell: gemm, n, k, m, activation_density, design, weight_density, kept, of, cycles, energy_uj."""
    return pd.read_csv(REFERENCE, comment="#").assign(groups=1)


def compare_reference(core: TensorCore | None = None) -> pd.DataFrame:
    """The reference with modelled_cycles, modelled_energy_uj, their relative deviations, and what bounds the cycles."""
    parts = []
    for design, cells in read_reference().groupby("design", sort=False):
        costs = tensor_core_costs(cells, design, core=core)
        modelled_uj = costs["energy_fj"] / 1e9
        parts.append(
            cells.assign(
                modelled_cycles=costs["cycles"].astype(np.int64),
                cycles_deviation=costs["cycles"] / cells["cycles"] - 1,
                modelled_energy_uj=modelled_uj,
                energy_deviation=modelled_uj / cells["energy_uj"] - 1,
                bound=costs["bound"],
            )
        )
    return pd.concat(parts)
