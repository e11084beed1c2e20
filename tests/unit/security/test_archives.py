"""Hostile archives, as a package registry or a mirror could give them: one sentence, and nothing is written anywhere."""

import io
import tarfile
import zipfile

import pytest

from stages.datasets import files
from stages.datasets.config import DatasetEntry, Source, SplitEntry
from stages.datasets.files import archive_members, gzip_content, tar_members, zip_members
from stages.datasets.sources import fetch
from stages.lib.core.errors import InputError

MIB = 2**20
WANTED = "wanted.txt"


@pytest.fixture(autouse=True)
def small_limits(monkeypatch):
    """The limits of these tests, so that their bombs are small."""
    monkeypatch.setattr(files, "LIMIT_BYTES", MIB)
    monkeypatch.setattr(files, "LIMIT_MEMBERS", 100)


def tar_of(*members: tarfile.TarInfo, mode: str = "w:gz") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(bytes(member.size)) if member.isreg() else None)
    return file.getvalue()


def entry(name: str, size: int = 4, kind: bytes = tarfile.REGTYPE, **more) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    for key, value in more.items():
        setattr(member, key, value)
    return member


def sparse(name: str, size: int) -> tarfile.TarInfo:
    """A file of one hole: no byte of it stands in the archive."""
    return entry(name, 0, pax_headers={"GNU.sparse.map": "0,0", "GNU.sparse.size": str(size)})


def zip_of(*sizes: int, name: str = WANTED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, size in enumerate(sizes):
            archive.writestr(f"{number}/{name}", bytes(size))
    return file.getvalue()


def patched(content: bytes, signature: bytes, offset: int, value: bytes) -> bytes:
    """The archive with other bytes behind a record's signature."""
    at = content.index(signature) + offset
    return content[:at] + value + content[at + len(value) :]


LOCAL, CENTRAL = b"PK\x03\x04", b"PK\x01\x02"
# archive -> what its sentence says; each is a few kilobytes
TARS = {
    "gzip bomb": (lambda: tar_of(entry(WANTED, 8 * MIB)), "unpacks to more"),
    "xz bomb": (lambda: tar_of(entry(WANTED, 8 * MIB), mode="w:xz"), "unpacks to more"),
    "bzip2 bomb": (lambda: tar_of(entry(WANTED, 8 * MIB), mode="w:bz2"), "unpacks to more"),
    "bomb in what is passed over": (
        lambda: tar_of(entry("other", 8 * MIB), entry(WANTED)),
        "unpacks to more",
    ),
    "bomb in parts": (lambda: tar_of(*[entry(WANTED, MIB // 10)] * 20), "unpacks to more"),
    "bomb in a header": (lambda: tar_of(entry("x" * 8 * MIB)), "unpacks to more"),
    "holes": (lambda: tar_of(sparse(WANTED, 2**40)), "unpacks to more"),
    "holes in parts": (lambda: tar_of(*[sparse(WANTED, MIB // 10)] * 20), "unpacks to more"),
    "many members": (lambda: tar_of(*[entry(f"{n}", 0) for n in range(200)], mode="w:xz"), "unpacks to more"),
    "size below zero": (lambda: negative_size(), "is damaged"),
    "cut gzip": (lambda: tar_of(entry(WANTED, 1000))[:60], "is damaged"),
    "cut bzip2": (lambda: tar_of(entry(WANTED, 1000), mode="w:bz2")[:60], "is damaged"),
    "spoiled bzip2": (lambda: b"BZh9" + bytes(60), "is damaged"),
    "spoiled xz": (lambda: b"\xfd7zXZ\x00" + bytes(60), "is damaged"),
    "junk": (lambda: b"junk" * 200, "is damaged"),
    "nothing": (lambda: b"", "is damaged"),
}
ZIPS = {
    "bomb": (lambda: zip_of(8 * MIB), "unpacks to more"),
    "bomb in parts": (lambda: zip_of(*[MIB // 10] * 20), "unpacks to more"),
    "many members": (lambda: zip_of(*[0] * 200), "unpacks to more"),
    "larger than it says": (
        lambda: patched(zip_of(5000), CENTRAL, 24, bytes([1, 0, 0, 0])),
        "larger than|damaged",
    ),
    "password": (lambda: patched(patched(zip_of(9), LOCAL, 6, b"\x01"), CENTRAL, 8, b"\x01"), "is damaged"),
    "unknown compression": (
        lambda: patched(patched(zip_of(9), LOCAL, 8, b"\x63"), CENTRAL, 10, b"\x63"),
        "is damaged",
    ),
    "spoiled": (lambda: patched(zip_of(5000), LOCAL, 30 + len("0/" + WANTED), b"\xff\xff\xff"), "is damaged"),
    "cut": (lambda: zip_of(5000)[:-10], "is damaged"),
}


def negative_size() -> bytes:
    content = bytearray(tar_of(entry(WANTED), mode="w"))
    content[124:136] = b"\xff" * 12  # the size, in base 256: -1
    content[148:156] = b" " * 8
    content[148:156] = f"{sum(content[:512]):06o}\0 ".encode()
    return bytes(content)


@pytest.mark.parametrize("name", TARS)
def test_a_hostile_tar_is_one_sentence(tmp_path, name):
    make, sentence = TARS[name]
    path = tmp_path / "a.tar"
    path.write_bytes(make())
    assert path.stat().st_size < MIB / 2
    with open(path, "rb") as file, pytest.raises(InputError, match=rf"^a\.tar .*({sentence})[^\n]*$"):
        list(tar_members(file, (WANTED,)))


@pytest.mark.parametrize("name", ZIPS)
def test_a_hostile_zip_is_one_sentence(tmp_path, name):
    make, sentence = ZIPS[name]
    path = tmp_path / "a.zip"
    path.write_bytes(make())
    assert path.stat().st_size < MIB / 2
    with pytest.raises(InputError, match=rf"a\.zip.*({sentence})[^\n]*$"):
        list(zip_members(path, (WANTED,)))


def test_a_hostile_gzip_is_one_sentence(tmp_path):
    path = tmp_path / "a.gz"
    for content in (tar_of(entry("x", 8 * MIB)), tar_of(entry("x"))[:30], b"junk", b""):
        path.write_bytes(content)
        if content:
            with pytest.raises(InputError, match=r"a\.gz"):
                gzip_content(path)


@pytest.mark.parametrize(
    "member",
    [
        entry("../../wanted.txt"),
        entry("/wanted.txt"),
        entry("a/../../wanted.txt"),
        entry(WANTED, 0, tarfile.SYMTYPE, linkname="../../etc/passwd"),
        entry(WANTED, 0, tarfile.LNKTYPE, linkname="/etc/passwd"),
        entry(WANTED, 0, tarfile.CHRTYPE, devmajor=1, devminor=5),
        entry(WANTED, 0, tarfile.BLKTYPE),
        entry(WANTED, 0, tarfile.FIFOTYPE),
        entry(WANTED, 0, tarfile.DIRTYPE),
    ],
    ids=lambda member: f"{member.name}-{member.type.decode()}",
)
def test_no_member_leads_out(tmp_path, member):
    """A link, a device or a folder has no content; a path is a base name, or refused where paths count."""
    path = tmp_path / "a.tar"
    path.write_bytes(tar_of(member))
    with open(path, "rb") as file:
        assert list(tar_members(file, (WANTED,))) == ([(WANTED, bytes(4))] if member.isreg() else [])
    if member.isreg():
        with pytest.raises(InputError, match="leads out of the archive"):
            list(archive_members(path, ("*",)))
    else:
        assert list(archive_members(path, ("*",))) == []


NPM = """#!/bin/sh
case "$1" in
view) echo 1.0.0 ;;
pack) cp {package} package-1.0.0.tgz ;;
esac
"""


@pytest.mark.parametrize("make", [make for make, _ in TARS.values()], ids=list(TARS))
def test_a_hostile_package_leaves_nothing_behind(tmp_path, monkeypatch, make):
    """Through the real fetching code, with a stand-in for npm."""
    package, npm = tmp_path / "package.tgz", tmp_path / "npm"
    package.write_bytes(make())
    npm.write_text(NPM.format(package=package))
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    before = set(tmp_path.rglob("*"))
    source = Source(kind="npm", reader="text", location="package@1.0.0", files={WANTED: "sha256:" + "0" * 64})
    wanted = DatasetEntry(title="Set", kind="text", licence="", citation="", redistribute=True, sources=(source,),
                          splits={"train": SplitEntry(n=1)})  # fmt: skip
    with pytest.raises(InputError, match=r"^Set: no source answers \(npm package package@1\.0\.0: [^\n]*$"):
        fetch(wanted, tmp_path / "raw")
    assert set(tmp_path.rglob("*")) - before == {tmp_path / "raw"}
