"""Train a small Mixtral-shaped language model on texts of several kinds (DAOP needs routing that was learned).

python -m stages.offload.train_moe --domains brown dictionary --train A/text.txt B/text.txt
    --valid A/valid.txt B/valid.txt --config '{"steps": 300}' --seed 0 --state scratch/moe
    --model OUT/model.json --weights OUT/weights.safetensors --tokenizer OUT/tokenizer.json --curve OUT/curve.csv

The curve shows how uneven routing is after so many tokens (claim D7): short training overstates it.
"""

import argparse
import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.lib.core.artifacts import atomic_path, file_digest, value_digest
from stages.lib.core.commands import from_json
from stages.lib.core.errors import InputError, run
from stages.lib.core.seeds import derive_seed, generator
from stages.lib.nets.model_folder import ModelInfo, folder_of, write_model
from stages.lib.nets.moe import Choice, MoeLM
from stages.lib.training.device import CHOICES, choose_device
from stages.lib.training.fit_language import LanguageSchedule, byte_pair_tokenizer, fit_language_model
from stages.lib.training.language import token_windows
from stages.offload.config import MoeConfig
from stages.offload.routing import counts_of, top_share, top_share_of_noise


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = from_json(MoeConfig, args.config, where="--config")
    if not len(args.domains) == len(args.train) == len(args.valid):
        raise InputError("--domains, --train and --valid must name as many texts each, in one order")
    device = choose_device(args.device)
    texts = [Path(path).read_text(encoding="utf-8") for path in args.train]
    tokenizer = byte_pair_tokenizer(texts, config.vocabulary)
    tokens = [token_windows(tokenizer, text, length=1).flatten().to(device) for text in texts]
    valid = torch.cat(
        [
            token_windows(
                tokenizer,
                Path(path).read_text(encoding="utf-8"),
                length=config.window,
                n=config.measured_windows,
            )
            for path in args.valid
        ]
    )
    digests = {d: file_digest(path) for d, path in zip(args.domains, args.train, strict=True)}
    recipe = dataclasses.asdict(config) | {"seeds": [args.seed], "domains": args.domains}
    state = args.state / value_digest([recipe, digests])[:16]
    model, curve = train(config, tokens, valid.to(device), seed=args.seed, state=state)
    folder = folder_of(weights=args.weights, model=args.model)
    with atomic_path(args.tokenizer) as temporary:
        tokenizer.backend_tokenizer.save(str(temporary))
    with atomic_path(args.curve) as temporary:
        curve.to_csv(temporary, index=False)
    info = ModelInfo(
        net="moe.MoeLM", arguments=arguments_of(config), mean=(), std=(), classes=(),
        dataset="+".join(args.domains), dataset_digest=value_digest(digests), recipe=recipe,
    )  # fmt: skip
    write_model(folder, model, info)
    shutil.rmtree(state, ignore_errors=True)


def arguments_of(config: MoeConfig) -> dict[str, bool | int]:
    """Of MoeLM."""
    own = ("vocabulary", "width", "layers", "heads", "expert_width", "experts", "top_k")
    return {key: getattr(config, key) for key in own} | {"kv_heads": config.heads, "tied": True}


def train(
    config: MoeConfig, texts: Sequence[Tensor], valid: Tensor, *, seed: int, state: Path
) -> tuple[MoeLM, pd.DataFrame]:
    """The trained model; its curve of losses and of the share of the top_k experts, overall and within a window."""
    torch.manual_seed(derive_seed(seed, "moe") % 2**31)
    model = MoeLM(**arguments_of(config)).to(valid.device)

    def loss_of(batch: Tensor) -> Tensor:
        losses = []
        logits = model(batch, watch=lambda _, __, choice: losses.append(balance_loss(choice, config.experts)))
        nll = F.cross_entropy(logits[:, :-1].flatten(0, 1), batch[:, 1:].flatten())
        return nll + config.balance * torch.stack(losses).mean()

    def measure() -> dict[str, float]:
        return measured(model, valid, config, chance=generator(seed, "noise"))

    schedule = LanguageSchedule(
        steps=config.steps,
        batch_size=config.batch_size,
        window=config.window,
        learning_rate=config.learning_rate,
    )
    curve = fit_language_model(model, texts, loss_of, measure, schedule=schedule, seed=seed, state=state)
    table = pd.DataFrame(curve)
    table.insert(1, "tokens", table["step"] * config.batch_size * config.window)
    return model, table


def balance_loss(choice: Choice, experts: int) -> Tensor:
    """experts * sum_e f_e p_e (Fedus 2022, eq. 4; for top-k as in Mixtral): at its least, top_k, with even routing.

    f_e is the number of tokens that chose e, by tokens, p_e the mean of its probability.
    """
    probabilities = choice.logits.softmax(-1).mean(0)
    chosen = torch.bincount(choice.experts.flatten(), minlength=experts) / len(choice.experts)
    return experts * (chosen * probabilities).sum()


@torch.inference_mode()
def measured(
    model: MoeLM, windows: Tensor, config: MoeConfig, *, chance: np.random.Generator
) -> dict[str, float]:
    chosen: list[list[Tensor]] = []
    losses = []
    for window in windows:
        chosen.append([])
        logits = model(window[None], watch=lambda _, __, choice: chosen[-1].append(choice.experts))
        losses.append(float(F.cross_entropy(logits[0, :-1], window[1:])))
    counts = counts_of(torch.stack([torch.stack(layers) for layers in chosen]).cpu().numpy(), config.experts)
    return {
        "valid_loss": float(np.mean(losses)),
        "share_overall": float(top_share(counts.sum(0), config.top_k).mean()),
        "share_within": float(top_share(counts, config.top_k).mean()),
        "share_of_noise": float(top_share_of_noise(counts, config.top_k, chance).mean()),
    }


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--domains", nargs="+", required=True, help="names of the texts")
    parser.add_argument("--train", nargs="+", required=True, help="texts to train on")
    parser.add_argument("--valid", nargs="+", required=True, help="texts that the curve is measured on")
    parser.add_argument("--config", default="{}", help="MoeConfig as JSON")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto", choices=CHOICES)
    parser.add_argument("--state", type=Path, required=True, help="folder of checkpoints")
    parser.add_argument("--model", type=Path, required=True, help="model.json to write")
    parser.add_argument("--weights", type=Path, required=True, help="weights.safetensors to write beside it")
    parser.add_argument("--tokenizer", required=True, help="tokenizer.json to write")
    parser.add_argument("--curve", required=True, help="CSV to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
