"""Train a small Llama in float32 on real text: a language model whose weights were never rounded.

python -m stages.halo.train_language_model --train data/prepared/brown/train/text.txt
    --valid data/prepared/brown/valid/text.txt --config '{"steps": 200}' --seed 0 --state scratch/llama
    --model OUT/model.json --curve OUT/curve.csv

The tokens are a byte-level BPE learned on the training text. Each step takes windows drawn at random from it.
"""

import argparse
import dataclasses
import math
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import LlamaConfig as TransformersLlama
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from stages.halo.config import LlamaConfig
from stages.lib.core.artifacts import atomic_path, file_digest, value_digest
from stages.lib.core.commands import from_json
from stages.lib.core.errors import InputError, run
from stages.lib.core.progress import Progress
from stages.lib.core.seeds import derive_seed
from stages.lib.nets.language_folder import write_language_model
from stages.lib.training.checkpoint import load_checkpoint, save_checkpoint
from stages.lib.training.device import mixed_precision
from stages.lib.training.language import perplexity, token_windows, window_losses

CHECKPOINT_STEPS = 100
CURVE_POINTS = 10
VALID_WINDOWS = 32
WARM_UP = 0.05  # of the steps


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = from_json(LlamaConfig, args.config, where="--config")
    torch.set_num_threads(1)
    texts = {
        name: Path(path).read_text(encoding="utf-8")
        for name, path in (("train", args.train), ("valid", args.valid))
    }
    tokenizer = train_tokenizer(texts["train"], config.vocabulary)
    tokens = token_windows(tokenizer, texts["train"], length=1).flatten()
    if len(tokens) <= config.window:
        raise InputError(
            f"the training text has {len(tokens)} tokens and a window {config.window}: choose a smaller one"
        )
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


def train_tokenizer(text: str, vocabulary: int) -> PreTrainedTokenizerFast:
    found = ByteLevelBPETokenizer()
    found.train_from_iterator(text.splitlines(keepends=True), vocab_size=vocabulary, show_progress=False)
    return PreTrainedTokenizerFast(tokenizer_object=found._tokenizer)


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
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, betas=(0.9, 0.95), weight_decay=0.1
    )
    progress = Progress(config.steps, "steps")
    start, curve = 0, []
    if saved := load_checkpoint(state):
        start, kept = saved
        model.load_state_dict(kept["model"])
        optimiser.load_state_dict(kept["optimiser"])
        curve = kept["curve"]
        progress.advance(start)
    for step in range(start, config.steps):
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate * rate(step, config.steps)
        draw = torch.Generator().manual_seed(derive_seed(seed, "windows", step) % 2**31)
        at = torch.randint(len(tokens) - config.window, (config.batch_size, 1), generator=draw)
        batch = tokens[at + torch.arange(config.window)]
        with mixed_precision(batch.device):
            loss = model(batch, labels=batch, use_cache=False).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        last = step + 1 == config.steps
        if last or (step + 1) % max(1, config.steps // CURVE_POINTS) == 0:
            model.eval()
            held_out = perplexity(window_losses(model, valid, batch=config.batch_size, bf16=True))
            model.train()
            curve.append({"step": step + 1, "train_loss": float(loss), "valid_perplexity": held_out})
        if (step + 1) % CHECKPOINT_STEPS == 0 and not last:
            kept = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "curve": curve}
            save_checkpoint(state, step + 1, kept)
        progress.advance(note=f"loss {float(loss):.2f}")
    return model.eval(), pd.DataFrame(curve)


def rate(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine to a tenth."""
    warm = max(1, int(WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.55 + 0.45 * math.cos(math.pi * (step - warm) / max(1, steps - warm))


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
