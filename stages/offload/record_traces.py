"""Record a model's routing on real texts: each is cut into sequences of a prompt and the tokens that follow it.

python -m stages.offload.record_traces --model results/laptop/models/moe-s0 --domains brown dictionary
    --texts A/text.txt B/text.txt --config '{"sequences": 4}' --trace OUT.npz --info OUT.json

The tokens after the prompt are those of the text, one at a time (teacher forcing). Reading them at once gives the same
gates, which is how they are recorded.
"""

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stages.lib.core.artifacts import file_digest, write_json
from stages.lib.core.commands import from_json
from stages.lib.core.errors import InputError, run
from stages.lib.core.progress import Progress
from stages.lib.nets.moe import Choice, MoeLM
from stages.lib.training.device import CHOICES, choose_device
from stages.offload.config import TraceConfig
from stages.offload.model import read_moe, sequences
from stages.offload.routing import counts_of
from stages.offload.traces import RoutingTrace, write_trace


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = from_json(TraceConfig, args.config, where="--config")
    if len(args.domains) != len(args.texts):
        raise InputError("--domains and --texts must name as many texts, in one order")
    device = choose_device(args.device)
    model, info = read_moe(args.model)
    windows = sequences(args.model, args.texts, config)
    trace = record(model.to(device), windows.to(device), config, args.domains)
    write_trace(args.trace, trace)
    write_json(
        args.info,
        {
            "model": Path(args.model).name,
            "weights_digest": info.weights_digest,
            "recipe": info.recipe,
            "trace_digest": file_digest(args.trace),
            "texts": {d: file_digest(path) for d, path in zip(args.domains, args.texts, strict=True)},
            **dataclasses.asdict(config),
        },
    )


@torch.inference_mode()
def record(model: MoeLM, windows: Tensor, config: TraceConfig, domains: list[str]) -> RoutingTrace:
    """What gates say of (texts, prefill + decode) windows, as many of each domain, one after another."""
    progress = Progress(len(windows), "sequences")
    moes = [layer.moe for layer in model.layers]
    experts, top_k = moes[0].router.out_features, moes[0].top_k
    logits, ahead, prompt = [], [], []

    def watch(index: int, h: Tensor, choice: Choice) -> None:
        counts = counts_of(choice.experts[: config.prefill].cpu().numpy(), experts)
        prompt[-1].append(counts)
        logits[-1].append(choice.logits[config.prefill :].float().cpu().numpy())
        after = h[config.prefill :]
        below = (
            moes[index + 1].router(after)
            if index + 1 < len(moes)
            else torch.zeros_like(choice.logits[config.prefill :])
        )
        ahead[-1].append(below.float().cpu().numpy())

    for window in windows:
        for found in (logits, ahead, prompt):
            found.append([])
        model(window[None], watch=watch)
        progress.advance()
    return RoutingTrace(
        prompt=np.array(prompt),
        logits=np.array(logits).swapaxes(1, 2),
        ahead=np.array(ahead).swapaxes(1, 2),
        domain=np.repeat(np.arange(len(domains)), config.sequences),
        domains=domains,
        top_k=top_k,
        prefill=config.prefill,
    )


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="model folder of train_moe, or converted")
    parser.add_argument("--domains", nargs="+", required=True, help="names of the texts")
    parser.add_argument("--texts", nargs="+", required=True, help="text files, one a domain")
    parser.add_argument("--config", default="{}", help="TraceConfig as JSON")
    parser.add_argument("--device", default="auto", choices=CHOICES)
    parser.add_argument("--trace", required=True, help="NPZ to write")
    parser.add_argument("--info", required=True, help="JSON to write: digests and the model's recipe")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
