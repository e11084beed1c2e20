"""Carry lists of operations out on threads that stand for GPU, CPU and link, and compare with the timeline (claims D4).

python -m stages.offload.emulate_policies --model results/laptop/models/moe-s0 --texts A/text.txt B/text.txt
    --trace moe-s0/test.npz --calibration moe-s0/valid.npz --traces-config '{"sequences": 4}'
    --config '{"policies": ["fiddler", "daop"]}' --table OUT.csv --measurements OUT.json

Each operation does its real work (products, copies) and then waits until its declared time is up: what is measured is
scheduling, not this machine. A run in which an operation took longer than declared, or in which the system held one up,
is rejected and counted.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from stages.lib.core.artifacts import atomic_path
from stages.lib.core.commands import from_json
from stages.lib.core.errors import run
from stages.lib.core.measurements import Measurement, device_record, finite, over_seeds, write_measurements
from stages.lib.core.progress import Progress
from stages.lib.nets.moe import MoeLM
from stages.offload.config import EmulationConfig, TraceConfig
from stages.offload.engine import ReadText, run_threads
from stages.offload.machines import Costs
from stages.offload.model import read_moe, sequences
from stages.offload.operations import Operations, duration_ms, timeline
from stages.offload.placement import place, slots_of
from stages.offload.policies import POLICIES
from stages.offload.simulation import Calibration, plan
from stages.offload.store import ExpertStore, flat_experts_
from stages.offload.traces import RoutingTrace, read_trace

Array = np.ndarray
# starts that are closer in the timeline may change places: threads wake within a millisecond or so
APART_MS = 3.0


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = from_json(EmulationConfig, args.config, where="--config")
    recorded = from_json(TraceConfig, args.traces_config, where="--traces-config")
    torch.set_num_threads(1)
    model, _ = read_moe(args.model)
    trace, known = read_trace(args.trace), read_trace(args.calibration)
    windows = sequences(args.model, args.texts, recorded)
    table = pd.DataFrame(runs(model, windows, trace, Calibration.of(known), config))
    with atomic_path(args.table) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")
    write_measurements(args.measurements, measurements(table), device=device_record(threads=2))


def runs(
    model: MoeLM,
    windows: torch.Tensor,
    trace: RoutingTrace,
    calibration: Calibration,
    config: EmulationConfig,
) -> Iterator[dict[str, Any]]:
    """Rows policy, text, repeat, simulated_ms, emulated_ms, overruns, out_of_order, pairs."""
    costs = Costs(
        attend_ms=config.attend_ms, attend_token_ms=config.token_ms, gpu_expert_ms=config.gpu_expert_ms,
        gpu_token_ms=config.token_ms, cpu_expert_ms=config.cpu_expert_ms, cpu_token_ms=config.token_ms,
        load_ms=config.load_ms, evict_ms=config.load_ms, send_ms=0,
    )  # fmt: skip
    texts = np.linspace(0, len(trace.logits) - 1, config.texts).astype(int)
    buffers = flat_experts_(model)
    progress = Progress(len(config.policies) * len(texts) * config.repeats + 1, "runs")
    cases = [(policy, int(text), False) for policy in config.policies for text in texts]
    # and one control: the same list with nothing to wait for
    for policy, text, free in [*cases, (config.policies[-1], int(texts[0]), True)]:
        ops, resident = planned(trace, policy, text, calibration, costs, config)
        start, end, _ = timeline(ops, costs)
        if free:
            ops.first[:] = 0
        floors = np.array([duration_ms(costs, ops.kind[i], ops.tokens[i]) for i in range(ops.size[0])])
        for repeat in range(1 if free else config.repeats):
            store = ExpertStore(model, buffers, resident, device=torch.device("cpu"))
            window = windows[text, : trace.prefill + config.tokens]
            reader = Unordered if free else ReadText
            read = reader(model, store, window, prompt=trace.prefill)
            found = run_threads(read, ops, floors)
            wrong, pairs = out_of_order(start, found.start_ms)
            yield {
                "policy": policy, "text": text, "repeat": repeat, "free": free, "simulated_ms": end.max(),
                "emulated_ms": found.end_ms.max(), "overruns": found.overruns, "out_of_order": wrong, "pairs": pairs,
            }  # fmt: skip
            progress.advance(note=policy)


class Unordered(ReadText):
    """Takes operations in any order, and so computes nothing: for the control alone."""

    def carry_out(self, ops: Operations, row: int) -> None:
        pass


def planned(
    trace: RoutingTrace,
    policy: str,
    text: int,
    calibration: Calibration,
    costs: Costs,
    config: EmulationConfig,
) -> tuple[Operations, Array]:
    """The list for one text's prompt and first tokens, and the experts that are on the GPU before it."""
    slots = slots_of(config.ratio, trace.layers, trace.experts)
    resident = place(POLICIES[policy].placement, calibration.counts, slots)
    ops, _ = plan(
        trace, text, POLICIES[policy], costs, resident, past=calibration.texts, tokens=config.tokens
    )
    return ops, resident


def out_of_order(simulated: Array, emulated: Array) -> tuple[int, int]:
    """Pairs that the timeline starts APART_MS apart and that started in the other order; and all such pairs."""
    apart = simulated[:, None] + APART_MS <= simulated[None]
    return int((apart & (emulated[:, None] > emulated[None])).sum()), int(apart.sum())


def measurements(table: pd.DataFrame) -> list[Measurement]:
    kept = table[(table["overruns"] == 0) & ~table["free"]]
    rejected = int(((table["overruns"] > 0) & ~table["free"]).sum())
    case = kept.groupby(["policy", "text"])
    off = case["emulated_ms"].median() / case["simulated_ms"].first() - 1
    control = table[table["free"]]
    beside = {"runs kept": len(kept), "runs rejected for overruns": rejected, "cases": len(off)}
    return [
        Measurement(
            claim="D4a", value=float(kept["out_of_order"].sum()), unit="1", n=int(kept["pairs"].sum()),
            controls=finite(beside | {"dependencies removed": float(control["out_of_order"].sum())}),
        ),
        # a sample is a text here: no model is trained for this, and what varies is routing and the machine
        over_seeds(
            "D4b", off.abs().groupby(level="text").max(), unit="1", n=len(kept),
            controls=beside | {f"mean, {p}": float(v) for p, v in off.groupby(level="policy").mean().items()},
        ),
    ]  # fmt: skip


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="model folder")
    parser.add_argument("--texts", nargs="+", required=True, help="those that the trace was recorded on")
    parser.add_argument("--trace", required=True, help="NPZ of record_traces")
    parser.add_argument("--calibration", required=True, help="NPZ of other texts")
    parser.add_argument("--traces-config", default="{}", help="TraceConfig as JSON, the trace's own")
    parser.add_argument("--config", default="{}", help="EmulationConfig as JSON")
    parser.add_argument("--table", required=True, help="CSV to write")
    parser.add_argument("--measurements", required=True, help="JSON to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
