"""Text as windows of tokens, and how well a language model predicts them."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.lib.core.errors import InputError
from stages.lib.training.device import mixed_precision

ROWS = 64  # of logits at a time: a vocabulary of 49,152 is 12 MB of float32, which a cache holds


def read_tokenizer(path: str | Path) -> Any:
    """The tokenizer of a tokenizer.json, as transformers has them. Raises InputError where it is none."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    try:
        return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_file(str(path)))
    except Exception as error:  # the library raises this one class for a file that is away or damaged
        raise InputError(f"{path} cannot be read as a tokenizer: {error}") from None


def token_windows(tokenizer: Any, text: str, *, length: int, n: int = 0) -> Tensor:
    """(n, length) int64: windows of a text side by side, without overlap, each read without what stands before it.

    n  how many from the start; 0: all. A window's first token is given, its other length - 1 are predicted.
    Raises InputError where the text is too short.
    """
    # all at once: a text cut before it is tokenised would be cut inside of words
    ids = torch.tensor(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    there = len(ids) // length
    if there < max(n, 1):
        raise InputError(
            f"the text gives {there} windows of {length} tokens, wanted {max(n, 1)}: choose fewer or shorter ones"
        )
    return ids[: (n or there) * length].view(-1, length)


@torch.inference_mode()
def window_losses(
    model: Callable[..., Any], windows: Tensor, *, batch: int = 0, bf16: bool = False
) -> Tensor:
    """(n,) mean negative log-likelihood of each window's predicted tokens, in nats; windows are on the model's device.

    batch  windows at once; 0: about 512 tokens, where a CPU is fastest
    """
    found = []
    for part in windows.split(batch or max(1, 512 // windows.shape[1])):
        with mixed_precision(windows.device, bf16):
            logits = model(part, use_cache=False).logits[:, :-1]
        rows = zip(logits.flatten(0, 1).split(ROWS), part[:, 1:].flatten().split(ROWS), strict=True)
        losses = torch.cat([F.cross_entropy(x.float(), y, reduction="none") for x, y in rows])
        found.append(losses.view(len(part), -1).mean(1))
    return torch.cat(found).cpu()


def resampled_windows(n: int, *, draws: int = 1000, seed: int = 0) -> Tensor:
    """(draws, n) int64: windows drawn anew, with repetition (bootstrap)."""
    return torch.randint(n, (draws, n), generator=torch.Generator().manual_seed(seed))


def perplexity(losses: Tensor) -> float:
    """exp of the mean loss; windows are equally long."""
    return math.exp(float(losses.double().mean()))
