"""Checkpoints of long training: a killed job goes on from the last one, a damaged one is passed over."""

import pickle
from pathlib import Path
from typing import Any

import torch

from stages.lib.core.artifacts import atomic_path, file_digest, write_text
from stages.lib.core.errors import InputError

KEPT = 2  # the one before the newest is there for the case that the newest is damaged


def save_checkpoint(folder: str | Path, step: int, state: dict[str, Any]) -> None:
    """Write `step`'s state with its digest beside it, and drop all but the newest two."""
    folder = Path(folder)
    file = folder / f"{step:08d}.pt"
    with atomic_path(file) as temporary:
        torch.save(state, temporary)
        digest = file_digest(temporary)
    write_text(file.with_suffix(".sha256"), digest)
    for old in sorted(folder.glob("*.pt"))[:-KEPT]:
        old.unlink()
        old.with_suffix(".sha256").unlink(missing_ok=True)


def load_checkpoint(folder: str | Path) -> tuple[int, dict[str, Any]] | None:
    """Step and state of the newest checkpoint whose bytes are those that were written, or None."""
    for file in sorted(Path(folder).glob("*.pt"), reverse=True):
        digest = file.with_suffix(".sha256")
        # bytes: a damaged digest need not be text
        if digest.is_file() and digest.read_bytes() == file_digest(file).encode():
            try:
                # weights_only: tensors and plain values; nothing in the file is executed
                return int(file.stem), torch.load(file, weights_only=True, map_location="cpu")
            except pickle.UnpicklingError:
                raise InputError(
                    f"{file} holds more than weights; do not trust it, delete {folder} and run again"
                ) from None
    return None
