"""Serve recorded texts with every policy on modelled machines, beside what no policy could beat.

python -m stages.offload.simulate_policies --traces moe-s0/test.npz --calibrations moe-s0/valid.npz
    --config '{"ratios": [0.25]}' --machines '{"a6000-mixtral": {...}}' --table OUT/grid.csv
    --limits OUT/limits.csv

Every time is modelled; the routing is that of a real model on real texts. The grid has one row a model, machine, share
of experts on the GPU and policy, means over texts:

prompt_ms, decode_ms      prompt with its loads and swaps; one token after it
tokens_s                  while decoding; tokens_s_N: an answer of N tokens with its prompt
hit, loads, cpu_experts   share of the gates' choices that were on the GPU; a token's loads, and experts on the CPU
hit_kept, prompt_ms_kept  where a text finds the experts as the text before left them, of the policies in KEPT
of_resource_bound         share of the rate that the busier of GPU and CPU allows for the same placement (1: nothing left)
beaten                    texts and tokens that ended sooner than a bound says, which must be 0
tokens_kj                 of answers of the longest length, by the machine's declared powers
"""

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from stages.lib.core.artifacts import atomic_path
from stages.lib.core.commands import from_json
from stages.lib.core.errors import InputError, run
from stages.lib.core.progress import Progress
from stages.offload.bounds import all_resident_ms, layer_times_ms, resource_ms, unpredicted_ms
from stages.offload.config import GridConfig
from stages.offload.machines import Machine, costs_of
from stages.offload.operations import CPU, GPU, TO_GPU
from stages.offload.placement import (
    best_dynamic_ms,
    best_static,
    loads_between,
    misses_of,
    place,
    slots_of,
    subsets,
)
from stages.offload.policies import ON_CPU, POLICIES, Policy
from stages.offload.simulation import Calibration, Served, serve
from stages.offload.traces import PREDICTORS, RoutingTrace, read_trace, seed_of

Array = np.ndarray
# also served without the calibrated placement for each text, as their authors' code does
KEPT = ("daop-coded", "daop")
FORESIGHTED = ("lru-look-ahead", "daop-verified")  # also with other predictors: rows "policy, predictor"
ROUNDING_MS = 1e-6  # sums of many floats may differ by so much


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = from_json(GridConfig, args.config, where="--config")
    machines = from_json(dict[str, Machine], args.machines, where="--machines")
    if unknown := [name for name in config.machines if name not in machines]:
        raise InputError(f"--machines lacks {unknown[0]!r}, which --config names")
    if len(args.traces) != len(args.calibrations):
        raise InputError("--traces and --calibrations must name as many files, one pair a model")
    pairs = list(zip(args.traces, args.calibrations, strict=True))
    cases = [
        (path, calibration, machine, ratio)
        for machine in config.machines
        # claims rest on the first machine; the others show how far the first model's rates depend on it
        for path, calibration in (pairs if machine == config.machines[0] else pairs[:1])
        for ratio in config.ratios
    ]
    progress = Progress(len(cases), "cases")
    grid, limits = [], []
    for path, calibration, machine, ratio in cases:
        trace, known = read_trace(path), read_trace(calibration)
        if config.texts:
            trace = trace.of(np.linspace(0, len(trace.logits) - 1, config.texts).astype(int))
        if config.layers:
            trace, known = trace.stretched(config.layers), known.stretched(config.layers)
        calibrated = Calibration.of(known)
        beside = {"seed": seed_of(path), "machine": machine, "ratio": ratio}
        for name in config.policies:
            for reset in (True, False) if name in KEPT else (True,):
                texts = serve(
                    trace, POLICIES[name], machines[machine], ratio=ratio, calibration=calibrated,
                    prompt_tokens=config.prompt_tokens, reset=reset,
                )  # fmt: skip
                row = summary(list(texts), POLICIES[name], machines[machine], trace, config)
                if reset:
                    grid.append(beside | {"policy": name} | row)
                else:
                    grid[-1] |= {"hit_kept": row["hit"], "prompt_ms_kept": row["prompt_ms"]}
            for predictor in PREDICTORS[1:] if name in FORESIGHTED else ():
                texts = serve(
                    trace.foreseen_by(predictor, calibrated.counts), POLICIES[name], machines[machine], ratio=ratio,
                    calibration=calibrated, prompt_tokens=config.prompt_tokens,
                )  # fmt: skip
                row = summary(list(texts), POLICIES[name], machines[machine], trace, config)
                grid.append(beside | {"policy": f"{name}, {predictor}"} | row)
        limits += [beside | row for row in limits_of(trace, known, machines[machine], ratio)]
        progress.advance(note=f"{machine} {ratio}")
    for rows, target in ((grid, args.table), (limits, args.limits)):
        with atomic_path(target) as temporary:
            pd.DataFrame(rows).to_csv(temporary, index=False, float_format="%.6g")


def summary(
    texts: list[Served], policy: Policy, machine: Machine, trace: RoutingTrace, config: GridConfig
) -> dict[str, float]:
    """Means over texts, as this module's first lines explain them."""
    costs = costs_of(machine, pinned=policy.pinned)
    tokens, choices = trace.tokens, trace.tokens * trace.layers * trace.top_k
    prompt_ms = float(np.mean([t.prompt_ms for t in texts]))
    decode_ms = float(np.mean([t.decode_ms for t in texts])) / tokens
    bound_ms = np.array([resource_ms(costs, t.missing, trace.top_k).sum() for t in texts])
    beaten = sum(t.busy_ms.max() > t.prompt_ms + t.decode_ms + ROUNDING_MS for t in texts)
    if policy.miss == ON_CPU and policy.exact:
        # prompt and swaps may still keep link and CPU busy when the first token starts, which only makes it later
        beaten += sum(
            t.decode_ms < unpredicted_ms(costs, t.missing, trace.top_k).sum() - ROUNDING_MS for t in texts
        )
    longest = max(config.answer_tokens)
    energy_j = float(np.mean([energy_of(t, machine, tokens, longest) for t in texts]))
    return {
        "prompt_ms": prompt_ms,
        "decode_ms": decode_ms,
        "tokens_s": 1e3 / decode_ms,
        **{f"tokens_s_{n}": n * 1e3 / (prompt_ms + n * decode_ms) for n in config.answer_tokens},
        "hit": 1 - float(np.mean([t.missing.sum() for t in texts])) / choices,
        "none_on_gpu": float(np.mean([(t.missing == trace.top_k).mean() for t in texts])),
        "loads": float(np.mean([t.loads for t in texts])) / tokens,
        "prompt_loads": float(np.mean([t.prompt_loads for t in texts])),
        "cpu_experts": float(np.mean([t.cpu_experts for t in texts])) / tokens,
        "of_resource_bound": float(np.mean(bound_ms / [t.decode_ms for t in texts])),
        "of_all_resident": all_resident_ms(costs, trace.layers, trace.top_k) / decode_ms,
        "beaten": float(beaten),
        "tokens_kj": longest / energy_j * 1e3,
        "texts": len(texts),
        "operations": sum(t.operations for t in texts),
    }


def energy_of(text: Served, machine: Machine, tokens: int, longest: int) -> float:
    """J of an answer of `longest` tokens with its prompt: power at rest for its time, and more while busy; modelled."""
    share = longest / tokens
    total_ms = text.prompt_ms + share * text.decode_ms
    # what is busy while decoding is all of it less the prompt's; copies count as the GPU's work
    busy_ms = text.prompt_busy_ms + share * (text.busy_ms - text.prompt_busy_ms)
    gpu_ms = min(total_ms, busy_ms[GPU] + busy_ms[TO_GPU])
    return (
        total_ms * (machine.gpu_idle_w + machine.cpu_idle_w)
        + gpu_ms * (machine.gpu_active_w - machine.gpu_idle_w)
        + busy_ms[CPU] * (machine.cpu_active_w - machine.cpu_idle_w)
    ) / 1e3


def limits_of(
    trace: RoutingTrace, known: RoutingTrace, machine: Machine, ratio: float
) -> Iterator[dict[str, Any]]:
    """Rows limit, decode_ms: a token's least time, without prediction, by how experts may be placed (pinned copies).

    static    calibrated, the same for all texts; swapped: after DAOP's swap
    best for each text   the best placement of each layer, found with hindsight (offline-optimal static)
    exchanged            the best exchanges before each token, each paid for (offline-optimal dynamic)
    """
    costs = costs_of(machine, pinned=True)
    layer_ms = layer_times_ms(costs, trace.top_k)
    placed = place("per_layer", known.decode_counts().sum(0), slots_of(ratio, trace.layers, trace.experts))
    calibration = Calibration.of(known)
    chosen = trace.chosen()
    ways = {n: subsets(trace.experts, n) for n in {int(n) for n in placed.sum(1)}}
    between = {n: loads_between(found) for n, found in ways.items()}
    static = exchanged = 0.0
    exchanges = 0
    for text in range(len(chosen)):
        for layer in range(trace.layers):
            n = int(placed[layer].sum())
            misses = misses_of(chosen[text, :, layer], ways[n])
            static += best_static(chosen[text, :, layer], ways[n], layer_ms)[1]
            start = int((ways[n] == placed[layer]).all(1).argmax())
            least_ms, moved = best_dynamic_ms(misses, between[n], layer_ms, costs.load_ms, start)
            exchanged += least_ms
            exchanges += moved
    texts = {
        name: list(serve(trace, POLICIES[name], machine, ratio=ratio, calibration=calibration))
        for name in ("static", "daop-swap")
    }
    total = len(chosen) * trace.tokens
    for limit, policy in (("static", "static"), ("swapped", "daop-swap")):
        times = [unpredicted_ms(costs, t.missing, trace.top_k).sum() for t in texts[policy]]
        yield {"limit": limit, "decode_ms": float(np.sum(times)) / total, "loads": 0.0}
    yield {"limit": "best for each text", "decode_ms": static / total, "loads": 0.0}
    yield {"limit": "exchanged", "decode_ms": exchanged / total, "loads": exchanges / total / trace.layers}
    yield {
        "limit": "all on the GPU",
        "decode_ms": all_resident_ms(costs, trace.layers, trace.top_k),
        "loads": 0.0,
    }


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--traces", nargs="+", required=True, help="NPZs of record_traces, one a model")
    parser.add_argument("--calibrations", nargs="+", required=True, help="NPZs of other texts, one a model")
    parser.add_argument("--config", default="{}", help="GridConfig as JSON")
    parser.add_argument("--machines", required=True, help="name -> Machine as JSON")
    parser.add_argument("--table", required=True, help="CSV of the grid to write")
    parser.add_argument("--limits", required=True, help="CSV of the limits to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
