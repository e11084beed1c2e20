"""Readers: the raw files of one source -> images and labels of one split.

Each takes the folder of raw files, the split and the source's options, and returns images (n, height, width,
channels) uint8 and labels (n,) int64, in any order.
"""

import io
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from stages.datasets.files import gzip_content, load_arrays, tar_members, zip_members
from stages.lib.core.errors import InputError

Images = tuple[np.ndarray, np.ndarray]
PICTURES = (".jpeg", ".jpg", ".png")


def sklearn_digits(folder: Path, split: str, options: Mapping[str, str]) -> Images:
    """scikit-learn's 1,797 digits of 8 x 8, 0..16 scaled to 0..255; every fifth of a class is a test image."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = digits.target.astype(np.int64)
    rank = np.zeros(len(labels), dtype=int)
    for label in np.unique(labels):
        rank[labels == label] = np.arange((labels == label).sum())
    chosen = (rank % 5 == 4) == (split == "test")
    return images[chosen], labels[chosen]


def idx(folder: Path, split: str, options: Mapping[str, str]) -> Images:
    """The four gzip files of MNIST and Fashion-MNIST."""
    prefix = "train" if split == "train" else "t10k"
    images = _idx_array(folder / f"{prefix}-images-idx3-ubyte.gz")
    labels = _idx_array(folder / f"{prefix}-labels-idx1-ubyte.gz")
    return images[..., None], labels.astype(np.int64)


def cifar_parquet(folder: Path, split: str, options: Mapping[str, str]) -> Images:
    """A parquet with lossless images in `img` and labels in the column that `options["label"]` names."""
    table = pd.read_parquet(folder / f"{split}.parquet")
    return _decode(row["bytes"] for row in table["img"]), table[options["label"]].to_numpy(np.int64)


def cifar_pickles(folder: Path, split: str, options: Mapping[str, str]) -> Images:
    """The canonical archive: pickled batches of rows of 3,072 bytes, red, green and blue planes."""
    prefix = {"cifar10": {"train": "data_batch_", "test": "test_batch"}}.get(options["set"], {}).get(
        split, split
    )
    images, labels = [], []
    with open(folder / options["archive"], "rb") as file:
        for name, content in tar_members(file, suffixes=("",)):
            if name.startswith(prefix):
                try:
                    batch = load_arrays(content)
                    images.append(batch["data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
                    labels += batch[options["label"]]
                except InputError as error:
                    raise InputError(f"{folder / options['archive']}: {name}: {error}") from None
                except (AttributeError, KeyError, TypeError, ValueError):
                    raise InputError(
                        f"{folder / options['archive']}: {name} is no batch of images and labels; fetch it again"
                    ) from None
    if not images:
        raise InputError(f"{folder / options['archive']} holds no batch of the split {split}; fetch it again")
    return np.concatenate(images), np.array(labels, dtype=np.int64)


def tiny_imagenet_zip(folder: Path, split: str, options: Mapping[str, str]) -> Images:
    """tiny-imagenet-200.zip: 64 x 64 JPEGs; the labelled validation split is the test split here."""
    archive = folder / options["archive"]
    texts = {
        name: content.decode() for name, content in zip_members(archive, ("wnids.txt", "val_annotations.txt"))
    }
    ids = next(text for name, text in texts.items() if name.endswith("wnids.txt")).split()
    label_of = {wnid: label for label, wnid in enumerate(ids)}
    if split == "test":
        annotations = next(t for name, t in texts.items() if name.endswith("val_annotations.txt"))
        wnid_of = {line.split("\t")[0]: line.split("\t")[1] for line in annotations.splitlines()}
    encoded, labels = [], []
    for name, content in zip_members(archive, (".JPEG",)):
        parts = name.split("/")
        if split == "train" and parts[1] == "train":
            labels.append(label_of[parts[2]])
        elif split == "test" and parts[1] == "val":
            labels.append(label_of[wnid_of[parts[-1]]])
        else:
            continue
        encoded.append(content)
    return _decode(encoded), np.array(labels, dtype=np.int64)


def image_parquet(folder: Path, split: str, options: Mapping[str, str]) -> Images:
    """A parquet with encoded images of one size in `image` and labels in `label`.

    options  crop: keep a centre square of so many pixels. train_classes: for a set without splits, "5" puts the
             images of every fifth class that occurs into the training split and the others into the test split.
    """
    table = pd.read_parquet(folder / options["file"])
    if "train_classes" in options:
        rank = table["label"].rank(method="dense").astype(int)
        table = table[(rank % int(options["train_classes"]) == 0) == (split == "train")]
    images = _decode(row["bytes"] for row in table["image"])
    if "crop" in options:
        crop = int(options["crop"])
        top, left = (images.shape[1] - crop) // 2, (images.shape[2] - crop) // 2
        images = images[:, top : top + crop, left : left + crop]
    return images, table["label"].to_numpy(np.int64)


def image_folder(folder: Path, split: str, options: Mapping[str, str]) -> Images:
    """ImageNet's layout, SPLIT/CLASS/*.JPEG (or .jpg, .png): short side to `resize` pixels, centre crop of `crop` pixels.

    Labels are the ranks of the class folders in alphabetical order, as everywhere for ImageNet.
    """
    root = folder / options.get(split, split)
    classes = sorted(p.name for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
    if not classes:
        raise InputError(
            f"{root} has no class folders; point {options['variable']} at the folder that holds them"
        )
    files = [
        (file, label)
        for label, name in enumerate(classes)
        for file in sorted((root / name).iterdir())
        if file.suffix.lower() in PICTURES
    ]
    if not files:
        raise InputError(f"the class folders in {root} hold no picture ({', '.join(PICTURES)})")
    resize, crop = int(options["resize"]), int(options["crop"])
    with ThreadPoolExecutor(2) as pool:
        images = list(pool.map(lambda item: _resized(item[0], resize, crop), files))
    return np.stack(images), np.array([label for _, label in files], dtype=np.int64)


def _resized(file: Path, resize: int, crop: int) -> np.ndarray:
    image = Image.open(file).convert("RGB")
    scale = resize / min(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = (image.width - crop) // 2, (image.height - crop) // 2
    return np.asarray(image.crop((left, top, left + crop, top + crop)))


def _decode(encoded: Iterable[bytes]) -> np.ndarray:
    """(n, height, width, 3) uint8 of encoded images of one size; decoding leaves Python's lock, so threads help."""
    with ThreadPoolExecutor(2) as pool:
        return np.stack(list(pool.map(_picture, encoded)))


def _picture(encoded: bytes) -> np.ndarray:
    try:
        return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
    except (OSError, Image.DecompressionBombError) as error:
        raise InputError(f"a picture of the set cannot be read ({error}); fetch it again") from None


def _idx_array(file: Path) -> np.ndarray:
    content = gzip_content(file)
    if len(content) < 4 or len(content) < 4 + 4 * content[3]:
        raise InputError(f"{file} is too short for an IDX file; fetch it again")
    dimensions = content[3]
    shape = np.frombuffer(content, ">i4", dimensions, offset=4)
    if len(content) != 4 + 4 * dimensions + int(np.prod(shape)):
        raise InputError(f"{file} does not hold the {shape.tolist()} bytes that it announces; fetch it again")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
