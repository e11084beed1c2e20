"""Language-model folders: as transformers writes them (config.json, *.safetensors, tokenizer.json) and model.json."""

import os
import warnings
from pathlib import Path
from typing import Any

from stages.lib.core.artifacts import file_digest, read_json, value_digest, write_json
from stages.lib.core.errors import InputError

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a folder is all that is read; nothing is looked up elsewhere
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def read_language_model(folder: str | Path) -> tuple[Any, Any]:
    """Model (float32, evaluation mode) and tokenizer. Raises InputError where the folder does not hold both."""
    # an import takes seconds, which a command that only checks its arguments should not pay
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} holds no language model: there is no config.json in it")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = AutoModelForCausalLM.from_pretrained(
                folder, dtype="float32", use_safetensors=True, local_files_only=True
            )
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder} cannot be read as a language model: {str(error).splitlines()[0]}"
        ) from None
    return model.eval(), tokenizer


def write_language_model(folder: str | Path, model: Any, tokenizer: Any, record: dict[str, Any]) -> None:
    """Write all files, model.json last, so that it stands for the whole."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_json(folder / "model.json", record)


def language_model_record(folder: str | Path) -> dict[str, Any]:
    return dict(read_json(Path(folder) / "model.json"))


def weights_digest(folder: str | Path) -> str:
    """Content digest of all weight files together."""
    return value_digest([file_digest(path) for path in sorted(Path(folder).glob("*.safetensors"))])
