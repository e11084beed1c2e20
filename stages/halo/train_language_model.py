"""Train a small Llama in float32 on real text: a language model whose weights were never rounded.

python -m stages.halo.train_language_model --train data/prepared/brown/train/text.txt
    --valid data/prepared/brown/valid/text.txt --config '{"steps": 200}' --seed 0 --state scratch/llama
    --model OUT/model.json --curve OUT/curve.csv

The tokens are a byte-level BPE learned on the training text. Each step takes windows drawn at random from it.
"""

import argparse
import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from transformers import LlamaConfig as TransformersLlama
from transformers import LlamaForCausalLM

from stages.halo.config import LlamaConfig
from stages.lib.core.artifacts import atomic_path, file_digest, value_digest
from stages.lib.core.commands import from_json
from stages.lib.core.errors import run
from stages.lib.core.seeds import derive_seed
from stages.lib.nets.language_folder import write_language_model
from stages.lib.training.device import mixed_precision
from stages.lib.training.fit_language import LanguageSchedule, byte_pair_tokenizer, fit_language_model
from stages.lib.training.language import perplexity, token_windows, window_losses

VALID_WINDOWS = 32


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = from_json(LlamaConfig, args.config, where="--config")
    torch.set_num_threads(1)
    texts = {
        name: Path(path).read_text(encoding="utf-8")
        for name, path in (("train", args.train), ("valid", args.valid))
    }
    tokenizer = byte_pair_tokenizer([texts["train"]], config.vocabulary)
    tokens = token_windows(tokenizer, texts["train"], length=1).flatten()
    valid = token_windows(tokenizer, texts["valid"], length=config.window)[:VALID_WINDOWS]
    settings = [dataclasses.asdict(config), args.seed, file_digest(args.train)]
    state = args.state / value_digest(settings)[:16]
    model, curve = train(config, tokens, valid, seed=args.seed, state=state)
    write_language_model(
        args.model.parent,
        model,
        tokenizer,
        {
            "name": args.model.parent.name,
            "title": "small Llama trained here",
            "recipe": dataclasses.asdict(config),
        },
    )
    with atomic_path(args.curve) as temporary:
        curve.to_csv(temporary, index=False)
    shutil.rmtree(state, ignore_errors=True)


def build_llama(config: LlamaConfig, vocabulary: int) -> Any:
    return LlamaForCausalLM(
        TransformersLlama(
            vocab_size=vocabulary,
            hidden_size=config.width,
            intermediate_size=config.hidden,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            max_position_embeddings=max(2048, config.window),
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=None,
        )
    )


def train(
    config: LlamaConfig, tokens: torch.Tensor, valid: torch.Tensor, *, seed: int, state: Path
) -> tuple[Any, pd.DataFrame]:
    """The trained model, and its loss on training and held-out text along the way."""
    torch.manual_seed(derive_seed(seed, "llama") % 2**31)
    model = build_llama(config, int(tokens.max()) + 1)

    def loss_of(batch: torch.Tensor) -> torch.Tensor:
        with mixed_precision(batch.device):
            return model(batch, labels=batch, use_cache=False).loss

    def measure() -> dict[str, float]:
        losses = window_losses(model, valid, batch=config.batch_size, bf16=True)
        return {"valid_perplexity": perplexity(losses)}

    schedule = LanguageSchedule(
        steps=config.steps,
        batch_size=config.batch_size,
        window=config.window,
        learning_rate=config.learning_rate,
    )
    curve = fit_language_model(model, [tokens], loss_of, measure, schedule=schedule, seed=seed, state=state)
    return model, pd.DataFrame(curve)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", required=True, help="text to train on")
    parser.add_argument("--valid", required=True, help="text that the curve is measured on")
    parser.add_argument("--config", default="{}", help="LlamaConfig as JSON")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--state", type=Path, required=True, help="folder of checkpoints")
    parser.add_argument("--model", type=Path, required=True, help="model.json to write, others beside it")
    parser.add_argument("--curve", required=True, help="CSV to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
