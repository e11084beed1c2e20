"""Tensor cores in closed form, dense to hybrid-sparse: cycles, bytes and energy of matrix products, all modelled.

    TC             dense
    STC            2:4 where the weights have a density of 1/2 or less, else dense (NVIDIA's)
    STC_flexible   any n:m: the zeros cost no multiplication, but activations are still fetched in full
    CRISP_STC      n:m inside surviving blocks (CRISP's notes, section 2.6): pruned blocks' activations are not fetched
    DSTC           zeros of weights and activations skipped, both stored as bitmaps (Wang et al., ISCA 2021)

    cycles = max(compute, SMEM reads, SMEM writes, DRAM reads, DRAM writes)

Four subpartitions of 256 MACs share one SMEM. In the structured designs a subpartition takes 16 rows of weights
(output channels) and 16 kept weights of each along k, holds them while it runs over up to 128 positions, and every
cycle needs the activations of one position: 16 * m / n bytes, shared by all subpartitions, plus 8 bytes of weights and
their offsets. At 2:4 that is the SMEM's 42 bytes a cycle; a sparser n:m waits for it. In DSTC a subpartition takes
outer products of 16 x 16 and holds 2,048 partial sums while it runs over all of k.

Architecture and unit energies follow the public artifact of Sparseloop (MICRO 2022), figure 15; how far its own results
are met, cell by cell, is measured by stages.hardware.measure_tensor_cores and never adjusted here.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from stages.lib.core.errors import InputError
from stages.lib.costs.tensor_core_mappings import (
    Product,
    TensorCore,
    Work,
    dual_sparse_mappings,
    structured_mappings,
)

DESIGNS = ("TC", "STC", "STC_flexible", "CRISP_STC", "DSTC")


@dataclass(frozen=True, kw_only=True)
class UnitEnergies:
    """fJ of a MAC and of a byte moved; the operands' latches (lrf), the partial sums' registers (rf), SMEM, DRAM.

    `_meta` is of one byte of offsets or bitmaps; the source counts none in DRAM.
    """

    mac_fj: float
    lrf_fj: float
    lrf_meta_fj: float
    rf_read_fj: float
    rf_write_fj: float
    smem_read_fj: float
    smem_write_fj: float
    smem_meta_read_fj: float = 25.87e3 / 8
    smem_meta_write_fj: float = 19.65e3 / 8
    dram_fj: float = 512e3 / 8


# As printed in the reference outputs of Sparseloop's artifact, figure 15 (Accelergy, 45 nm), per access and divided by
# its bytes. TC was characterised with other tables than the sparse designs (0.45 against 0.56 pJ a MAC).
_SPARSE = {
    "mac_fj": 560.8,
    "rf_read_fj": 1658.9,
    "rf_write_fj": 1675.9,
    "smem_read_fj": 285.71e3 / 64,
    "smem_write_fj": 316.97e3 / 64,
}
STRUCTURED_ENERGIES = UnitEnergies(lrf_fj=72.0, lrf_meta_fj=72.0, **_SPARSE)
DSTC_ENERGIES = UnitEnergies(lrf_fj=246.1, lrf_meta_fj=362.2, **_SPARSE)
TC_ENERGIES = UnitEnergies(
    mac_fj=446.88,
    lrf_fj=24.35,
    lrf_meta_fj=0.0,
    rf_read_fj=3166.6,
    rf_write_fj=3200.0,
    smem_read_fj=8375.8,
    smem_write_fj=9371.8,
)
ENERGIES = {design: STRUCTURED_ENERGIES for design in DESIGNS} | {"TC": TC_ENERGIES, "DSTC": DSTC_ENERGIES}


def tensor_core_costs(
    products: pd.DataFrame,
    design: str,
    *,
    core: TensorCore | None = None,
    energies: UnitEnergies | None = None,
) -> pd.DataFrame:
    """Cycles, bytes and energy of each product on one design, one row each, in the same order.

    products   columns m (positions), k, n (outputs), groups as in layers.csv, and optionally
               kept, of              n:m sparsity along k, by default 1, 1 (dense)
               block, kept_blocks    side of CRISP's blocks and share of them that survives in each row of blocks, by
                                     default 64 and 1
               activation_density    share of activations that are not zero, by default 1 (only DSTC sees it)
    energies   by default those of the design in the source; give one set for all designs to compare architectures alone

    Of the mappings that the register files allow, the fastest is taken, and among equally fast ones the cheapest.
    """
    if design not in DESIGNS:
        raise InputError(f"the design {design!r} is unknown; choose one of {', '.join(DESIGNS)}")
    core, energies = core or TensorCore(), energies or ENERGIES[design]
    product = _read_products(products)
    mappings = (
        dual_sparse_mappings(product, core)
        if design == "DSTC"
        else structured_mappings(product, design, core)
    )
    options = [_costs(work, core, energies) for work in mappings]
    cycles = np.stack([option["cycles"] for option in options])
    energy = np.stack([option["energy_fj"] for option in options])
    best = np.where(cycles == cycles.min(axis=0), energy, np.inf).argmin(axis=0)
    chosen = {
        name: np.stack([np.asarray(option[name]) for option in options])[best, np.arange(len(products))]
        for name in options[0]
    }
    return pd.DataFrame(chosen, index=products.index)


def _costs(work: Work, core: TensorCore, e: UnitEnergies) -> dict[str, np.ndarray]:
    smem_read = work.smem_read_weights + work.smem_read_activations + work.smem_read_meta
    smem_write = work.smem_write + work.smem_write_meta
    dram_read = work.dram_read + work.dram_read_meta
    terms = {
        "compute": work.compute,
        "smem": np.maximum(smem_read, smem_write) / core.smem_bytes_per_cycle,
        "dram": np.maximum(dram_read, work.dram_write) / core.dram_bytes_per_cycle,
    }
    # the tolerance keeps a rounding error from adding a cycle
    cycles = np.ceil(np.max(list(terms.values()), axis=0) * (1 - 1e-12))
    parts = {
        "mac_energy_fj": work.macs * e.mac_fj,
        "register_energy_fj": work.lrf * e.lrf_fj
        + work.lrf_meta * e.lrf_meta_fj
        + work.sums_read * e.rf_read_fj
        + work.sums_written * e.rf_write_fj,
        "smem_energy_fj": (work.smem_read_weights + work.smem_read_activations) * e.smem_read_fj
        + work.smem_read_meta * e.smem_meta_read_fj
        + work.smem_write * e.smem_write_fj
        + work.smem_write_meta * e.smem_meta_write_fj,
        "dram_energy_fj": (work.dram_read + work.dram_write) * e.dram_fj,
    }
    return {
        "cycles": cycles,
        "bound": np.array(list(terms))[np.argmax(list(terms.values()), axis=0)],
        **{f"{name}_cycles": value for name, value in terms.items()},
        "macs": work.macs,
        "smem_activation_bytes": work.smem_read_activations,
        "smem_weight_bytes": work.smem_read_weights,
        "smem_metadata_bytes": work.smem_read_meta,
        "dram_read_bytes": dram_read,
        "dram_write_bytes": work.dram_write,
        **parts,
        "energy_fj": sum(parts.values()),
    }


def _read_products(table: pd.DataFrame) -> Product:
    defaults = {"kept": 1, "of": 1, "block": 64, "kept_blocks": 1.0, "activation_density": 1.0}
    columns = {
        name: (table[name] if name in table else pd.Series(value, index=table.index)).to_numpy(dtype=float)
        for name, value in defaults.items()
    }
    p = Product(*(table[name].to_numpy(dtype=float) for name in ("m", "k", "n", "groups")), **columns)
    checks = {
        "n:m sparsity keeps 1 to m of each m weights": (p.kept >= 1) & (p.kept <= p.of),
        "block is 16, 32 or a multiple of 64": (p.block % 64 == 0) & (p.block > 0)
        | np.isin(p.block, (16, 32)),
        "kept_blocks is more than 0, up to 1": (p.kept_blocks > 0) & (p.kept_blocks <= 1),
        "activation_density is more than 0, up to 1": (p.activation_density > 0)
        & (p.activation_density <= 1),
    }
    for rule, good in checks.items():
        if not good.all():
            row = int(np.flatnonzero(~good)[0])
            values = {name: float(value[row]) for name, value in columns.items()}
            raise InputError(f"row {row + 1} of the products has {values}: {rule}; correct the row")
    return p
