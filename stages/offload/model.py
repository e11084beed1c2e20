"""Mixture-of-experts models as folders: read, and made from the folders of transformers."""

from pathlib import Path

from stages.lib.core.errors import InputError
from stages.lib.nets.model_folder import ModelInfo, read_model
from stages.lib.nets.moe import MoeLM


def read_moe(folder: str | Path) -> tuple[MoeLM, ModelInfo]:
    """Raises InputError where the folder holds another kind of model."""
    model, info = read_model(folder)
    if not isinstance(model, MoeLM):
        raise InputError(f"{folder} holds {info.net}, not a mixture of experts (moe.MoeLM)")
    return model, info
