"""The engine's logits against the plain model's, whoever carries its operations out; quality against the engine."""

import copy
import json
import time

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from stages.lib.nets.moe import KeyValueCache
from stages.offload import time_policies
from stages.offload.emulate_policies import measurements, out_of_order
from stages.offload.engine import ReadText, decode, run_streams, run_threads
from stages.offload.machines import MACHINES, Costs, costs_of
from stages.offload.operations import duration_ms, timeline
from stages.offload.placement import place, slots_of, swapped
from stages.offload.planner import new_state, plan_text
from stages.offload.policies import POLICIES
from stages.offload.quality import Approximation, answer_losses, approximations
from stages.offload.simulation import Calibration, room_for
from stages.offload.store import ExpertStore, flat_experts_
from stages.offload.traces import write_trace

PROMPT = 12
CPU = torch.device("cpu")
COSTS = costs_of(MACHINES["a6000-mixtral"], pinned=True)


def placed(small, policy, ratio=0.5):
    counts = Calibration.of(small.known).counts
    return place(policy.placement, counts, slots_of(ratio, small.trace.layers, small.trace.experts))


def live(small, name, text=0, ratio=0.5):
    """Logits after the prompt's last token and each of the answer, with the policy's own decisions."""
    policy = POLICIES[name]
    resident = placed(small, policy, ratio)
    read = ReadText(
        small.model,
        ExpertStore(small.model, flat_experts_(small.model), resident, device=CPU),
        small.windows[text],
        prompt=PROMPT,
    )
    return decode(read, policy, COSTS, Calibration.of(small.known), resident, room_for(small.trace))


def plain(small, text=0):
    with torch.inference_mode():
        return small.model(small.windows[text][None])[0, PROMPT - 1 :]


def test_one_token_at_a_time_gives_the_logits_of_all_at_once(small):
    cache = KeyValueCache()
    with torch.inference_mode():
        found = [small.model(small.windows[:, :PROMPT], cache)[:, -1]]
        found += [
            small.model(small.windows[:, i, None], cache)[:, 0] for i in range(PROMPT, small.windows.shape[1])
        ]
        whole = small.model(small.windows)[:, PROMPT - 1 :]
    torch.testing.assert_close(torch.stack(found, 1), whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", POLICIES)
def test_exact_policies_give_the_plain_models_logits_and_others_do_not(name, small):
    for text in range(2):
        difference = (live(small, name, text) - plain(small, text)).abs().max()
        assert (difference < 1e-4) == POLICIES[name].exact, float(difference)


def replayed(small, name, costs, text=0, ratio=0.5):
    """The finished list from the recorded routing, and a reader whose store is filled as the list supposes."""
    policy, trace = POLICIES[name], small.trace
    resident = placed(small, policy, ratio)
    ops, state = room_for(trace), new_state(resident, tokens=trace.tokens, top_k=trace.top_k)
    plan_text(
        ops, state, policy.rules(trace.layers), costs, trace.prompt[text], trace.chosen()[text], trace.shares()[text],
        trace.logits[text], trace.ahead[text], Calibration.of(small.known).texts,
    )  # fmt: skip
    read = ReadText(
        small.model,
        ExpertStore(small.model, flat_experts_(small.model), resident, device=CPU),
        small.windows[text],
        prompt=PROMPT,
    )
    return ops, read


@pytest.mark.parametrize(
    "name", ["on-demand", "layer-streaming", "lru-look-ahead", "fiddler", "hybrimoe", "daop-swap"]
)
def test_lists_from_recorded_routing_give_the_same_logits_on_threads_and_streams(name, small):
    costs = Costs(1, 0, 1, 0, 2, 0, 1.5, 1.5, 0)
    expected = plain(small)[:-1]
    for carry_out in (
        lambda read, ops: run_threads(read, ops, np.zeros(int(ops.size[0]))),
        lambda read, ops: run_streams(read, ops),
    ):
        ops, read = replayed(small, name, costs)
        carry_out(read, ops)
        # the list ends with the last token's experts; nobody asks for what follows it
        torch.testing.assert_close(torch.stack(read.logits), expected, atol=1e-4, rtol=1e-4)


def test_half_precision_runs_on_streams(small):
    model = copy.deepcopy(small.model).to(torch.bfloat16)
    ops, _ = replayed(small, "hybrimoe", COSTS)
    resident = placed(small, POLICIES["hybrimoe"])
    read = ReadText(
        model, ExpertStore(model, flat_experts_(model), resident, device=CPU), small.windows[0], prompt=PROMPT
    )
    run_streams(read, ops)
    found = torch.stack(read.logits)
    assert found.dtype == torch.bfloat16
    # eight bits of mantissa: near the float32 model's logits, whose deviation is about 2
    assert (found.float() - plain(small)[:-1]).abs().mean() < 0.1


def test_an_operation_that_the_system_holds_up_is_counted(small, monkeypatch):
    ops, read = replayed(small, "fiddler", Costs(1, 0, 1, 0, 2, 0, 1.5, 1.5, 0))
    floors = np.full(int(ops.size[0]), 20.0)  # longer than any product here takes
    ops.size[0] = 8
    held = [0.0] * 3 + [0.005] + [0.0] * 4
    sleep = time.sleep
    monkeypatch.setattr("stages.offload.engine.time.sleep", lambda seconds: sleep(seconds + held.pop()))
    assert run_threads(read, ops, floors[:8]).overruns >= 1
    monkeypatch.setattr("stages.offload.engine.HELD_MS", 1000.0)
    ops, read = replayed(small, "fiddler", Costs(1, 0, 1, 0, 2, 0, 1.5, 1.5, 0))
    ops.size[0], held[:] = 8, [0.005] * 8
    assert run_threads(read, ops, np.full(8, 200.0)).overruns == 0


def test_policies_are_timed_without_a_gpu_too(small, tmp_path):
    for name, trace in (("test", small.trace), ("valid", small.known)):
        write_trace(tmp_path / f"{name}.npz", trace)
    config = {
        "policies": ["daop", "lru-pageable"], "ratios": [0.5], "width": 32, "expert_width": 48, "layers": 6, "heads": 4,
        "kv_heads": 2, "prompt_tokens": 9, "tokens": 4, "repeats": 2, "cpu_threads": 1,
    }  # fmt: skip
    time_policies.main([
        "--trace", str(tmp_path / "test.npz"), "--calibration", str(tmp_path / "valid.npz"), "--device", "cpu",
        "--config", json.dumps(config), "--table", str(tmp_path / "timed.csv"),
    ])  # fmt: skip
    table = pd.read_csv(tmp_path / "timed.csv")
    # pages that are locked cannot be had back, so pageable copies come first
    assert table["policy"].tolist() == ["lru-pageable"] * 2 + ["daop"] * 2
    assert (table[["prompt_ms", "decode_ms"]] > 0).all(axis=None)
    assert table["expert_mb"].iloc[0] == pytest.approx(3 * 32 * 48 * 4 / 1e6)


def test_threads_keep_the_order_of_the_timeline_and_without_dependencies_do_not(small):
    costs = Costs(6, 0, 6, 0, 12, 0, 9, 9, 0)
    ops, read = replayed(small, "daop", costs)
    keep = int(np.searchsorted(ops.token[: ops.size[0]], 1))
    ops.size[0] = keep  # the prompt and one token
    start, _, _ = timeline(ops, costs)
    floors = np.array([duration_ms(costs, ops.kind[i], ops.tokens[i]) for i in range(keep)])
    found = run_threads(read, ops, floors)
    assert (found.end_ms - found.start_ms >= floors - 1e-6).all()
    # a busy machine may exchange a few; nothing that another waits for is among them
    wrong, pairs = out_of_order(start, found.start_ms)
    assert wrong < 0.02 * pairs
    for row in range(keep):
        for other in ops.needs[ops.first[row] : ops.first[row + 1]]:
            assert found.end_ms[other] <= found.start_ms[row] + 1e-6
    free = np.zeros(keep)
    assert out_of_order(start, free)[0] == 0
    assert out_of_order(start, -start)[0] > 0.5 * pairs


def test_a_text_counts_with_its_worst_policy_and_runs_with_overruns_do_not_count():
    table = pd.DataFrame(
        {"policy": policy, "text": text, "free": False, "simulated_ms": 100.0, "emulated_ms": 100.0 * (1 + off),
         "overruns": overruns, "out_of_order": 0, "pairs": 10}
        for policy, late in (("fiddler", 0.02), ("daop", -0.04))
        for text in (0, 7, 9)
        for off, overruns in ((late, 0), (late, 0), (0.5, 1))
    )  # fmt: skip
    free = {"free": True, "out_of_order": 6}
    by_claim = {found.claim: found for found in measurements(pd.concat([table, table[:1].assign(**free)]))}
    worst = by_claim["D4b"]
    assert [(sample.seed, sample.value) for sample in worst.samples] == [
        (text, pytest.approx(0.04)) for text in (0, 7, 9)
    ]
    assert (worst.n, worst.controls["runs rejected for overruns"]) == (12, 6)
    assert (by_claim["D4a"].value, by_claim["D4a"].controls["dependencies removed"]) == (0, 6)


def test_a_failing_operation_ends_the_run_with_its_error(small):
    ops, read = replayed(small, "fiddler", COSTS)
    read.store.cpu.clear()
    with pytest.raises(KeyError):
        run_threads(read, ops, np.zeros(int(ops.size[0])))


@pytest.mark.parametrize("ratio", [0.34, 0.5])
@pytest.mark.parametrize(
    ("name", "approximation"),
    [
        ("daop", Approximation(name="DAOP", predict=True, stale=True, degrade=True)),
        ("daop-no-degradation", Approximation(name="predicted, stale", predict=True, stale=True)),
        ("daop-fresh-input", Approximation(name="predicted routing", predict=True)),
        ("daop-swap", Approximation(name="exact")),
    ],
)
def test_quality_is_that_of_the_engine(name, approximation, ratio, small):
    trace = small.trace
    resident = placed(small, POLICIES[name], ratio)
    after = np.array([[swapped(resident[i], text[i]) for i in range(trace.layers)] for text in trace.prompt])
    ways = [Approximation(name="exact"), approximation]
    losses, agreement = answer_losses(
        small.model, small.windows, ways, torch.from_numpy(np.array([after, after])), prompt=PROMPT,
        first=POLICIES[name].rules(trace.layers).first_predicted, generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    for text in range(len(small.windows)):
        logits = live(small, name, text, ratio)[:-1]
        expected = F.cross_entropy(logits, small.windows[text, PROMPT:])
        assert float(losses[1, text]) == pytest.approx(float(expected), abs=1e-4)
    assert (agreement[0] == 1).all()


def test_controls_lose_what_they_should(small):
    ways = approximations([0.34])
    resident = torch.zeros(
        len(ways), len(small.windows), small.trace.layers, small.trace.experts, dtype=torch.bool
    )
    losses, _ = answer_losses(
        small.model,
        small.windows,
        ways,
        resident,
        prompt=PROMPT,
        first=1,
        generator=torch.Generator().manual_seed(0),
    )
    by_name = dict(zip([way.name for way in ways], losses.mean(1), strict=True))
    # with no expert on the GPU degradation has nothing to replace with
    assert by_name["degraded routing"] == pytest.approx(float(by_name["exact"]), abs=1e-6)
    assert by_name["no experts"] != by_name["exact"]
    assert by_name["random experts"] != by_name["exact"]
