"""Mixture-of-experts models as folders, and texts in their tokens."""

from pathlib import Path

import torch
from torch import Tensor

from stages.lib.core.errors import InputError
from stages.lib.nets.model_folder import ModelInfo, read_model
from stages.lib.nets.moe import MoeLM
from stages.lib.training.language import read_tokenizer, token_windows
from stages.offload.config import TraceConfig


def read_moe(folder: str | Path) -> tuple[MoeLM, ModelInfo]:
    """Raises InputError where the folder holds another kind of model."""
    model, info = read_model(folder)
    if not isinstance(model, MoeLM):
        raise InputError(f"{folder} holds {info.net}, not a mixture of experts (moe.MoeLM)")
    return model, info


def sequences(folder: Path, texts: list[str], config: TraceConfig) -> Tensor:
    """(texts, prefill + decode) int64, the same number of each file."""
    tokenizer = read_tokenizer(folder / "tokenizer.json")
    length = config.prefill + config.decode
    return torch.cat(
        [
            token_windows(
                tokenizer, Path(path).read_text(encoding="utf-8"), length=length, n=config.sequences
            )
            for path in texts
        ]
    )
