"""What a row of the table of perplexities does to a language model: baselines, HALO and its ablations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from stages.lib.core.errors import InputError
from stages.lib.costs.weight_values import fastest_values, single_bit_values

# the language models of the paper, as the registry and the shapes name them
PAPER_MODELS = ("opt-1.3b", "opt-2.7b", "opt-6.7b", "opt-13b", "opt-30b", "llama2-7b", "llama2-13b")
POWERS = tuple(2**k for k in range(7))


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way to quantise all linear layers but the head.

    method       float, uniform (integers, symmetric), kmeans (a book for each output) or code_book (int8 codes, by tiles)
    bits         of a uniform or k-means weight
    group        inputs that share a scale of uniform weights; 0: all of an output
    activations  bits of the inputs, a scale for each token; 0: float
    smooth       share of the activations' range that goes to the weights (SmoothQuant's alpha); 0: none
    compensated  errors are made up for in the columns still to come (GPTQ)
    low, high    books of insensitive and of sensitive tiles, see value_sets
    low_share    share of all tiles that take the low book, the least sensitive first
    ranking      of tiles: fisher, random or inverse
    tile         side of a tile
    signs        a tile may turn the signs of a lopsided book (it keeps -w and is subtracted)
    exceptional  weights kept apart at 8 bits: outliers beyond 3 sigma, salient ones (0.05 % by Fisher), both or none
    """

    method: str
    bits: int = 4
    group: int = 0
    activations: int = 8
    smooth: float = 0.0
    compensated: bool = False
    low: str = "fast9"
    high: str = "fast16"
    low_share: float = 0.5
    ranking: str = "fisher"
    tile: int = 128
    signs: bool = True
    exceptional: str = "both"


_HALO = Row(method="code_book")
_INTEGER = Row(method="uniform", exceptional="none")

# group 64 divides the inputs of SmolLM2's layers; 128, as is usual, does not
ROWS: Mapping[str, Row] = {
    "float": Row(method="float", activations=0, exceptional="none"),
    "rtn-w8": replace(_INTEGER, bits=8),
    "rtn-w4": replace(_INTEGER, bits=4),
    "rtn-w4-g64": replace(_INTEGER, bits=4, group=64),
    "rtn-w3-g64": replace(_INTEGER, bits=3, group=64),
    "smoothquant-w8": replace(_INTEGER, bits=8, smooth=0.5),
    "smoothquant-w4-g64": replace(_INTEGER, bits=4, group=64, smooth=0.5),
    "gptq-w4-g64": replace(_INTEGER, bits=4, group=64, compensated=True),
    "gptq-w3-g64": replace(_INTEGER, bits=3, group=64, compensated=True),
    "kmeans-4": Row(method="kmeans", bits=4),
    "kmeans-3": Row(method="kmeans", bits=3),
    "power-of-two": replace(_HALO, low="powers16", high="powers16", low_share=0.0),
    "power-pruning": replace(_HALO, low="power16", high="power16", low_share=0.0),
    "halo-acc": replace(_HALO, low_share=0.0),
    "halo-bal": replace(_HALO, low_share=0.5),
    "halo-perf": replace(_HALO, low_share=1.0),
    "halo-bal-random": replace(_HALO, ranking="random"),
    "halo-bal-inverse": replace(_HALO, ranking="inverse"),
    "halo-bal-no-sparse": replace(_HALO, exceptional="none"),
    "halo-bal-outliers": replace(_HALO, exceptional="outliers"),
    "halo-bal-salient": replace(_HALO, exceptional="salient"),
    "halo-bal-t64": replace(_HALO, tile=64),
    "halo-bal-t32": replace(_HALO, tile=32),
    "halo-perf-popcount": replace(_HALO, low="single_bit9", low_share=1.0, signs=False),
    "halo-perf-popcount-signs": replace(_HALO, low="single_bit9", low_share=1.0),
    "halo-perf-signed": replace(_HALO, low="signed_powers9", low_share=1.0),
    "halo-acc-compensated": replace(_HALO, low_share=0.0, compensated=True),
    "halo-bal-compensated": replace(_HALO, compensated=True),
    "halo-perf-compensated": replace(_HALO, low_share=1.0, compensated=True),
    "halo-acc-compensated-t32": replace(_HALO, low_share=0.0, compensated=True, tile=32),
}


def value_sets(profile: pd.DataFrame) -> dict[str, tuple[int, ...]]:
    """Books of int8 codes by name, from the delays and energies of one multiplier.

    fast9, fast16     the fastest of this multiplier (HALO); powers16 0, +-1, ..., +-64, -128 (power of two)
    single_bit9       0, 1, 2, ..., 64, -128: what the paper's nine may have been (notes 2.4)
    signed_powers9    0 and +-64, +-32, +-16, +-8
    power16           the 16 of least energy among the faster half (after PowerPruning, Petri et al. 2023)
    """
    half = profile[profile["delay_ns"] <= profile["delay_ns"].median()]
    sets: dict[str, Sequence[int] | np.ndarray] = {
        "fast9": fastest_values(profile, 9),
        "fast16": fastest_values(profile, 16),
        "powers16": [0, *POWERS, *(-p for p in POWERS), -128],
        "single_bit9": single_bit_values(),
        "signed_powers9": [0, *(sign * p for p in POWERS[3:] for sign in (1, -1))],
        "power16": half.sort_values(["energy_fj", "weight"])["weight"].to_numpy()[:16],
    }
    return {name: tuple(sorted(int(v) for v in values)) for name, values in sets.items()}


def rows_of(names: Sequence[str]) -> dict[str, Row]:
    if unknown := [name for name in names if name not in ROWS]:
        raise InputError(f"there is no row {unknown[0]!r}; choose from {', '.join(ROWS)}")
    return {name: ROWS[name] for name in names}
