"""Bytes from outside: checksums, and archives that are read without being unpacked to disk."""

import hashlib
import io
import pickle
import tarfile
import zipfile
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, BinaryIO

from stages.lib.core.errors import InputError

# far above any set here; a file that claims more is a bomb
MEMBER_LIMIT_BYTES = 4 * 2**30


def check_file(path: Path, checksum: str) -> None:
    """Raise InputError unless the file's bytes have the checksum ("sha256:..." or "md5:...")."""
    name, _, wanted = checksum.partition(":")
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, name).hexdigest()
    # some homes publish just the first digits of a sha256, in the file's name
    if not found.startswith(wanted):
        raise InputError(
            f"{path} is damaged or not the expected file (its {name} is {found[:16]}..., wanted {wanted[:16]}...);"
            " delete it and run the same command again"
        )


def tar_members(file: BinaryIO, suffixes: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Base name and content of the regular files of a tar whose names end with one of `suffixes`.

    Nothing is written to disk, so that no path in the archive can lead anywhere; links are passed over.
    """
    for name, content in _tar_paths(file, suffixes):
        yield Path(name).name, content


def zip_members(path: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Full name and content of the members of a zip whose names end with one of `suffixes`; likewise in memory."""
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if not member.is_dir() and member.filename.endswith(suffixes):
                _check_size(member.filename, member.file_size)
                with archive.open(member) as file:
                    # the directory's size may lie: read one byte more than it says, and no more
                    content = file.read(member.file_size + 1)
                if len(content) != member.file_size:
                    raise InputError(
                        f"{path}: {member.filename} is larger than the archive says; do not trust it"
                    )
                yield member.filename, content


def archive_members(path: Path, patterns: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Full name and content of the members of a zip, wheel or tar that match one of `patterns`, where * crosses "/".

    Raises InputError where a member's name leads out of the archive.
    """
    if zipfile.is_zipfile(path):
        yield from _matching(path, zip_members(path, ("",)), patterns)
    else:
        with open(path, "rb") as file:
            yield from _matching(path, _tar_paths(file, ("",)), patterns)


class ArrayUnpickler(pickle.Unpickler):
    """Reads pickles that hold dicts, lists, text, bytes and numpy arrays, and refuses everything else.

    The canonical CIFAR archives are such pickles. A pickle that names any other callable is refused before
    anything is called.
    """

    ALLOWED = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise InputError(
                f"the pickle names {module}.{name}, which data never need; do not trust this file"
            )
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def load_arrays(content: bytes) -> Any:
    """The value of a pickle of plain data; bytes keys become text."""
    try:
        value = ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
    except InputError:
        raise
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise InputError(
            f"a pickle in the archive is damaged ({type(error).__name__}); fetch it again"
        ) from None
    return {k.decode() if isinstance(k, bytes) else k: v for k, v in value.items()}


def _tar_paths(file: BinaryIO, suffixes: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=file, mode="r|*") as archive:
        for member in archive:
            if member.isfile() and member.name.endswith(suffixes):
                _check_size(member.name, member.size)
                content = archive.extractfile(member)
                assert content is not None  # a regular file has content
                yield member.name, content.read()


def _matching(
    path: Path, members: Iterator[tuple[str, bytes]], patterns: tuple[str, ...]
) -> Iterator[tuple[str, bytes]]:
    for name, content in members:
        if name.startswith("/") or ".." in name.split("/"):
            raise InputError(f"{path}: {name} leads out of the archive; do not trust this file")
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            yield name, content


def _check_size(name: str, size_bytes: int) -> None:
    if size_bytes > MEMBER_LIMIT_BYTES:
        raise InputError(f"{name} in the archive claims {size_bytes} bytes; do not trust this file")
