"""Quantised model folders: codes of weights and their scales instead of float weights.

    weights.safetensors  of each quantised layer NAME: `NAME.codes` uint8 (one code a byte, in the weight's shape),
                         `NAME.weight_scale`, `NAME.activation_scale` and, where there is one, `NAME.input_multiplier`
                         float32; every other parameter and buffer of the prepared network (biases, norms, tokens)
    formats.json         how to read them: formats of each layer, the technique, and the bits that packed codes take
    model.json           as in every model folder; parent_digest names the float network

The weight is value(code) * scale in float32. Codes are those of stages.lib.numerics.decode.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from stages.lib.core.artifacts import read_json, write_json
from stages.lib.core.errors import InputError
from stages.lib.nets.build import build
from stages.lib.nets.graph import set_module_
from stages.lib.nets.model_folder import ModelInfo, read_weights, write_weights
from stages.lib.numerics.decode import decode_table, encode
from stages.lib.numerics.formats import Format, parse_format
from stages.lib.numerics.torch_quantisers import round_to_format
from stages.lib.numerics.torch_scales import merge_groups, split_groups
from stages.quantization.config import Technique
from stages.quantization.equalisation import ChannelReLU6
from stages.quantization.network import QuantisedLayer, layers, prepare

LAYOUT = 1  # of the folder; a reader refuses others
SCALE_BITS = 32


def write_quantised(
    folder: str | Path,
    prepared: fx.GraphModule,
    info: ModelInfo,
    *,
    technique: Technique,
    recipe: dict[str, Any],
) -> ModelInfo:
    """Write a quantised network; returns the info that model.json holds.

    info    of the float network that it was made from
    recipe  every setting that changed the weights, for model.json
    Raises InputError where a layer's format has no name to be found again by (another bias or largest value).
    """
    folder = Path(folder)
    state = {name: tensor.detach().contiguous().cpu() for name, tensor in prepared.state_dict().items()}
    records = {}
    for name, layer in layers(prepared).items():
        records[name] = _layer_record(name, layer, technique)
        state |= _layer_tensors(name, layer, group=records[name]["weight_group"])
        if layer.weight_format is not None:
            del state[f"{name}.layer.weight"]
    info = replace(info, parent_digest=info.weights_digest, recipe=recipe)
    info = write_weights(folder, state, info)
    clips = {n: m.cap.shape[1] for n, m in prepared.named_modules() if isinstance(m, ChannelReLU6)}
    write_json(
        folder / "formats.json",
        {
            "layout": LAYOUT,
            "weights_digest": info.weights_digest,
            "technique": asdict(technique),
            "layers": records,
            "channel_clips": clips,
            "packed_bits": sum(record["packed_bits"] for record in records.values()),
        },
    )
    return info


def read_quantised(folder: str | Path) -> tuple[fx.GraphModule, ModelInfo]:
    """The prepared network on the CPU, bit for bit the one that was written, and what is known of it.

    The float weights are not in the folder: `restore_` gives the rounded ones. Raises InputError where the folder is
    not a quantised one, is damaged, or does not fit its network.
    """
    folder = Path(folder)
    state, info = read_weights(folder)
    formats = _read_formats(folder, info)
    try:
        prepared = prepare(build(info.net, info.arguments))
        _fill_(prepared, state, formats)
    except (KeyError, AttributeError, TypeError, RuntimeError) as error:
        raise InputError(
            f"{folder} does not hold a quantised {info.net} {info.arguments} ({_first_line(error)}); export it again"
        ) from error
    return prepared, info


def _layer_record(name: str, layer: QuantisedLayer, technique: Technique) -> dict[str, Any]:
    """What formats.json says of a layer; packed_bits: codes without padding, and scales."""
    for format in (layer.weight_format, layer.activation_format):
        if format is not None and parse_format(format.name) != format:
            raise InputError(
                f"layer {name}: {format.name} has a bias or a largest value of its own, which a folder does not hold;"
                " put the power of two into the scale, or choose a format that its name describes"
            )
    weight, grouped = layer.layer.weight, technique.granularity in ("per_group", "mx")
    bits = 32 if layer.weight_format is None else layer.weight_format.bits
    group = technique.group if grouped and layer.weight_format is not None else 0
    return {
        "weight_format": _name(layer.weight_format),
        "activation_format": _name(layer.activation_format),
        "weight_group": group,
        "activation_group": layer.activation_group,
        "packed_bits": bits * weight.numel()
        + SCALE_BITS * _compact(layer.weight_scale, weight, group).numel(),
    }


def _layer_tensors(name: str, layer: QuantisedLayer, *, group: int) -> dict[str, Tensor]:
    found = {f"{name}.activation_scale": layer.activation_scale}
    if layer.input_multiplier is not None:
        found[f"{name}.input_multiplier"] = layer.input_multiplier
    if layer.weight_format is not None:
        found[f"{name}.codes"] = torch.from_numpy(weight_codes(layer))
        found[f"{name}.weight_scale"] = _compact(layer.weight_scale, layer.layer.weight, group)
    return {key: tensor.detach().contiguous().cpu() for key, tensor in found.items()}


def weight_codes(layer: QuantisedLayer) -> np.ndarray:
    """Codes (uint8) of a layer's weight, in its shape."""
    assert layer.weight_format is not None  # a float layer has no codes
    weight, scale = layer.layer.weight.detach(), layer.weight_scale
    values = round_to_format((weight / scale).contiguous(), layer.weight_format)
    assert torch.equal(values * scale, weight)  # every technique leaves value * scale
    return encode(values.cpu().numpy(), layer.weight_format)


def _compact(scale: Tensor, weight: Tensor, group: int) -> Tensor:
    """The scale as it is, or (R,) one a group."""
    return split_groups(scale.expand_as(weight), group=group)[:, 0] if group else scale


def _expanded(scale: Tensor, shape: torch.Size, group: int) -> Tensor:
    """What _compact was given."""
    if not group:
        return scale
    size = split_groups(torch.empty(shape), group=group).shape[1]
    return merge_groups(scale[:, None].expand(-1, size), shape)


def _read_formats(folder: Path, info: ModelInfo) -> dict[str, Any]:
    """formats.json. Raises InputError where it is missing, unknown or of another network than model.json."""
    if not (folder / "formats.json").exists():
        raise InputError(
            f"{folder} is no quantised model folder: it has no formats.json; give a folder that export_model wrote"
        )
    formats = read_json(folder / "formats.json")
    if not isinstance(formats, dict) or formats.get("layout") != LAYOUT:
        raise InputError(
            f"{folder}/formats.json is not of layout {LAYOUT}, which this version reads; export the network again"
        )
    if formats.get("weights_digest") != info.weights_digest:
        raise InputError(f"{folder}: formats.json and model.json are of different networks; export it again")
    return formats


@torch.no_grad()
def _fill_(prepared: fx.GraphModule, state: dict[str, Tensor], formats: Mapping[str, Any]) -> None:
    """Put what was stored into a network with random weights."""
    for name, channels in formats["channel_clips"].items():
        set_module_(prepared, name, ChannelReLU6(channels))
    found, records = layers(prepared), formats["layers"]
    if list(found) != list(records) and set(found) != set(records):
        raise KeyError(f"its layers are {', '.join(found)}, and formats.json has {', '.join(records)}")
    for name, layer in found.items():
        record = records[name]
        layer.weight_format, layer.activation_format = (
            None if record[key] is None else parse_format(record[key])
            for key in ("weight_format", "activation_format")
        )
        layer.activation_group = int(record["activation_group"])
        layer.activation_scale = state.pop(f"{name}.activation_scale")
        layer.input_multiplier = state.pop(f"{name}.input_multiplier", None)
        if layer.weight_format is not None:
            shape = layer.layer.weight.shape
            layer.weight_scale = _expanded(
                state.pop(f"{name}.weight_scale"), shape, int(record["weight_group"])
            )
            values = _decoded(state.pop(f"{name}.codes"), layer.weight_format, name)
            state[f"{name}.layer.weight"] = values * layer.weight_scale
        if f"{name}.layer.bias" in state and layer.layer.bias is None:
            # bias correction gave the layer one
            layer.layer.bias = nn.Parameter(torch.zeros(len(layer.layer.weight)), requires_grad=False)
    prepared.load_state_dict(state)
    for layer in found.values():
        layer.float_weight = layer.layer.weight.clone()
        layer.float_bias = None if layer.layer.bias is None else layer.layer.bias.clone()


def _decoded(codes: Tensor, format: Format, name: str) -> Tensor:
    """float32 values of codes. Raises InputError at a code that stands for no value."""
    table = decode_table(format)
    wrong = (codes.numpy() >= len(table)) | np.isnan(table[np.minimum(codes.numpy(), len(table) - 1)])
    if codes.dtype != torch.uint8 or wrong.any():
        raise InputError(f"layer {name} has codes that are none of {format.name}; export the network again")
    return torch.from_numpy(table[codes.numpy()].astype(np.float32))


def _name(format: Format | None) -> str | None:
    return None if format is None else format.name


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
