"""Turn pretrained weights into a model folder.

python -m stages.datasets.prepare_pretrained --name resnet20-cifar10 --entry '{...}'
    --manifest data/raw/resnet20-cifar10/source.json --weights OUT/weights.safetensors --model OUT/model.json
"""

import argparse
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from stages.datasets.config import PretrainedEntry, Source
from stages.datasets.prepare import read_manifest
from stages.datasets.pretrained_states import NAMES
from stages.lib.core.commands import from_json
from stages.lib.core.errors import InputError, run
from stages.lib.nets.build import build
from stages.lib.nets.model_folder import ModelInfo, folder_of, write_model


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    folder = folder_of(weights=args.weights, model=args.model)
    entry = from_json(PretrainedEntry, args.entry, where="--entry")
    _, source, raw = read_manifest(args.manifest)
    model = build(entry.net, entry.arguments)
    try:
        model.load_state_dict(read_state(source, raw))
    except RuntimeError as error:
        raise InputError(f"the weights of {args.name} do not fit {entry.net}: {str(error)[:200]}") from None
    info = ModelInfo(
        net=entry.net,
        arguments=dict(entry.arguments),
        mean=entry.mean,
        std=entry.std,
        classes=entry.classes or tuple(map(str, range(entry.arguments["classes"]))),
        dataset=entry.dataset,
        recipe={
            "pretrained": entry.title,
            "recorded_top1": entry.recorded_top1,
            "caveat": entry.caveat,
            "citation": entry.citation,
        },
    )
    write_model(folder, model, info)


def read_state(source: Source, raw: Path) -> dict[str, torch.Tensor]:
    """The state dict, under our names, in a safetensors file or a torch archive."""
    if source.reader not in _READERS:
        raise InputError(f"there is no reader {source.reader!r} of weights; use {' or '.join(_READERS)}")
    state = _READERS[source.reader](raw / next(iter(source.files)))
    names = source.options.get("names")
    if names is None:
        return state
    if names not in NAMES:
        raise InputError(f"options.names is {names!r}: choose one of {', '.join(NAMES)}")
    return {NAMES[names](name): tensor for name, tensor in state.items()}


def _safetensors_state(file: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(file)
    except SafetensorError as error:
        raise InputError(f"{file} is not a safetensors file ({error})") from None


def _torch_state(file: Path) -> dict[str, torch.Tensor]:
    """A torch archive of plain weights, read without running anything."""
    try:
        archive = torch.load(file, weights_only=True, map_location="cpu")
        state = archive.get("state_dict", archive)
        # checkpoints saved from several GPUs carry a prefix
        return {name.removeprefix("module."): tensor for name, tensor in state.items()}
    except Exception as error:  # a damaged archive can raise nearly anything
        raise InputError(f"{file} is not a torch archive of plain weights ({type(error).__name__})") from None


_READERS = {"safetensors_state": _safetensors_state, "torch_state": _torch_state}


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="prepare_pretrained", description=__doc__.splitlines()[0])
    parser.add_argument("--name", required=True)
    parser.add_argument("--entry", required=True, help="entry of config/datasets.yaml as JSON")
    parser.add_argument("--manifest", type=Path, required=True, help="source.json of fetch_dataset")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
