"""Which experts lie on the GPU before a text begins, and the best that any choice could do afterwards."""

import itertools
import math

import numpy as np
from numba import njit

from stages.lib.core.errors import InputError

Array = np.ndarray
SWAP_SHARE = 0.5  # of a layer's experts, at most, change places in DAOP (SwapNum)
SWAP_THRESHOLD = 1.05  # an expert outside must be used so much more than one inside (SwapInOut)


def slots_of(ratio: float, layers: int, experts: int) -> int:
    """Experts that fit; ratio is the share of all experts (expert cache ratio)."""
    return round(ratio * layers * experts)


def place(kind: str, counts: Array, slots: int) -> Array:
    """(layers, experts) bool, `slots` of them True; counts (layers, experts) of calibration.

    per_layer             the most used of each layer, as many in each; what is left goes to the most used of the others
                          (set_expert_loc of DAOP's code)
    overall               the most used of all (Fiddler)
    first_layers_on_cpu   whole layers, the first on the CPU (llama.cpp --n-cpu-moe)
    all                   every one, whatever fits
    """
    layers, experts = counts.shape
    if not 0 <= slots <= layers * experts:
        raise InputError(f"{slots} experts cannot lie on the GPU: the model has {layers * experts}")
    if kind == "all":
        return np.ones(counts.shape, bool)
    if kind == "first_layers_on_cpu":
        first = math.ceil((layers * experts - slots) / experts)
        return np.repeat(np.arange(layers)[:, None] >= first, experts, axis=1)
    if kind == "overall":
        return most_used(counts, slots)
    if kind != "per_layer":
        raise InputError(
            f"placement {kind!r} is unknown: choose per_layer, overall, first_layers_on_cpu or all"
        )
    each = slots // layers
    order = np.argsort(-counts, axis=1, kind="stable")
    found = np.zeros(counts.shape, bool)
    np.put_along_axis(found, order[:, :each], True, axis=1)
    return found | most_used(np.where(found, -1, counts), slots - each * layers)


def most_used(counts: Array, n: int) -> Array:
    """The shape of counts, bool: its n largest, of equal ones the first."""
    found = np.zeros(counts.size, bool)
    found[np.argsort(-counts.ravel(), kind="stable")[:n]] = True
    return found.reshape(counts.shape)


def swapped(resident: Array, counts: Array) -> Array:
    """(experts,) bool after DAOP's swap in one layer: a second, plain form of `planner.swap`, for hit rates alone."""
    order = np.argsort(-counts, kind="stable")
    outside = [e for e in order if not resident[e]]
    inside = [e for e in order[::-1] if resident[e]]
    found = resident.copy()
    for hot, cold in list(zip(outside, inside, strict=False))[: int(SWAP_SHARE * len(counts))]:
        if counts[hot] > SWAP_THRESHOLD * counts[cold]:
            found[hot], found[cold] = True, False
    return found


def subsets(experts: int, slots: int) -> Array:
    """(subsets, experts) bool: every way to place `slots` experts of one layer. Raises InputError above 20,000."""
    if math.comb(experts, slots) > 20_000:
        raise InputError(
            f"{slots} of {experts} experts can be placed in {math.comb(experts, slots):,} ways: too many to try them all"
        )
    found = np.zeros((math.comb(experts, slots), experts), bool)
    for row, chosen in enumerate(itertools.combinations(range(experts), slots)):
        found[row, list(chosen)] = True
    return found


def misses_of(chosen: Array, placements: Array) -> Array:
    """(tokens, placements) how many of the chosen experts are not on the GPU; chosen (tokens, top_k) of one layer."""
    return (~placements)[:, chosen].sum(-1).T


def best_static(chosen: Array, placements: Array, layer_ms: Array) -> tuple[int, float]:
    """The placement of one layer that serves a text's tokens in the least time, and that time in ms (offline optimum).

    layer_ms  (top_k + 1,) by the number of chosen experts that are not on the GPU
    """
    times = layer_ms[misses_of(chosen, placements)].sum(0)
    best = int(times.argmin())
    return best, float(times[best])


@njit(cache=True)
def best_dynamic_ms(
    misses: Array, loads: Array, layer_ms: Array, load_ms: float, start: int
) -> tuple[float, int]:
    """Least time in ms of one layer over a text where experts may be exchanged before each token, and its exchanges.

    The exact optimum by dynamic programming over (token, placement): what Belady's rule is for caches whose misses must
    be loaded, where here the CPU may serve them.
    misses    (tokens, placements) as `misses_of`
    loads     (placements, placements) experts to bring, from the first to the second
    start     the placement before the first token
    """
    tokens, n = misses.shape
    cost, exchanges = np.full(n, np.inf), np.zeros(n, np.int64)
    cost[start] = 0.0
    for token in range(tokens):
        after, moved = np.full(n, np.inf), np.zeros(n, np.int64)
        for to in range(n):
            for source in range(n):
                total = cost[source] + loads[source, to] * load_ms
                if total < after[to]:
                    after[to], moved[to] = total, exchanges[source] + loads[source, to]
            after[to] += layer_ms[misses[token, to]]
        cost, exchanges = after, moved
    best = cost.argmin()
    return cost[best], exchanges[best]


def loads_between(placements: Array) -> Array:
    """(placements, placements) experts that the second has and the first has not."""
    return (~placements[:, None] & placements[None]).sum(-1)
