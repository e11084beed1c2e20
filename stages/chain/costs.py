"""What a recogniser costs, pruned or not, in one pair of number formats: bits, multiplications, modelled cycles, energy.

The array and the tensor cores multiply 8-bit elements: a network that is not quantised yet is costed as if it were in
8 bits, so that steps before quantisation differ by work alone. Formats of fewer bits move fewer bytes; their MAC is
taken to cost what an int8 one does, as no energy of a minifloat's was measured. Pruned blocks are skipped by the tensor
cores; the array makes use of n:m alone. All but bits and multiplications is modelled.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from stages.lib.costs.arrays import SystolicConfig, array_of
from stages.lib.costs.dvfs import DvfsLevel
from stages.lib.costs.systolic import systolic_costs
from stages.lib.costs.tensor_cores import STRUCTURED_ENERGIES, tensor_core_costs
from stages.lib.nets.layer_table import layer_table
from stages.lib.sparse.matrices import as_matrix
from stages.lib.sparse.packed import blocks_of
from stages.lib.sparse.storage import hybrid_counts, index_bits

FLOAT_BITS = 32
SCALE_BITS = 32  # one float32 scale an output channel
FJ_PER_UJ = 1e9


@dataclass(frozen=True, kw_only=True)
class SparsePattern:
    """n of m weights in surviving blocks of `block` x `block`."""

    n: int
    m: int
    block: int


def network_costs(
    model: nn.Module,
    image: Tensor,
    *,
    pattern: SparsePattern | None,
    weight_bits: int,
    activation_bits: int,
    array: SystolicConfig,
) -> dict[str, float]:
    """Costs of one image (1, channels, height, width).

    pattern           that the network was pruned with; layers that do not follow it count as dense. None: all are dense
    weight_bits, ...  of the formats; 32 where it is not quantised
    """
    layers = with_sparsity(layer_table(model, image), dict(model.named_parameters()), pattern)
    array_bits = {"weight_bits": min(weight_bits, 8), "activation_bits": min(activation_bits, 8)}
    on_array = on_systolic_array(layers, array, **array_bits)
    cores = tensor_core_costs(layers, "CRISP_STC" if pattern else "TC", energies=STRUCTURED_ENERGIES)
    quantised = weight_bits < FLOAT_BITS
    scales = SCALE_BITS * int((layers["groups"] * layers["n"]).sum()) if quantised else 0
    return {
        "weights": int(layers["weights"].sum()),
        "kept_weights": int(layers["nonzeros"].sum()),
        "stored_bits": int((layers["stored_weights"] * weight_bits + layers["index_bits"]).sum()) + scales,
        "macs": int((layers["m"] * layers["weights"]).sum()),
        "kept_macs": int((layers["m"] * layers["nonzeros"]).sum()),
        "systolic_cycles": int(on_array["cycles"].sum()),
        "systolic_energy_uj": float(on_array["energy_fj"].sum()) / FJ_PER_UJ,
        "tensor_core_cycles": int(cores["cycles"].sum()),
        "tensor_core_energy_uj": float(cores["energy_fj"].sum()) / FJ_PER_UJ,
    }


def on_systolic_array(
    layers: pd.DataFrame, config: SystolicConfig, *, weight_bits: int, activation_bits: int
) -> pd.DataFrame:
    array, energy = array_of(config)
    array = replace(
        array, weight_bits=weight_bits, activation_bits=activation_bits, output_bits=activation_bits
    )
    return systolic_costs(
        layers,
        array,
        energy,
        dataflow="weight_stationary",
        levels=[DvfsLevel(voltage_v=energy.nominal_v, frequency_ghz=config.frequency_ghz)],
        kept=layers["kept"].to_numpy(),
        of=layers["of"].to_numpy(),
    )


def with_sparsity(
    layers: pd.DataFrame, parameters: dict[str, nn.Parameter], pattern: SparsePattern | None
) -> pd.DataFrame:
    """The layer table with what is left of each layer: weights, nonzeros, stored_weights, index_bits, and the columns
    kept, of, block, kept_blocks that the cost models read."""
    rows = [_sparsity(parameters[name].detach(), pattern) for name in layers["weight_name"]]
    return pd.concat([layers, pd.DataFrame(rows, index=layers.index)], axis=1)


def _sparsity(weight: Tensor, pattern: SparsePattern | None) -> dict[str, float]:
    dense = {
        "weights": weight.numel(),
        "nonzeros": int(weight.count_nonzero()),
        "stored_weights": weight.numel(),
        "index_bits": 0,
        "kept": 1,
        "of": 1,
        "block": 64,
        "kept_blocks": 1.0,
    }
    if pattern is None:
        return dense
    mask = (as_matrix(weight, pattern.m) != 0).numpy()
    groups = mask.reshape(len(mask), -1, pattern.m).sum(-1)
    if groups.max() > pattern.n:
        return dense
    used = blocks_of(mask, pattern.block).any(axis=(2, 3))
    most = int(used.sum(1).max())
    counts = hybrid_counts(*mask.shape, n=pattern.n, m=pattern.m, block=pattern.block, kept=most)
    # what fills up the last block of a small layer is not stored
    stored = len(mask) * min(most * pattern.block, mask.shape[1]) * pattern.n // pattern.m
    return dense | {
        "stored_weights": stored,
        "index_bits": index_bits("hybrid", replace(counts, nonzeros=stored), m=pattern.m),
        "kept": pattern.n,
        "of": pattern.m,
        "block": pattern.block,
        "kept_blocks": float(np.mean(used)),
    }


def pattern_of(recipe: Mapping[str, Any]) -> SparsePattern | None:
    """The pattern that a network was pruned with, by what `prune_for_classes` wrote into its model.json."""
    pattern = recipe.get("pattern")
    return SparsePattern(**pattern) if pattern else None


def one_image(channels: int, side_px: int) -> Tensor:
    return torch.zeros(1, channels, side_px, side_px)
