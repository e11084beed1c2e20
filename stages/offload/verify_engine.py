"""Whether exact policies give the plain model's logits, and whether the model is Mixtral's (claims D1, D2, D12a).

python -m stages.offload.verify_engine --model results/laptop/models/moe-s0 --texts A/text.txt B/text.txt
    --calibration moe-s0/valid.npz --config '{"sequences": 4}' --ratio 0.469 --measurements OUT.json

Each policy's engine reads texts with its own live decisions: attention, router, experts in their places, loads, swaps.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from stages.lib.core.artifacts import file_digest
from stages.lib.core.commands import from_json
from stages.lib.core.errors import run
from stages.lib.core.measurements import Measurement, device_record, write_measurements
from stages.lib.core.progress import Progress
from stages.lib.nets.moe import MoeLM
from stages.offload.config import TraceConfig
from stages.offload.convert_moe import main as convert
from stages.offload.engine import ReadText, decode
from stages.offload.machines import MACHINES, costs_of
from stages.offload.model import read_moe, sequences
from stages.offload.placement import place, slots_of
from stages.offload.policies import POLICIES
from stages.offload.simulation import Calibration, room_for
from stages.offload.store import ExpertStore, flat_experts_
from stages.offload.traces import RoutingTrace, read_trace

TOLERANCE = 1e-5  # by the largest logit of the token: sums of the same products in another order
MACHINE = MACHINES["a6000-mixtral"]  # decides what is loaded and what runs on the CPU


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = from_json(TraceConfig, args.config, where="--config")
    torch.set_num_threads(1)
    model, _ = read_moe(args.model)
    known = read_trace(args.calibration)
    windows = sequences(args.model, args.texts, config)[:: config.sequences]
    differences = logit_differences(model, windows, known, ratio=args.ratio, prompt=config.prefill)
    exact = {name: d for name, d in differences.items() if POLICIES[name].exact}
    others = {name: d for name, d in differences.items() if not POLICIES[name].exact}
    compared = windows[:, config.prefill :].shape.numel() + len(windows)
    mixtral, shuffled = difference_to_mixtral()
    # .../DATASET/SPLIT/text.txt
    digests = {"/".join(Path(path).parts[-3:-1]): file_digest(path) for path in args.texts}
    swap = differences["daop-swap"].max()
    measurements = [
        Measurement(
            claim="D1", value=float(sum((d > TOLERANCE).sum() for d in exact.values())), unit="1",
            n=compared * len(exact), dataset_digest=digests,
            controls={"largest difference": float(max(d.max() for d in exact.values()))}
            | {f"{name}, largest difference": float(d.max()) for name, d in others.items()},
        ),
        Measurement(
            claim="D2", value=float((mixtral > TOLERANCE).sum()), unit="1", n=mixtral.numel(),
            controls={
                "largest difference": float(mixtral.max()),
                "experts of one router exchanged": float((shuffled > TOLERANCE).sum()),
            },
        ),
        Measurement(
            claim="D12a", value=float((differences["daop-verified"] > TOLERANCE).sum()), unit="1", n=compared,
            dataset_digest=digests,
            controls={
                "largest difference": float(differences["daop-verified"].max()),
                "unverified, largest difference": float(differences["daop-no-degradation"].max()),
                "verified, nothing computed on old inputs": float(swap),
            },
        ),
    ]  # fmt: skip
    write_measurements(args.measurements, measurements, device=device_record(threads=1))


@torch.inference_mode()
def logit_differences(
    model: MoeLM, windows: Tensor, known: RoutingTrace, *, ratio: float, prompt: int
) -> dict[str, Tensor]:
    """By policy, (texts, answer + 1): `difference` of each token's logits to those of the plain model."""
    calibration = Calibration.of(known)
    buffers = flat_experts_(model)
    plain = [model(window[None])[0, prompt - 1 :] for window in windows]
    progress = Progress(len(POLICIES), "policies")
    found = {}
    for name, policy in POLICIES.items():
        resident = place(policy.placement, calibration.counts, slots_of(ratio, known.layers, known.experts))
        rows = []
        for window, judge in zip(windows, plain, strict=True):
            store = ExpertStore(model, buffers, resident, device=torch.device("cpu"))
            read = ReadText(model, store, window, prompt=prompt)
            costs = costs_of(MACHINE, pinned=policy.pinned)
            ours = decode(read, policy, costs, calibration, resident, room_for(known, len(window)))
            rows.append(difference(ours, judge))
        found[name] = torch.stack(rows)
        progress.advance(note=name)
    return found


@torch.inference_mode()
def difference_to_mixtral() -> tuple[Tensor, Tensor]:
    """To transformers' Mixtral with the same drawn weights; and with one router's experts exchanged."""
    from transformers import MixtralConfig, MixtralForCausalLM
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.manual_seed(0)
    judge = MixtralForCausalLM(
        MixtralConfig(
            vocab_size=512, hidden_size=64, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4,
            num_key_value_heads=2, num_local_experts=8, initializer_range=0.2,
        )
    ).eval()  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        judge.save_pretrained(f"{folder}/theirs")
        convert(["--source", f"{folder}/theirs", "--target", f"{folder}/ours"])
        ours, _ = read_moe(f"{folder}/ours")
    tokens = torch.randint(0, 512, (4, 64))
    expected = judge(tokens).logits
    found = difference(ours(tokens), expected)
    router = ours.layers[1].moe.router.weight
    router.copy_(router.roll(1, 0))
    return found, difference(ours(tokens), expected)


def difference(ours: Tensor, judge: Tensor) -> Tensor:
    """(...,) the largest of each token, by its largest logit; both (..., vocabulary)."""
    return (ours - judge).abs().amax(-1) / judge.abs().amax(-1)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="model folder")
    parser.add_argument(
        "--texts", nargs="+", required=True, help="text files, the first sequence of each is read"
    )
    parser.add_argument("--calibration", required=True, help="NPZ of record_traces, of other texts")
    parser.add_argument("--config", default="{}", help="TraceConfig as JSON")
    parser.add_argument("--ratio", type=float, required=True, help="share of experts on the GPU")
    parser.add_argument("--measurements", required=True, help="JSON to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
