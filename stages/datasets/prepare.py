"""From raw files to the prepared form: one order and one digest, whatever the source."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from stages.datasets import readers
from stages.datasets.config import DatasetEntry, Source
from stages.datasets.sources import NoAnswer, check_files, described, folder_of
from stages.lib.core.artifacts import read_json, value_digest
from stages.lib.core.commands import from_json
from stages.lib.core.errors import InputError
from stages.lib.core.prepared import ImageSplit, SplitInfo, content_digest, image_digests


def manifest_of(name: str, source: Source) -> dict[str, Any]:
    """What source.json says: which source was taken, its files and their checksums."""
    return {"name": name, "source": dataclasses.asdict(source), "digest": value_digest(source.files)}


def read_manifest(path: Path) -> tuple[str, Source, Path]:
    """Name, source and folder of raw files, each checked against its checksum."""
    record = read_json(path)
    source = from_json(Source, json.dumps(record.get("source")), where=f"{path}: source")
    try:
        folder = folder_of(source, path.parent)
    except NoAnswer as reason:
        raise InputError(f"{described(source)}, where {record['name']} was found: {reason}") from None
    check_files(source, folder)
    return record["name"], source, folder


def split_record(name: str, entry: DatasetEntry, split: str, *, digest: str, n: int) -> dict[str, Any]:
    """What the JSON beside a prepared text or table says; InputError where the content is not the registry's."""
    if split not in entry.splits:
        raise InputError(f"{name} has no split {split!r}; it has {', '.join(entry.splits)}")
    wanted = entry.splits[split]
    if n != wanted.n or (wanted.digest and digest != wanted.digest):
        raise InputError(
            f"{name}/{split} holds {n} rows of digest {digest[:16]}..., wanted {wanted.n} of"
            f" {wanted.digest[:16]}...; fetch it again"
        )
    return {
        "dataset": name,
        "split": split,
        "digest": digest,
        "n": n,
        "classes": list(entry.classes),
        "licence": entry.licence,
        "citation": entry.citation,
        "redistribute": entry.redistribute,
    }


def prepare_split(name: str, entry: DatasetEntry, split: str, source: Source, folder: Path) -> ImageSplit:
    """One split, rows sorted by digest. Raises InputError where the content is not what the registry says."""
    if split not in entry.splits:
        raise InputError(f"{name} has no split {split!r}; it has {', '.join(entry.splits)}")
    read = getattr(readers, source.reader, None)
    if read is None:
        raise InputError(f"{name}: there is no reader {source.reader!r} in stages/datasets/readers.py")
    images, labels = read(folder, split, source.options)
    digests = image_digests(images, labels)
    order = np.argsort(np.array(digests), kind="stable")
    digest, wanted = content_digest(digests), entry.splits[split]
    if wanted.digest and (digest != wanted.digest or len(images) != wanted.n):
        raise InputError(
            f"{name}/{split} holds {len(images)} images of digest {digest[:16]}..., wanted {wanted.n} of"
            f" {wanted.digest[:16]}...; the source {source.kind} has other content"
        )
    info = SplitInfo(
        dataset=name,
        split=split,
        classes=entry.classes or tuple(map(str, range(entry.class_count or int(labels.max()) + 1))),
        mean=entry.mean,
        std=entry.std,
        digest=digest,
        n=len(images),
        height=images.shape[1],
        width=images.shape[2],
        channels=images.shape[3],
        licence=entry.licence,
        citation=entry.citation,
        redistribute=entry.redistribute,
    )
    return ImageSplit(images=images[order], labels=labels[order], info=info)
