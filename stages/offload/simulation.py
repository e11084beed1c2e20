"""Texts served by a policy on a machine that is modelled: plan, timeline, and what is read off them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from stages.offload.machines import Costs, Machine, costs_of
from stages.offload.operations import (
    CPU_EXPERT,
    LOAD,
    PREFILL,
    Operations,
    empty_operations,
    timeline,
)
from stages.offload.placement import place, slots_of
from stages.offload.planner import State, new_state, plan_text
from stages.offload.policies import Policy
from stages.offload.traces import RoutingTrace

Array = np.ndarray


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What is known before the first text: other texts' choices while decoding.

    counts  (layers, experts) of all of them
    texts   (texts, layers, experts) of each, for who looks for the most alike
    """

    counts: Array
    texts: Array

    @classmethod
    def of(cls, trace: RoutingTrace) -> "Calibration":
        texts = trace.decode_counts()
        return cls(counts=texts.sum(0), texts=texts.astype(np.float64))


@dataclass(frozen=True, kw_only=True)
class Served:
    """One text; times in ms.

    prompt_ms   until the first token, swaps and loads for the prompt included
    decode_ms   of all tokens after it
    busy_ms     (4,) of each resource over the whole text; prompt_busy_ms by the prompt
    missing     (tokens, layers) experts that the gate chose and that were not on the GPU
    loads, cpu_experts   while decoding; prompt_loads before
    """

    text: int
    prompt_ms: float
    decode_ms: float
    busy_ms: Array
    prompt_busy_ms: Array
    missing: Array
    loads: int
    cpu_experts: int
    prompt_loads: int
    operations: int


def serve(
    trace: RoutingTrace,
    policy: Policy,
    machine: Machine,
    *,
    ratio: float,
    calibration: Calibration,
    prompt_tokens: int = 0,
    reset: bool = True,
) -> Iterator[Served]:
    """Serve texts one after the other.

    ratio          share of all experts that fit on the GPU
    prompt_tokens  of each, as if all were routed like the recorded ones; 0: as many as were recorded
    reset          each text finds the calibrated placement; else what the one before left
    """
    costs = costs_of(machine, pinned=policy.pinned)
    placed = place(policy.placement, calibration.counts, slots_of(ratio, trace.layers, trace.experts))
    resident = placed
    for text in range(len(trace.logits)):
        counts = scaled_counts(trace.prompt[text], prompt_tokens / trace.prefill if prompt_tokens else 1)
        ops, state = plan(
            trace, text, policy, costs, placed if reset else resident, past=calibration.texts, counts=counts
        )
        resident = state.resident
        start, end, busy = timeline(ops, costs)
        n = ops.size[0]
        decoding = ops.token[:n] != PREFILL
        prompt_ms = end[~decoding].max(initial=0)
        yield Served(
            text=text,
            prompt_ms=float(prompt_ms),
            decode_ms=float(end.max() - prompt_ms),
            busy_ms=busy,
            prompt_busy_ms=np.bincount(ops.resource[:n][~decoding], (end - start)[~decoding], minlength=4),
            missing=state.missing,
            loads=int((ops.kind[:n][decoding] == LOAD).sum()),
            cpu_experts=int((ops.kind[:n][decoding] == CPU_EXPERT).sum()),
            prompt_loads=int((ops.kind[:n][~decoding] == LOAD).sum()),
            operations=int(n),
        )


def plan(
    trace: RoutingTrace, text: int, policy: Policy, costs: Costs, resident: Array, *, past: Array,
    counts: Array | None = None, tokens: int = 0,
) -> tuple[Operations, State]:  # fmt: skip
    """What the policy does for one recorded text, and the state it ends in.

    resident  (layers, experts) bool, on the GPU before it
    past      (texts, layers, experts) activations of other texts
    counts    (layers, experts) of the prompt; by default as recorded
    tokens    of the answer, from its start; 0: all
    """
    first = slice(tokens or trace.tokens)
    one = trace.of(np.array([text]))
    ops, state = room_for(trace), new_state(resident, tokens=first.stop, top_k=trace.top_k)
    plan_text(
        ops, state, policy.rules(trace.layers), costs, trace.prompt[text] if counts is None else counts,
        one.chosen()[0, first], one.shares()[0, first], one.logits[0, first], one.ahead[0, first], past,
    )  # fmt: skip
    return ops, state


def scaled_counts(counts: Array, factor: float) -> Array:
    """A longer prompt that is routed alike; (layers, experts), each expert that was used keeps a token at least."""
    return np.where(counts > 0, np.maximum(1, np.rint(counts * factor)), 0).astype(np.int64)


def room_for(trace: RoutingTrace, tokens: int = 0) -> Operations:
    """For any policy: a prompt loads, moves and runs every expert; a token may stream whole layers.

    tokens  after the prompt; 0: those of the trace
    """
    prompt = trace.layers * (1 + 4 * trace.experts)
    token = trace.layers * (1 + 4 * trace.top_k + trace.experts)
    return empty_operations(prompt + (tokens or trace.tokens) * token)
