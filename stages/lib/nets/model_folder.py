"""Model folders: weights.safetensors and model.json, the form in which networks travel between stages."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from stages.lib.core.artifacts import atomic_path, file_digest, read_json, write_json
from stages.lib.core.errors import InputError
from stages.lib.nets.build import build


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """What model.json says.

    net, arguments  as `build` takes them
    mean, std       per channel, of 0..1 pixels: the input is (pixel / 255 - mean) / std
    dataset_digest  content digest of the training split ("" where it is not known)
    parent_digest   weights digest of the model that this one was made from ("" for none)
    weights_digest  sha256 of weights.safetensors
    recipe          how it was trained: every setting that changes the weights
    """

    net: str
    arguments: dict[str, Any]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]
    dataset: str
    dataset_digest: str = ""
    parent_digest: str = ""
    weights_digest: str = ""
    recipe: dict[str, Any] = field(default_factory=dict)


def write_model(folder: str | Path, model: nn.Module, info: ModelInfo) -> ModelInfo:
    """Write weights and info; returns the info with the digest of the written weights."""
    state = {name: tensor.detach().contiguous().cpu() for name, tensor in model.state_dict().items()}
    return write_weights(folder, state, info)


def write_weights(folder: str | Path, state: Mapping[str, torch.Tensor], info: ModelInfo) -> ModelInfo:
    folder = Path(folder)
    with atomic_path(folder / "weights.safetensors") as temporary:
        save_file(dict(state), temporary)
    record = asdict(info) | {"weights_digest": file_digest(folder / "weights.safetensors")}
    write_json(folder / "model.json", record)
    return ModelInfo(**record)


def folder_of(*, weights: Path, model: Path) -> Path:
    """The model folder that a command's two outputs make up. Raises InputError where they do not."""
    if model.name != "model.json" or weights != model.parent / "weights.safetensors":
        raise InputError("--model and --weights must be model.json and weights.safetensors of one folder")
    return model.parent


def read_model(folder: str | Path) -> tuple[nn.Module, ModelInfo]:
    """The network in evaluation mode, on the CPU, and what is known of it.

    Raises InputError where the weights are damaged, do not fit the network, or lack model.json's digest.
    """
    state, info = read_weights(folder)
    model = build(info.net, info.arguments)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(
            f"{folder} does not hold the weights of {info.net} {info.arguments}: {error}"
        ) from error
    return model.eval(), info


def read_weights(folder: str | Path) -> tuple[dict[str, torch.Tensor], ModelInfo]:
    """Tensors by name, on the CPU, and what is known of them. Raises InputError as read_model."""
    folder = Path(folder)
    record = read_json(folder / "model.json")
    known = {key: record[key] for key in ModelInfo.__dataclass_fields__ if key in record}
    try:
        info = ModelInfo(**{key: tuple(v) if isinstance(v, list) else v for key, v in known.items()})
    except TypeError as error:
        raise InputError(
            f"{folder}/model.json is incomplete ({error}); rerun the stage that made it"
        ) from None
    weights = folder / "weights.safetensors"
    if info.weights_digest and file_digest(weights) != info.weights_digest:
        raise InputError(f"{weights} is not the file that model.json names; rerun the stage that made it")
    try:
        return load_file(weights), info
    except SafetensorError as error:
        raise InputError(f"{weights} is no safetensors file: {error}") from error
