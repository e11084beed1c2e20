"""Operations of every policy on drawn routing: laws that hold whatever the policy, and closed forms of some."""

from collections import OrderedDict

import numpy as np
import pytest

from stages.lib.core.errors import InputError
from stages.offload.bounds import all_resident_ms, resource_ms, unpredicted_ms
from stages.offload.machines import MACHINES, Machine, costs_of
from stages.offload.operations import (
    CPU_EXPERT,
    GPU_EXPERT,
    LOAD,
    PREFILL,
    TO_GPU,
    Operations,
    timeline,
)
from stages.offload.placement import place, slots_of, swapped
from stages.offload.planner import new_state, plan_text
from stages.offload.policies import ON_CPU, POLICIES
from stages.offload.simulation import Calibration, room_for, scaled_counts, serve
from stages.offload.traces import RoutingTrace, top_experts

LAYERS, EXPERTS, TOKENS, TEXTS = 7, 8, 20, 3
SLOW = Machine(
    source="drawn", attend_ms=0.5, gpu_expert_ms=0.6, cpu_expert_ms=3.0, pinned_ms=4.0, pageable_ms=40.0
)


def drawn_trace(seed: int, *, skew: float = 1.0) -> RoutingTrace:
    chance = np.random.default_rng(seed)
    liked = skew * chance.normal(size=(TEXTS, 1, LAYERS, EXPERTS))
    logits = (liked + chance.normal(size=(TEXTS, TOKENS, LAYERS, EXPERTS))).astype(np.float32)
    ahead = np.zeros_like(logits)
    ahead[:, :, :-1] = logits[:, :, 1:] + 0.5 * chance.normal(size=logits[:, :, 1:].shape)
    prompt = np.array(
        [chance.multinomial(60, np.exp(x[0]) / np.exp(x[0]).sum(-1, keepdims=True)) for x in liked]
    )
    return RoutingTrace(
        prompt=prompt,
        logits=logits,
        ahead=ahead,
        domain=np.zeros(TEXTS, int),
        domains=("drawn",),
        top_k=2,
        prefill=30,
    )


def planned(
    trace: RoutingTrace, name: str, *, ratio: float, text: int = 0
) -> tuple[Operations, object, np.ndarray]:
    policy = POLICIES[name]
    calibration = Calibration.of(trace)
    resident = place(policy.placement, calibration.counts, slots_of(ratio, LAYERS, EXPERTS))
    ops, state = room_for(trace), new_state(resident, tokens=TOKENS, top_k=2)
    plan_text(
        ops, state, policy.rules(LAYERS), costs_of(SLOW, pinned=policy.pinned), trace.prompt[text], trace.chosen()[text],
        trace.shares()[text], trace.logits[text], trace.ahead[text], calibration.texts,
    )  # fmt: skip
    return ops, state, resident


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("seed", range(4))
def test_laws_of_every_policy(name, seed):
    trace = drawn_trace(seed)
    ratio = (0.2, 0.375, 0.5, 0.7)[seed]
    ops, state, resident = planned(trace, name, ratio=ratio)
    n = int(ops.size[0])
    start, end, busy = timeline(ops, costs_of(SLOW, pinned=POLICIES[name].pinned))
    for row in range(n):
        needs = ops.needs[ops.first[row] : ops.first[row + 1]]
        assert (needs < row).all()
        assert (end[needs] <= start[row] + 1e-9).all()
    for resource in range(4):
        rows = np.flatnonzero(ops.resource[:n] == resource)
        assert (start[rows][1:] >= end[rows][:-1] - 1e-9).all()
    assert end.max() >= busy.max() - 1e-9
    # every layer of every token adds up experts whose shares are 1 in all, and two of them
    experts = np.isin(ops.kind[:n], (GPU_EXPERT, CPU_EXPERT))
    shares = np.zeros((TOKENS, LAYERS))
    used = np.zeros((TOKENS, LAYERS), int)
    for row in np.flatnonzero(experts & (ops.token[:n] != PREFILL) & (ops.share[:n] > 0)):
        shares[ops.token[row], ops.layer[row]] += ops.share[row]
        used[ops.token[row], ops.layer[row]] += 1
    np.testing.assert_allclose(shares, 1, atol=1e-5)
    assert (used == 2).all()
    # the prompt runs each expert that it chose once
    prompt = experts & (ops.token[:n] == PREFILL)
    found = np.zeros((LAYERS, EXPERTS), int)
    np.add.at(found, (ops.layer[:n][prompt], ops.expert[:n][prompt]), 1)
    np.testing.assert_array_equal(found, trace.prompt[0] > 0)
    # places on the GPU are only ever exchanged
    np.testing.assert_array_equal(state.resident.sum(1), resident.sum(1))


@pytest.mark.parametrize("name", [name for name, p in POLICIES.items() if p.exact])
def test_exact_policies_run_what_the_gates_chose(name):
    trace = drawn_trace(5)
    ops, _, _ = planned(trace, name, ratio=0.4, text=1)
    chosen = trace.chosen()[1]
    for row in range(int(ops.size[0])):
        if ops.token[row] != PREFILL and ops.kind[row] in (GPU_EXPERT, CPU_EXPERT):
            assert ops.expert[row] in chosen[ops.token[row], ops.layer[row]]
            assert not ops.stale[row]


@pytest.mark.parametrize("ratio", [0.25, 0.469, 0.75])
def test_overlapped_fiddler_reaches_the_bound_without_prediction_and_nothing_exact_beats_it(ratio):
    trace = drawn_trace(7)
    costs = costs_of(SLOW, pinned=True)
    for name, policy in POLICIES.items():
        if policy.miss != ON_CPU:
            continue
        for served in serve(trace, policy, SLOW, ratio=ratio, calibration=Calibration.of(trace)):
            bound = unpredicted_ms(costs, served.missing, 2).sum()
            if name in ("fiddler", "static", "all-on-gpu"):
                assert served.decode_ms == pytest.approx(bound, abs=1e-6)
            elif policy.exact:
                assert served.decode_ms >= bound - 1e-6
            # without degradation or verification the same experts run: the busier of the two cannot be beaten
            assert bound >= resource_ms(costs, served.missing, 2).sum() - 1e-6


def test_all_on_the_gpu_takes_its_closed_form():
    trace = drawn_trace(8)
    for served in serve(trace, POLICIES["all-on-gpu"], SLOW, ratio=0.3, calibration=Calibration.of(trace)):
        assert served.decode_ms == pytest.approx(
            TOKENS * all_resident_ms(costs_of(SLOW, pinned=True), LAYERS, 2)
        )
        assert served.loads == 0


@pytest.mark.parametrize("seed", range(20))
def test_swaps_are_those_of_the_plain_form(seed):
    trace = drawn_trace(seed, skew=2.0)
    _, state, resident = planned(trace, "daop", ratio=0.25 + 0.03 * seed)
    expected = [swapped(resident[layer], trace.prompt[0, layer]) for layer in range(LAYERS)]
    np.testing.assert_array_equal(state.resident, expected)


def test_a_swap_needs_five_per_cent_more_and_moves_half_of_the_experts_at_most():
    resident = np.array([True, True, True, True, False, False, False, False])
    np.testing.assert_array_equal(
        swapped(resident, np.array([100, 9, 9, 9, 105, 8, 8, 8])), [1, 1, 1, 0, 1, 0, 0, 0]
    )
    np.testing.assert_array_equal(swapped(resident, np.array([100] * 4 + [105] * 4)), resident)
    np.testing.assert_array_equal(swapped(resident, np.array([100] * 4 + [106] * 4)), ~resident)


@pytest.mark.parametrize("seed", range(3))
def test_lru_loads_what_a_plain_cache_misses(seed):
    trace = drawn_trace(seed)
    ops, _, resident = planned(trace, "lru", ratio=0.5)
    n = int(ops.size[0])
    loads = (ops.kind[:n] == LOAD) & (ops.token[:n] != PREFILL)
    found = [
        [int(((ops.layer[:n] == layer) & (ops.token[:n] == t) & loads).sum()) for layer in range(LAYERS)]
        for t in range(TOKENS)
    ]
    for layer in range(LAYERS):
        # the prompt uses what is there from the first expert to the last, and what is not there is not kept
        cache = OrderedDict(
            (e, None) for e in range(EXPERTS) if resident[layer, e] and not trace.prompt[0, layer, e]
        )
        cache |= OrderedDict(
            (e, None) for e in range(EXPERTS) if resident[layer, e] and trace.prompt[0, layer, e]
        )
        for token in range(TOKENS):
            chosen = list(trace.chosen()[0, token, layer])
            here = [e for e in chosen if e in cache]
            missed = [e for e in chosen if e not in cache]
            for e in here:
                cache.move_to_end(e)
            for e in missed:
                victim = next(c for c in cache if c not in chosen)
                del cache[victim]
                cache[e] = None
            assert found[token][layer] == len(missed), (layer, token)


def test_what_is_computed_ahead_starts_before_its_own_layer():
    trace = drawn_trace(3)
    ops, _, _ = planned(trace, "daop-precalculate", ratio=0.3)
    start, _, _ = timeline(ops, costs_of(SLOW, pinned=True))
    early = np.flatnonzero(ops.stale[: ops.size[0]])
    assert len(early)
    attend = {(ops.token[r], ops.layer[r]): r for r in range(int(ops.size[0])) if ops.expert[r] < 0}
    for row in early:
        token, layer = ops.token[row], ops.layer[row]
        # it waits for the layer before alone, and the list has it before its own layer
        assert ops.needs[ops.first[row] : ops.first[row + 1]].tolist() == [attend[token, layer - 1]]
        assert row < attend[token, layer]
    assert any(start[row] < start[attend[ops.token[row], ops.layer[row]]] for row in early)
    assert (ops.resource[: ops.size[0]] == TO_GPU).sum() == (ops.kind[: ops.size[0]] == LOAD).sum()


def test_degradation_leaves_one_expert_to_the_cpu_at_most():
    trace = drawn_trace(4)
    ops, _, _ = planned(trace, "daop-static", ratio=0.3)
    first = POLICIES["daop-static"].rules(LAYERS).first_predicted
    n = int(ops.size[0])
    for token in range(TOKENS):
        for layer in range(first, LAYERS):
            rows = (ops.token[:n] == token) & (ops.layer[:n] == layer) & (ops.kind[:n] == CPU_EXPERT)
            assert rows.sum() <= 1


def test_a_text_leaves_its_placement_to_the_next_unless_it_is_reset():
    trace = drawn_trace(9, skew=2.0)
    twice = trace.of(np.array([0, 0]))
    kept = list(
        serve(twice, POLICIES["daop"], SLOW, ratio=0.4, calibration=Calibration.of(trace), reset=False)
    )
    anew = list(serve(twice, POLICIES["daop"], SLOW, ratio=0.4, calibration=Calibration.of(trace)))
    assert anew[0].prompt_loads == anew[1].prompt_loads
    # the second time the same prompt finds its experts where it left them
    assert kept[1].prompt_loads < kept[0].prompt_loads


def test_placements_fill_their_slots():
    counts = np.random.default_rng(0).integers(0, 100, (32, 8))
    slots = slots_of(0.469, 32, 8)
    assert slots == 120
    per_layer = place("per_layer", counts, slots)
    assert per_layer.sum() == 120
    assert set(per_layer.sum(1)) <= {3, 4, 5, 6}
    for layer in range(32):
        assert counts[layer][per_layer[layer]].min() >= counts[layer][~per_layer[layer]].max()
    overall = place("overall", counts, slots)
    assert counts[overall].min() >= counts[~overall].max()
    assert place("first_layers_on_cpu", counts, slots).sum(1).tolist() == [0] * 17 + [8] * 15


def test_machines_scale_rates_as_they_should():
    trace = drawn_trace(2)
    machine = MACHINES["a6000-mixtral"]
    slow = list(serve(trace, POLICIES["lru-pageable"], machine, ratio=0.5, calibration=Calibration.of(trace)))
    fast = list(serve(trace, POLICIES["lru"], machine, ratio=0.5, calibration=Calibration.of(trace)))
    assert [s.loads for s in slow] == [s.loads for s in fast]
    assert all(s.decode_ms > f.decode_ms for s, f in zip(slow, fast, strict=True))
    np.testing.assert_array_equal(scaled_counts(np.array([[0, 1, 10]]), 2.0), [[0, 2, 20]])


def test_a_stretched_trace_keeps_each_layers_routing_and_its_predictions():
    trace = drawn_trace(6)
    long = trace.stretched(4 * LAYERS)
    for layer in range(4 * LAYERS):
        source = layer // 4
        np.testing.assert_array_equal(
            np.sort(long.logits[:, :, layer].sum(-1)), np.sort(trace.logits[:, :, source].sum(-1))
        )
    recall = [
        (long.chosen()[:, :, layer, :1] == top_experts(long.ahead[:, :, layer - 1], 1)).mean()
        for layer in range(4, 4 * LAYERS)
    ]
    own = [
        (trace.chosen()[:, :, layer, :1] == top_experts(trace.ahead[:, :, layer - 1], 1)).mean()
        for layer in range(1, LAYERS)
    ]
    np.testing.assert_allclose(recall, np.repeat(own, 4))


def test_predictors_foresee_what_they_say():
    trace = drawn_trace(1)
    counts = trace.decode_counts().sum(0)
    chosen = trace.chosen()
    oracle = trace.foreseen_by("oracle", counts)
    np.testing.assert_array_equal(top_experts(oracle.ahead, 2)[:, :, :-1], chosen[:, :, 1:])
    previous = trace.foreseen_by("previous_token", counts)
    np.testing.assert_array_equal(top_experts(previous.ahead, 2)[:, 1:, :-1], chosen[:, :-1, 1:])
    frequency = trace.foreseen_by("frequency", counts)
    np.testing.assert_array_equal(
        top_experts(frequency.ahead, 2)[0, 0, :-1], top_experts(counts.astype(float), 2)[1:]
    )
    # with the oracle, what is verified is always right: nothing is computed for nothing
    for text, served in enumerate(
        serve(oracle, POLICIES["daop-verified"], SLOW, ratio=0.4, calibration=Calibration.of(trace))
    ):
        assert served.cpu_experts == served.missing.sum(), text
    with pytest.raises(InputError, match="no predictor 'tea leaves'"):
        trace.foreseen_by("tea leaves", counts)
