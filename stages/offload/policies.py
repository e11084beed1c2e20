"""Ways to serve a mixture of experts of which some lie in CPU memory: DAOP, its parts, and what it is compared with.

A policy is a row of choices. `planner` turns them into operations; nothing else differs between policies.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

# where an expert that is not on the GPU is run
ON_CPU, LOAD_AND_FORGET, LOAD_AND_KEEP, WHATEVER_ENDS_FIRST, WHOLE_LAYERS = range(5)
# what is loaded before it is known to be needed
NOTHING, NEXT_GATE, NEIGHBOUR = range(3)
# which of the experts on the GPU makes room
LEAST_RECENT, LOWEST_SCORE = range(2)


class Rules(NamedTuple):
    """A policy in the form that compiled code takes."""

    miss: int
    in_rank_order: bool
    prefetch: int
    victim: int
    load_prompt: bool
    swap: bool
    copy_back: bool
    blocking_swaps: bool
    first_predicted: int
    stale: bool
    degrade: bool
    verify: bool


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How one engine places, runs and loads experts.

    title          what it is called where its figures are shown
    placement      start: per_layer (as many in each layer, the most used), overall (the most used of all), all,
                   or first_layers_on_cpu
    miss           where an expert that is not on the GPU is run, one of the constants above
    in_rank_order  a token's experts run one after the other, as coded; else those on the GPU go beside the others
    prefetch       what is loaded ahead, one of the constants above
    victim         of loads that are kept
    load_prompt    experts of the prompt are always loaded; else where that is faster than the CPU
    swap           DAOP's re-placement after the prompt's routing (algorithm 1)
    copy_back      a swapped expert's weights are written back to CPU memory, as coded; they never change, so that a
                   copy kept there makes it needless
    blocking_swaps nothing runs beside a swap, as coded
    predict        from which layer of 32 on the next layer's experts are taken from this layer's gate; -1: never
    stale          a predicted expert on the CPU runs one layer early, on this layer's input
    degrade        where all predicted ones are on the CPU, the least is replaced by the best on the GPU
    verify         the true gate is asked: a prediction is only used where it was right
    pinned         copies come from pinned memory
    exact          gives the plain model's logits
    """

    title: str
    placement: str = "per_layer"
    miss: int = ON_CPU
    in_rank_order: bool = False
    prefetch: int = NOTHING
    victim: int = LEAST_RECENT
    load_prompt: bool = False
    swap: bool = False
    copy_back: bool = False
    blocking_swaps: bool = False
    predict: int = -1
    stale: bool = False
    degrade: bool = False
    verify: bool = False
    pinned: bool = True

    @property
    def exact(self) -> bool:
        return self.predict < 0

    def rules(self, layers: int) -> Rules:
        """For a model of `layers` layers: what is predicted begins at the same share of its depth."""
        return Rules(
            miss=self.miss,
            in_rank_order=self.in_rank_order,
            prefetch=self.prefetch,
            victim=self.victim,
            load_prompt=self.load_prompt,
            swap=self.swap,
            copy_back=self.copy_back,
            blocking_swaps=self.blocking_swaps,
            first_predicted=layers if self.exact else max(1, round(self.predict * layers / 32)),
            stale=self.stale,
            degrade=self.degrade,
            verify=self.verify,
        )


_DAOP = Policy(
    title="DAOP as coded (pageable, blocking swaps)", swap=True, copy_back=True, blocking_swaps=True,
    predict=5, stale=True, degrade=True, pinned=False,
)  # fmt: skip
_FAIR = replace(_DAOP, title="DAOP", copy_back=False, blocking_swaps=False, pinned=True)

POLICIES = {
    "all-on-gpu": Policy(title="all experts on the GPU", placement="all"),
    "on-demand-coded": Policy(
        title="MoE-OnDemand as coded (pageable)", miss=LOAD_AND_FORGET, in_rank_order=True, load_prompt=True, pinned=False
    ),
    "on-demand": Policy(title="MoE-OnDemand, pinned, overlapped", miss=LOAD_AND_FORGET, load_prompt=True),
    "layer-streaming": Policy(title="whole layers streamed (DeepSpeed-like)", miss=WHOLE_LAYERS, load_prompt=True),
    "lru-pageable": Policy(title="LRU cache, pageable", miss=LOAD_AND_KEEP, load_prompt=True, pinned=False),
    "lru": Policy(title="LRU cache (Mixtral-Offloading)", miss=LOAD_AND_KEEP, load_prompt=True),
    "lru-look-ahead": Policy(
        title="LRU cache, next gate's experts prefetched", miss=LOAD_AND_KEEP, prefetch=NEXT_GATE, load_prompt=True
    ),
    "moe-infinity": Policy(
        title="MoE-Infinity-like: neighbour's experts prefetched", miss=LOAD_AND_KEEP, prefetch=NEIGHBOUR,
        victim=LOWEST_SCORE, load_prompt=True,
    ),
    "fiddler-coded": Policy(title="Fiddler as coded (in rank order)", placement="overall", in_rank_order=True),
    "fiddler": Policy(title="Fiddler, overlapped", placement="overall"),
    "static": Policy(title="static per layer, overlapped"),
    "hybrimoe": Policy(
        title="HybriMoE-like: CPU or link, whichever ends first", miss=WHATEVER_ENDS_FIRST, victim=LOWEST_SCORE
    ),
    "llama-cpp": Policy(title="llama.cpp --n-cpu-moe", placement="first_layers_on_cpu"),
    "daop-coded": _DAOP,
    "daop": _FAIR,
    "daop-swap": replace(_FAIR, title="DAOP: placement only (exact)", predict=-1, stale=False, degrade=False),
    "daop-precalculate": replace(_FAIR, title="DAOP: pre-calculation only", swap=False, degrade=False),
    "daop-no-degradation": replace(_FAIR, title="DAOP without degradation", degrade=False),
    "daop-static": replace(_FAIR, title="DAOP without swaps", swap=False),
    "daop-fresh-input": replace(_FAIR, title="DAOP, fresh input, no degradation", stale=False, degrade=False),
    "daop-verified": replace(_FAIR, title="DAOP, predictions verified", degrade=False, verify=True),
}  # fmt: skip
