"""Turn a pretrained language model into a folder as transformers writes it, float32 in safetensors.

python -m stages.datasets.prepare_language_model --entry '{...}' --manifest data/raw/smollm2-135m/source.json
    --model OUT/model.json

A GGUF file is unpacked once; the files of a user's own folder are linked, not copied.
"""

import argparse
import warnings
from pathlib import Path
from typing import Any

from stages.datasets.config import LanguageModelEntry
from stages.datasets.prepare import read_manifest
from stages.lib.core.artifacts import write_json
from stages.lib.core.commands import from_json
from stages.lib.core.errors import InputError, run
from stages.lib.nets.language_folder import read_language_model, write_language_model

LINKED = ("*.safetensors", "*.safetensors.index.json", "*.json", "tokenizer.model", "merges.txt", "vocab.txt")


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    entry = from_json(LanguageModelEntry, args.entry, where="--entry")
    name, source, raw = read_manifest(args.manifest)
    record = {"name": name, "title": entry.title, "caveat": entry.caveat, "citation": entry.citation}
    folder = args.model.parent
    if source.reader == "gguf":
        model, tokenizer = read_gguf(raw / next(iter(source.files)))
        write_language_model(folder, model, tokenizer, record)
    elif source.reader == "transformers":
        link_files(raw, folder)
        read_language_model(folder)
        write_json(args.model, record)
    else:
        raise InputError(f"there is no reader {source.reader!r} of language models; use gguf or transformers")


def read_gguf(file: Path) -> tuple[Any, Any]:
    """Model in float32 and tokenizer of a GGUF file."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
            packed = AutoModelForCausalLM.from_pretrained(
                file.parent, gguf_file=file.name, dtype="float32", local_files_only=True
            )
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{file} cannot be read as a GGUF model: {str(error).splitlines()[0]}") from None
    # a plain twin: the loaded one remembers its file's format and refuses to be saved
    config = packed.config
    for key in ("quantization_config",):
        if hasattr(config, key):
            delattr(config, key)
    model = type(packed)(config)
    model.load_state_dict(packed.state_dict())
    model.tie_weights()
    return model.eval(), tokenizer


def link_files(source: Path, folder: Path) -> None:
    """Links in `folder` to the files of a model's folder; pickles stay where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    for pattern in LINKED:
        for file in source.glob(pattern):
            if file.name != "model.json":
                link = folder / file.name
                link.unlink(missing_ok=True)
                link.symlink_to(file.resolve())


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entry", required=True, help="entry of config/datasets.yaml as JSON")
    parser.add_argument("--manifest", type=Path, required=True, help="source.json of fetch_dataset")
    parser.add_argument("--model", type=Path, required=True, help="model.json to write, others beside it")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
