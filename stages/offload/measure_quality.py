"""What each of DAOP's approximations costs a trained model on texts that it was not trained on (claim D11).

python -m stages.offload.measure_quality --model results/laptop/models/moe-s0 --texts A/text.txt B/text.txt
    --trace moe-s0/test.npz --calibration moe-s0/valid.npz --config '{"sequences": 4}' --ratios 0.25 0.5 --table OUT.csv

Rows approximation, ratio, loss (nats a token of the answer), lost (over the exact model), agreement (share of tokens with
the exact model's likeliest next one), with the texts' standard error of `lost`. Experts lie where DAOP's swap puts them.
"Lost" means little where leaving all those experts out ("no experts") costs little.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from stages.lib.core.artifacts import atomic_path
from stages.lib.core.commands import from_json
from stages.lib.core.errors import run
from stages.lib.core.seeds import derive_seed
from stages.lib.training.device import CHOICES, choose_device
from stages.offload.config import TraceConfig
from stages.offload.model import read_moe, sequences
from stages.offload.placement import place, slots_of, swapped
from stages.offload.policies import POLICIES
from stages.offload.quality import answer_losses, approximations
from stages.offload.traces import read_trace, seed_of


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = from_json(TraceConfig, args.config, where="--config")
    device = choose_device(args.device)
    model, _ = read_moe(args.model)
    trace, known = read_trace(args.trace), read_trace(args.calibration)
    ways = approximations(args.ratios)
    counts = known.decode_counts().sum(0)
    where = {}
    for ratio in {way.ratio for way in ways}:
        placed = place("per_layer", counts, slots_of(ratio, trace.layers, trace.experts))
        where[ratio] = np.array(
            [[swapped(placed[i], text[i]) for i in range(trace.layers)] for text in trace.prompt]
        )
    losses, agreement = answer_losses(
        model.to(device),
        sequences(args.model, args.texts, config).to(device),
        ways,
        torch.from_numpy(np.array([where[way.ratio] for way in ways])).to(device),
        prompt=config.prefill,
        first=POLICIES["daop"].rules(trace.layers).first_predicted,
        generator=torch.Generator().manual_seed(derive_seed(seed_of(args.trace), "random experts") % 2**31),
    )
    lost = losses - losses[0]
    table = pd.DataFrame(
        {
            "seed": seed_of(args.trace),
            "approximation": [way.name for way in ways],
            "ratio": [way.ratio if way.stale or way.degrade else np.nan for way in ways],
            "loss": losses.mean(1).numpy(),
            "lost": lost.mean(1).numpy(),
            "lost_error": (lost.std(1) / lost.shape[1] ** 0.5).numpy(),
            "agreement": agreement.mean(1).numpy(),
            "texts": lost.shape[1],
        }
    )
    with atomic_path(args.table) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="model folder")
    parser.add_argument("--texts", nargs="+", required=True, help="those that the trace was recorded on")
    parser.add_argument("--trace", required=True, help="NPZ of record_traces")
    parser.add_argument("--calibration", required=True, help="NPZ of other texts")
    parser.add_argument("--config", default="{}", help="TraceConfig as JSON, the trace's own")
    parser.add_argument("--ratios", nargs="+", type=float, required=True, help="shares of experts on the GPU")
    parser.add_argument("--device", default="auto", choices=CHOICES)
    parser.add_argument("--table", required=True, help="CSV to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
