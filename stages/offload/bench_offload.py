"""Benchmark: expert operations that are planned and timed a second, against the same timeline in plain Python.

python -m stages.offload.bench_offload --bench offload.json --table offload.csv

The peer walks the same list with the same rules in the interpreter; that both find the same times is checked before.
"""

import argparse
from dataclasses import asdict

import numba
import numpy as np
import pandas as pd

from stages.lib.core.artifacts import atomic_path
from stages.lib.core.bench import compare_speed, write_bench
from stages.lib.core.errors import run
from stages.lib.core.measurements import device_record
from stages.lib.core.seeds import generator
from stages.offload.machines import MACHINES, Costs, costs_of
from stages.offload.operations import (
    CPU_EXPERT,
    GPU_EXPERT,
    Operations,
    duration_ms,
    timeline,
)
from stages.offload.placement import place, slots_of
from stages.offload.policies import POLICIES
from stages.offload.simulation import plan
from stages.offload.traces import RoutingTrace

RUNS = 5
LAYERS, EXPERTS, TOKENS = 32, 8, 128


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    trace = drawn_trace()
    costs = costs_of(MACHINES["a6000-mixtral"], pinned=True)
    device = device_record(threads=1, versions={"numba": numba.__version__})
    comparisons = []
    for name in ("fiddler", "lru", "daop"):
        ops = planned(trace, name, costs)
        n = int(np.isin(ops.kind[: ops.size[0]], (GPU_EXPERT, CPU_EXPERT)).sum())
        if not np.allclose(plain_timeline(ops, costs), timeline(ops, costs)[1], rtol=0, atol=1e-6):
            raise AssertionError(f"{name}: the two timelines differ")
        comparisons.append(
            compare_speed(
                f"plan and time {name}",
                lambda name=name: timeline(planned(trace, name, costs), costs),
                lambda ops=ops: plain_timeline(ops, costs),
                work=n,
                unit="expert operations/s",
                runs=args.runs,
                peer_name="timeline alone, plain Python",
                peer_version="",
                device=device,
            )
        )
    write_bench(args.bench, comparisons)
    with atomic_path(args.table) as temporary:
        pd.DataFrame([asdict(c) for c in comparisons]).drop(columns="device").to_csv(temporary, index=False)


def drawn_trace() -> RoutingTrace:
    """One text with drawn logits: speed does not depend on what they are."""
    chance = generator(0, "bench")
    logits = chance.normal(size=(1, TOKENS, LAYERS, EXPERTS)).astype(np.float32)
    return RoutingTrace(
        prompt=chance.multinomial(256, np.full(EXPERTS, 1 / EXPERTS), size=(1, LAYERS)),
        logits=logits, ahead=np.roll(logits, -1, axis=2), domain=np.zeros(1, int), domains=("drawn",), top_k=2,
        prefill=256,
    )  # fmt: skip


def planned(trace: RoutingTrace, name: str, costs: Costs) -> Operations:
    policy = POLICIES[name]
    resident = place(policy.placement, trace.prompt[0], slots_of(0.469, LAYERS, EXPERTS))
    return plan(trace, 0, policy, costs, resident, past=np.zeros((1, LAYERS, EXPERTS)))[0]


def plain_timeline(ops: Operations, costs: Costs) -> np.ndarray:
    """End of each operation, as `timeline` has it, without compiled code."""
    end, free = np.zeros(ops.size[0]), [0.0] * 4
    for row in range(len(end)):
        resource = ops.resource[row]
        waits = ops.needs[ops.first[row] : ops.first[row + 1]]
        at = max([free[resource], *(end[other] for other in waits)])
        free[resource] = end[row] = at + duration_ms.py_func(costs, ops.kind[row], ops.tokens[row])
    return end


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bench", required=True, help="JSON to write")
    parser.add_argument("--table", required=True, help="CSV to write")
    parser.add_argument("--runs", type=int, default=RUNS)
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
