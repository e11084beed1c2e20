"""From routing to operations: what each policy does in each layer, for the prompt and for each token after it.

One layer at a time, so that the routing may come from a recorded trace or from a model that runs at that moment: the
decisions are the same code. DAOP's parts are those of its authors' code (Zhang 2024, section 3).
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from stages.offload.machines import Costs
from stages.offload.operations import (
    ATTEND,
    CPU,
    CPU_EXPERT,
    EVICT,
    GPU,
    GPU_EXPERT,
    LOAD,
    PREFILL,
    TO_CPU,
    TO_GPU,
    Operations,
    duration_ms,
    emit,
    inner_jit,
    wait_for,
)
from stages.offload.placement import SWAP_SHARE, SWAP_THRESHOLD
from stages.offload.policies import (
    LEAST_RECENT,
    LOAD_AND_KEEP,
    NEIGHBOUR,
    NEXT_GATE,
    NOTHING,
    ON_CPU,
    WHATEVER_ENDS_FIRST,
    WHOLE_LAYERS,
    Rules,
)

Array = np.ndarray
SCORE_DECAY = 0.5  # a of HybriMoE's S = a * p + (1 - a) * S, which its paper leaves open


class State(NamedTuple):
    """What changes from layer to layer and from token to token.

    resident         (layers, experts) bool: on the GPU
    loading          (layers, experts) row of the load that brings or brought it, or -1
    last_use         (layers, experts) clock of the last use
    score            (layers, experts) HybriMoE's running probability, or this text's activations (MoE-Infinity)
    neighbour        (layers, experts) activations of the most alike text before
    before           rows that the next layer waits for, the first before_n[0] of them
    attended         rows of this layer's attention and of the one before
    predicted        (top_k,) experts foreseen for the next layer, predicted_share (top_k,) their shares
    early            (experts,) row of what was computed ahead for the next layer, or -1
    clock            of uses
    missing          (tokens, layers) experts that the true gate chose and that were not on the GPU
    """

    resident: Array
    loading: Array
    last_use: Array
    score: Array
    neighbour: Array
    before: Array
    before_n: Array
    attended: Array
    predicted: Array
    predicted_share: Array
    early: Array
    clock: Array
    missing: Array


def new_state(resident: Array, *, tokens: int, top_k: int) -> State:
    """At the start of a text; resident (layers, experts) bool is copied."""
    layers, experts = resident.shape
    return State(
        resident=resident.copy(),
        loading=np.full((layers, experts), -1, np.int64),
        last_use=np.zeros((layers, experts), np.int64),
        score=np.zeros((layers, experts)),
        neighbour=np.zeros((layers, experts)),
        before=np.zeros(experts + top_k, np.int64),
        before_n=np.zeros(1, np.int64),
        attended=np.full(2, -1, np.int64),
        predicted=np.full(top_k, -1, np.int64),
        predicted_share=np.zeros(top_k, np.float32),
        early=np.full(experts, -1, np.int64),
        clock=np.zeros(1, np.int64),
        missing=np.zeros((tokens, layers), np.int16),
    )


@njit(cache=True)
def plan_text(
    ops: Operations, state: State, rules: Rules, costs: Costs, counts: Array, chosen: Array,
    shares: Array, logits: Array, ahead: Array, past: Array,
) -> None:  # fmt: skip
    """A whole text: the prompt's counts (layers, experts), then what gates say of each token, (tokens, layers, ...)."""
    tokens, layers = chosen.shape[:2]
    for layer in range(layers):
        plan_prompt_layer(ops, state, rules, costs, layer, counts[layer])
    for token in range(tokens):
        if rules.prefetch == NEIGHBOUR:
            find_neighbour(state, past)
        for layer in range(layers):
            plan_token_layer(
                ops, state, rules, costs, layer, token, chosen[token, layer], shares[token, layer],
                logits[token, layer], ahead[token, layer],
            )  # fmt: skip


@njit(cache=True)
def plan_prompt_layer(
    ops: Operations, state: State, rules: Rules, costs: Costs, layer: int, counts: Array
) -> None:
    """The prompt in one layer; counts (experts,) of its tokens that each expert gets."""
    attend(ops, state, layer, counts.sum(), PREFILL)
    barrier = state.attended[0]
    if rules.swap:
        last = swap(ops, state, rules, layer, counts)
        barrier = last if rules.blocking_swaps else barrier
    if rules.miss == WHOLE_LAYERS:
        stream_layer(ops, state, layer, PREFILL)
    for on_gpu in (False, True):  # the CPU's first, so that it works beside the GPU
        for e in range(len(counts)):
            if counts[e] and on_gpu == runs_on_gpu(state, rules, costs, layer, e, counts[e]):
                load = state.loading[layer, e]
                if on_gpu and not state.resident[layer, e] and rules.miss != WHOLE_LAYERS:
                    load = emit(ops, LOAD, TO_GPU, layer, e, counts[e], PREFILL)
                    wait_for(ops, barrier)
                row = emit_expert(ops, on_gpu, layer, e, counts[e], PREFILL)
                wait_for(ops, barrier)
                if on_gpu:
                    wait_for(ops, load)
                keep(state, row)
                touch(state, rules, layer, e, counts[e] / counts.sum())


@njit(cache=True)
def plan_token_layer(
    ops: Operations, state: State, rules: Rules, costs: Costs, layer: int, token: int,
    chosen: Array, shares: Array, logits: Array, ahead: Array,
) -> None:  # fmt: skip
    """One token in one layer.

    chosen, shares  (top_k,) what this layer's gate says, the best first
    logits          (experts,) of this layer's gate
    ahead           (experts,) of the next layer's gate, asked with this layer's input
    """
    attend(ops, state, layer, 1, token)
    for e in chosen:
        state.missing[token, layer] += not state.resident[layer, e]
    foreseen = layer >= rules.first_predicted
    early = state.early.copy()
    if not foreseen:
        early[:] = -1
    elif not rules.verify:
        chosen, shares = state.predicted.copy(), state.predicted_share.copy()
    for i in range(len(chosen)):
        if early[chosen[i]] >= 0:
            ops.share[early[chosen[i]]] = shares[i]
            keep(state, early[chosen[i]])
    foresees = layer + 1 < len(state.resident) and layer + 1 >= rules.first_predicted
    if rules.miss == ON_CPU or rules.miss == WHATEVER_ENDS_FIRST:
        if rules.in_rank_order:
            run_in_rank_order(ops, state, rules, layer, token, chosen, shares)
        else:
            run_outside(ops, state, rules, costs, layer, token, chosen, shares, early)
            if foresees:
                look_ahead(ops, state, rules, layer, token, ahead)
            run_inside(ops, state, rules, layer, token, chosen, shares)
        if rules.miss == WHATEVER_ENDS_FIRST:
            update_scores(state, layer, logits, 2 * len(chosen))
    else:
        run_loading(ops, state, rules, layer, token, chosen, shares)
        if layer + 1 < len(state.resident) and rules.prefetch != NOTHING:
            prefetch(ops, state, rules, layer, token, ahead, len(chosen))


@inner_jit
def attend(ops: Operations, state: State, layer: int, tokens: int, token: int) -> None:
    """Attention and gate, once the layer before has added up its experts."""
    state.attended[1] = state.attended[0]
    state.attended[0] = emit(ops, ATTEND, GPU, layer, -1, tokens, token)
    for i in range(state.before_n[0]):
        wait_for(ops, state.before[i])
    state.before_n[0] = 0


@inner_jit
def highest_first(values: Array) -> Array:
    """Indices by falling value, equal ones in their order; values (experts,) float64, a few."""
    order = np.empty(len(values), np.int64)
    for i in range(len(values)):
        at = i
        while at > 0 and values[order[at - 1]] < values[i]:
            order[at] = order[at - 1]
            at -= 1
        order[at] = i
    return order


@inner_jit
def emit_expert(ops: Operations, on_gpu: bool, layer: int, expert: int, tokens: int, token: int) -> int:
    if on_gpu:
        return emit(ops, GPU_EXPERT, GPU, layer, expert, tokens, token)
    return emit(ops, CPU_EXPERT, CPU, layer, expert, tokens, token)


@inner_jit
def keep(state: State, row: int) -> None:
    """The next layer waits for this row."""
    state.before[state.before_n[0]] = row
    state.before_n[0] += 1


@inner_jit
def touch(state: State, rules: Rules, layer: int, expert: int, share: float) -> None:
    state.clock[0] += 1
    state.last_use[layer, expert] = state.clock[0]
    if rules.miss != WHATEVER_ENDS_FIRST:
        state.score[layer, expert] += share


@inner_jit
def runs_on_gpu(state: State, rules: Rules, costs: Costs, layer: int, expert: int, tokens: int) -> bool:
    """Whether an expert of the prompt does: it is there, or brought there sooner than the CPU would be done."""
    if state.resident[layer, expert] or rules.load_prompt:
        return True
    return duration_ms(costs, CPU_EXPERT, tokens) > costs.load_ms


@inner_jit
def swap(ops: Operations, state: State, rules: Rules, layer: int, counts: Array) -> int:
    """DAOP's algorithm 1: the most used outside change places with the least used inside, rank by rank.

    Returns the last row of the moves, or that of the attention.
    """
    experts = len(counts)
    order = highest_first(counts.astype(np.float64))
    inside, outside = np.empty(experts, np.int64), np.empty(experts, np.int64)
    n_inside = n_outside = 0
    for i in range(experts):
        hot, cold = order[i], order[experts - 1 - i]
        if not state.resident[layer, hot]:
            outside[n_outside] = hot
            n_outside += 1
        if state.resident[layer, cold]:
            inside[n_inside] = cold
            n_inside += 1
    last = state.attended[0]
    for i in range(min(n_inside, n_outside, int(SWAP_SHARE * experts))):
        cold, hot = inside[i], outside[i]
        if counts[hot] > SWAP_THRESHOLD * counts[cold]:
            if rules.copy_back:
                row = emit(ops, EVICT, TO_CPU, layer, cold, 0, PREFILL)
                wait_for(ops, last)
                last = row
            row = emit(ops, LOAD, TO_GPU, layer, hot, 0, PREFILL)
            wait_for(ops, last if rules.blocking_swaps or rules.copy_back else state.attended[0])
            ops.victim[row] = cold
            last = row
            state.resident[layer, cold], state.resident[layer, hot] = False, True
            state.loading[layer, cold], state.loading[layer, hot] = -1, row
    return last


@inner_jit
def run_in_rank_order(
    ops: Operations, state: State, rules: Rules, layer: int, token: int, chosen: Array, shares: Array
) -> None:
    """Fiddler as coded: one expert after the other is started, and one on the CPU is waited for before the next."""
    last = state.attended[0]
    for i in range(len(chosen)):
        on_gpu = state.resident[layer, chosen[i]]
        row = emit_expert(ops, on_gpu, layer, chosen[i], 1, token)
        ops.share[row] = shares[i]
        wait_for(ops, last)
        if on_gpu:
            wait_for(ops, state.loading[layer, chosen[i]])
        else:
            last = row
        keep(state, row)
        touch(state, rules, layer, chosen[i], 1.0)


@inner_jit
def run_outside(
    ops: Operations, state: State, rules: Rules, costs: Costs, layer: int, token: int,
    chosen: Array, shares: Array, early: Array,
) -> None:  # fmt: skip
    """Chosen experts that are not on the GPU: on the CPU, or (HybriMoE) loaded where that ends sooner.

    A loaded one is on the GPU from here on, so that `run_inside` runs it.
    """
    gpu_ms = link_ms = cpu_ms = 0.0
    for e in chosen:
        gpu_ms += costs.gpu_expert_ms * state.resident[layer, e]
    for i in range(len(chosen)):
        e = chosen[i]
        if state.resident[layer, e] or early[e] >= 0:
            continue
        by_cpu = cpu_ms + duration_ms(costs, CPU_EXPERT, 1)
        if rules.miss == WHATEVER_ENDS_FIRST:
            by_link = max(link_ms + costs.load_ms, gpu_ms) + costs.gpu_expert_ms
            victim = victim_of(state, rules, layer, chosen)
            if by_link < by_cpu and victim >= 0:
                load_into(ops, state, layer, token, e, victim)
                link_ms, gpu_ms = link_ms + costs.load_ms, by_link
                continue
        cpu_ms = by_cpu
        row = emit(ops, CPU_EXPERT, CPU, layer, e, 1, token)
        ops.share[row] = shares[i]
        wait_for(ops, state.attended[0])
        keep(state, row)
        touch(state, rules, layer, e, 1.0)


@inner_jit
def run_inside(
    ops: Operations, state: State, rules: Rules, layer: int, token: int, chosen: Array, shares: Array
) -> None:
    """Chosen experts on the GPU, beside what the CPU does."""
    for i in range(len(chosen)):
        if state.resident[layer, chosen[i]]:
            run_on_gpu(ops, state, rules, layer, token, chosen[i], shares[i], -1)


@inner_jit
def run_on_gpu(
    ops: Operations, state: State, rules: Rules, layer: int, token: int, expert: int, share: float, after: int
) -> int:  # fmt: skip
    """An expert that is there or on its way, once `after` has ended too; returns its row."""
    row = emit(ops, GPU_EXPERT, GPU, layer, expert, 1, token)
    ops.share[row] = share
    wait_for(ops, state.attended[0])
    wait_for(ops, after)
    wait_for(ops, state.loading[layer, expert])
    keep(state, row)
    touch(state, rules, layer, expert, 1.0)
    return row


@inner_jit
def look_ahead(ops: Operations, state: State, rules: Rules, layer: int, token: int, ahead: Array) -> None:
    """DAOP's prediction of the next layer, degradation, and what the CPU computes ahead."""
    below, top_k = layer + 1, len(state.predicted)
    order = highest_first(ahead.astype(np.float64))
    outside = 0
    for i in range(top_k):
        state.predicted[i] = order[i]
        outside += not state.resident[below, order[i]]
    if rules.degrade and outside == top_k:
        for e in order[top_k:]:
            if state.resident[below, e]:
                state.predicted[top_k - 1] = e
                break
    state.predicted_share[:] = np.exp(ahead[state.predicted] - ahead[order[0]])
    state.predicted_share[:] /= state.predicted_share.sum()
    state.early[:] = -1
    for e in state.predicted:
        if rules.stale and not state.resident[below, e]:
            state.early[e] = emit(ops, CPU_EXPERT, CPU, below, e, 1, token)
            ops.stale[state.early[e]] = 1
            wait_for(ops, state.attended[0])


@inner_jit
def run_loading(
    ops: Operations, state: State, rules: Rules, layer: int, token: int, chosen: Array, shares: Array
) -> None:
    """Chosen experts all on the GPU, those outside loaded first; residents go before them, unless in rank order."""
    if rules.miss == WHOLE_LAYERS:
        stream_layer(ops, state, layer, token)
    here = np.empty(len(chosen), np.bool_)
    for i in range(len(chosen)):
        here[i] = state.resident[layer, chosen[i]] or rules.miss == WHOLE_LAYERS
    last = -1
    for inside in (True, False):
        for i in range(len(chosen)):
            e = chosen[i]
            if not (here[i] == inside or rules.in_rank_order):
                continue
            if not here[i]:
                victim = victim_of(state, rules, layer, chosen) if rules.miss == LOAD_AND_KEEP else -1
                if victim >= 0:
                    load_into(ops, state, layer, token, e, victim)
                else:
                    state.loading[layer, e] = emit(ops, LOAD, TO_GPU, layer, e, 1, token)
                    wait_for(ops, state.attended[0])
                    wait_for(ops, last)
            row = run_on_gpu(ops, state, rules, layer, token, e, shares[i], last)
            last = row if rules.in_rank_order else -1
        if rules.in_rank_order:
            return


@inner_jit
def load_into(ops: Operations, state: State, layer: int, token: int, expert: int, victim: int) -> None:
    """Load over the victim, once this token's attention has ended: whatever used the victim has ended before."""
    row = emit(ops, LOAD, TO_GPU, layer, expert, 1, token)
    ops.victim[row] = victim
    wait_for(ops, state.attended[0])
    state.resident[layer, victim], state.resident[layer, expert] = False, True
    state.loading[layer, victim], state.loading[layer, expert] = -1, row


@inner_jit
def victim_of(state: State, rules: Rules, layer: int, needed: Array) -> int:
    """The expert that makes room: not needed now, and used longest ago or of the lowest score; -1: none."""
    found, least = -1, np.inf
    for e in range(state.resident.shape[1]):
        wanted = False
        for other in needed:
            wanted |= other == e
        if state.resident[layer, e] and not wanted:
            value = float(state.last_use[layer, e]) if rules.victim == LEAST_RECENT else state.score[layer, e]
            if value < least:
                found, least = e, value
    return found


@inner_jit
def prefetch(
    ops: Operations, state: State, rules: Rules, layer: int, token: int, ahead: Array, top_k: int
) -> None:
    """Load the next layer's likely experts before they are known to be needed; a wrong guess holds the link up."""
    below = layer + 1
    likely = ahead.astype(np.float64) if rules.prefetch == NEXT_GATE else state.neighbour[below]
    order = highest_first(likely)[:top_k]
    for e in order:
        if not state.resident[below, e]:
            victim = victim_of(state, rules, below, order)
            if victim >= 0:
                load_into(ops, state, below, token, e, victim)


@inner_jit
def stream_layer(ops: Operations, state: State, layer: int, token: int) -> None:
    """Load all of a layer that is not on the GPU, beside the layer before: the room of two layers is used in turns."""
    for e in range(state.resident.shape[1]):
        if not state.resident[layer, e]:
            state.loading[layer, e] = emit(ops, LOAD, TO_GPU, layer, e, 1, token)
            # when that attention has ended, so has the layer before it, whose room this is
            wait_for(ops, state.attended[1])


@inner_jit
def update_scores(state: State, layer: int, logits: Array, kept: int) -> None:
    """HybriMoE's score: S = a * p + (1 - a) * S, p the probability where it is among the `kept` largest, else 0."""
    order = highest_first(logits.astype(np.float64))
    likely = np.exp(logits - logits[order[0]])
    state.score[layer] *= 1 - SCORE_DECAY
    for e in order[:kept]:
        state.score[layer, e] += SCORE_DECAY * likely[e] / likely.sum()


@njit(cache=True)
def find_neighbour(state: State, past: Array) -> None:
    """MoE-Infinity: the earlier text whose activations are most alike, by the mean of the layers' cosines.

    past  (texts, layers, experts)
    """
    best, found = -2.0, 0
    for text in range(len(past)):
        total = 0.0
        for layer in range(past.shape[1]):
            own, other = state.score[layer], past[text, layer]
            norm = np.sqrt((own * own).sum() * (other * other).sum())
            if norm > 0:
                total += (own * other).sum() / norm
        if total > best:
            best, found = total, text
    state.neighbour[:] = past[found]
