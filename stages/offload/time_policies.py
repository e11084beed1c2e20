"""Time policies on a GPU: a Mixtral-shaped model of drawn weights replays recorded routing, every copy and product real.

python -m stages.offload.time_policies --trace moe-s0/test.npz --calibration moe-s0/valid.npz
    --config '{"width": 4096, "expert_width": 14336, "layers": 16}' --device cuda --table OUT.csv

Times depend on shapes and on where experts lie, not on what the weights are. Rows policy, ratio, repeat, prompt_ms,
decode_ms of a token, tokens_s. On a CPU the same lists are carried out in the same order, without streams.
"""

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch

from stages.lib.core.artifacts import atomic_path
from stages.lib.core.commands import from_json
from stages.lib.core.errors import run
from stages.lib.core.progress import Progress
from stages.lib.nets.moe import MoeLM
from stages.lib.training.device import CHOICES, choose_device
from stages.offload.config import TimingConfig
from stages.offload.engine import ReadText, run_streams
from stages.offload.machines import MACHINES, costs_of
from stages.offload.operations import PREFILL
from stages.offload.placement import place, slots_of
from stages.offload.policies import POLICIES
from stages.offload.simulation import Calibration, plan
from stages.offload.store import ExpertStore, flat_experts_, pin_
from stages.offload.traces import RoutingTrace, read_trace


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = from_json(TimingConfig, args.config, where="--config")
    device = choose_device(args.device)
    trace, known = read_trace(args.trace), read_trace(args.calibration)
    trace, known = trace.stretched(config.layers), known.stretched(config.layers)
    torch.set_num_threads(config.cpu_threads)
    model = drawn_model(config, trace, device)
    table = pd.DataFrame(timed(model, trace, Calibration.of(known), config, device))
    with atomic_path(args.table) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")


def drawn_model(config: TimingConfig, trace: RoutingTrace, device: torch.device) -> MoeLM:
    """All but the experts on the device; every expert has memory of its own, as caches would notice if it had not."""
    with torch.device("meta"):
        model = MoeLM(
            vocabulary=1000, width=config.width, layers=config.layers, heads=config.heads, kv_heads=config.kv_heads,
            expert_width=config.expert_width, experts=trace.experts, top_k=trace.top_k,
        ).to(torch.bfloat16 if device.type == "cuda" else torch.float32)  # fmt: skip
    model = model.to_empty(device="cpu")
    # one draw for all weights of a shape: tens of billions of numbers would take longer than what is measured
    chance, drawn = torch.Generator().manual_seed(0), {}
    for parameter in model.parameters():
        if parameter.shape not in drawn:
            normal = 0.02 * torch.randn(parameter.shape, generator=chance)
            drawn[parameter.shape] = (normal if parameter.ndim > 1 else torch.ones(parameter.shape)).to(
                parameter.dtype
            )
        parameter.data.copy_(drawn[parameter.shape])
    for name, module in model.named_children():
        if name != "layers":
            module.to(device)
    for layer in model.layers:
        for name, module in layer.named_children():
            if name != "moe":
                module.to(device)
        layer.moe.router.to(device)
    return model.eval()


def timed(
    model: MoeLM, trace: RoutingTrace, calibration: Calibration, config: TimingConfig, device: torch.device
) -> Iterator[dict[str, Any]]:
    progress = Progress(len(config.policies) * len(config.ratios) * config.repeats, "runs")
    tokens = torch.randint(
        1000, (config.prompt_tokens + config.tokens,), generator=torch.Generator().manual_seed(0)
    )
    costs = costs_of(MACHINES[config.machine], pinned=True)
    buffers = flat_experts_(model)
    pinned = False
    # pageable ones first: pages are locked once, for all that come after
    for name in sorted(config.policies, key=lambda name: POLICIES[name].pinned):
        policy = POLICIES[name]
        if policy.pinned and not pinned and device.type == "cuda":
            pin_(buffers.values())
            pinned = True
        for ratio in config.ratios:
            resident = place(
                policy.placement, calibration.counts, slots_of(ratio, trace.layers, trace.experts)
            )
            ops, _ = plan(trace, 0, policy, costs, resident, past=calibration.texts, tokens=config.tokens)
            for repeat in range(config.repeats):
                store = ExpertStore(model, buffers, resident, device=device)
                read = ReadText(model, store, tokens, prompt=config.prompt_tokens)
                found = run_streams(read, ops, cpu_threads=1)
                n = int(ops.size[0])
                answer = int(np.argmax(ops.token[:n] != PREFILL))
                prompt_ms = float(found.start_ms[answer])
                decode_ms = (float(found.end_ms.max()) - prompt_ms) / config.tokens
                yield {
                    "policy": name, "ratio": ratio, "repeat": repeat, "prompt_ms": prompt_ms, "decode_ms": decode_ms,
                    "tokens_s": 1e3 / decode_ms, "expert_mb": store.expert_bytes / 1e6,
                }  # fmt: skip
                progress.advance(note=f"{name} {ratio}")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trace", required=True, help="NPZ of record_traces")
    parser.add_argument("--calibration", required=True, help="NPZ of other texts")
    parser.add_argument("--config", default="{}", help="TimingConfig as JSON")
    parser.add_argument("--device", default="auto", choices=CHOICES)
    parser.add_argument("--table", required=True, help="CSV to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
