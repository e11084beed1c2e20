"""Train a language model on windows drawn at random from one text or several, resumable."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import ByteLevelBPETokenizer
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from stages.lib.core.errors import InputError
from stages.lib.core.progress import Progress
from stages.lib.core.seeds import derive_seed
from stages.lib.training.checkpoint import load_checkpoint, save_checkpoint

CHECKPOINT_STEPS = 100
WARM_UP = 0.05  # of the steps


@dataclass(frozen=True, kw_only=True)
class LanguageSchedule:
    """AdamW with a linear warm-up and a cosine to a tenth.

    window        tokens of a text that is drawn
    curve_points  how often the model is measured, evenly, the last time at the end
    """

    steps: int
    batch_size: int
    window: int
    learning_rate: float
    curve_points: int = 10


def byte_pair_tokenizer(texts: Sequence[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE learned on the texts: every text can be written with it."""
    found = ByteLevelBPETokenizer()
    lines = (line for text in texts for line in text.splitlines(keepends=True))
    found.train_from_iterator(lines, vocab_size=vocabulary, show_progress=False)
    return PreTrainedTokenizerFast(tokenizer_object=found._tokenizer)


def fit_language_model(
    model: nn.Module,
    texts: Sequence[Tensor],
    loss_of: Callable[[Tensor], Tensor],
    measure: Callable[[], dict[str, float]],
    *,
    schedule: LanguageSchedule,
    seed: int,
    state: Path,
) -> list[dict[str, Any]]:
    """Train in place; the curve: step, train_loss and what `measure` finds, the model in evaluation mode.

    texts    one 1-D int64 each; the windows of a batch come from them in turns, so that each has the same weight
    loss_of  of a batch (batch_size, window)
    Raises InputError where a text is shorter than a window.
    """
    if short := [len(text) for text in texts if len(text) <= schedule.window]:
        raise InputError(
            f"a training text has {short[0]} tokens and a window {schedule.window}: choose a smaller one"
        )
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=schedule.learning_rate, betas=(0.9, 0.95), weight_decay=0.1, fused=True
    )
    progress = Progress(schedule.steps, "steps")
    start, curve = 0, []
    if saved := load_checkpoint(state):
        start, kept = saved
        model.load_state_dict(kept["model"])
        optimiser.load_state_dict(kept["optimiser"])
        curve = kept["curve"]
        progress.advance(start)
    model.train()
    for step in range(start, schedule.steps):
        for group in optimiser.param_groups:
            group["lr"] = schedule.learning_rate * rate(step, schedule.steps)
        draw = torch.Generator().manual_seed(derive_seed(seed, "windows", step) % 2**31)
        loss = loss_of(draw_windows(texts, schedule, first=step * schedule.batch_size, generator=draw))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        last = step + 1 == schedule.steps
        if last or (step + 1) % max(1, schedule.steps // schedule.curve_points) == 0:
            model.eval()
            curve.append({"step": step + 1, "train_loss": float(loss.detach())} | measure())
            model.train()
        if (step + 1) % CHECKPOINT_STEPS == 0 and not last:
            kept = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "curve": curve}
            save_checkpoint(state, step + 1, kept)
        progress.advance(note=f"loss {float(loss.detach()):.2f}")
    model.eval()
    return curve


def draw_windows(
    texts: Sequence[Tensor], schedule: LanguageSchedule, *, first: int, generator: torch.Generator
) -> Tensor:
    """(batch_size, window): window number `first` and those after it, of the texts in turns."""
    rows = []
    for row in range(first, first + schedule.batch_size):
        text = texts[row % len(texts)]
        at = int(torch.randint(len(text) - schedule.window, (1,), generator=generator))
        rows.append(text[at : at + schedule.window])
    return torch.stack(rows)


def rate(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine to a tenth."""
    warm = max(1, int(WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.55 + 0.45 * math.cos(math.pi * (step - warm) / max(1, steps - warm))
