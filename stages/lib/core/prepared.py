"""Prepared image sets: the form that `stages.datasets` writes and every other stage reads.

A split is a folder `data/prepared/NAME/SPLIT` of images.npy, labels.npy and dataset.json. Rows are sorted
by the digest of pixels and label: the order is the same from whatever source a set came, and any prefix is
a random sample.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from stages.lib.core.artifacts import read_array, read_json, write_array, write_json
from stages.lib.core.errors import InputError


@dataclass(frozen=True, kw_only=True)
class SplitInfo:
    """What dataset.json says of a split.

    classes        names in label order
    mean, std      per channel, in units of 0..1 pixels, of the training split: for normalisation
    digest         sha256 over the sorted per-image digests: equal content, equal digest
    redistribute   False: neither the content nor a picture of it may be shared
    """

    dataset: str
    split: str
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    digest: str
    n: int
    height: int
    width: int
    channels: int
    licence: str
    citation: str
    redistribute: bool


@dataclass(frozen=True, kw_only=True)
class ImageSplit:
    """images (n, height, width, channels) uint8, labels (n,) int64, and what is known of them."""

    images: np.ndarray
    labels: np.ndarray
    info: SplitInfo

    def first(self, n: int) -> "ImageSplit":
        """The first n images: a random sample, since the order is by digest."""
        return ImageSplit(images=self.images[:n], labels=self.labels[:n], info=self.info)

    def of_classes(self, names: Sequence[str]) -> "ImageSplit":
        """The images of these classes alone, in their order. Raises InputError where a class is none of the set's."""
        if unknown := [name for name in names if name not in self.info.classes]:
            raise InputError(
                f"{self.info.dataset} has no class {unknown[0]!r}; choose from {', '.join(self.info.classes)}"
            )
        wanted = [self.info.classes.index(name) for name in names]
        rows = np.flatnonzero(np.isin(self.labels, wanted))
        return ImageSplit(images=self.images[rows], labels=self.labels[rows], info=self.info)


def read_images(folder: str | Path) -> ImageSplit:
    """A prepared split. Raises InputError where the folder is not one."""
    folder = Path(folder)
    record = read_json(folder / "dataset.json")
    try:
        info = SplitInfo(**{key: _tuple(record[key]) for key in SplitInfo.__dataclass_fields__})
    except KeyError as missing:
        raise InputError(
            f"{folder}/dataset.json lacks {missing}; delete the folder and prepare the set again"
        ) from None
    images, labels = read_array(folder / "images.npy", mmap=True), read_array(folder / "labels.npy")
    if images.shape != (info.n, info.height, info.width, info.channels) or labels.shape != (info.n,):
        raise InputError(
            f"{folder}: the arrays do not have the {info.n} images that dataset.json names; prepare it again"
        )
    return ImageSplit(images=images, labels=labels, info=info)


def write_images(folder: str | Path, split: ImageSplit) -> None:
    """Write images.npy, labels.npy, and dataset.json last, so that it stands for the whole."""
    folder = Path(folder)
    write_array(folder / "images.npy", split.images)
    write_array(folder / "labels.npy", split.labels)
    write_json(folder / "dataset.json", asdict(split.info))


def image_digests(images: np.ndarray, labels: np.ndarray) -> list[str]:
    """sha256 of each image's pixel bytes (height, width, channels) and its label, in hexadecimal.

    Where all labels are below 256 they take one byte, else two, little-endian.
    """
    width = 1 if labels.max(initial=0) < 256 else 2
    return [
        hashlib.sha256(image.tobytes() + int(label).to_bytes(width, "little")).hexdigest()
        for image, label in zip(images, labels, strict=True)
    ]


def content_digest(digests: list[str]) -> str:
    """Digest of a split from the digests of its images, independent of their order."""
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value
