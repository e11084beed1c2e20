"""Bytes from outside: checksums, and archives that are read without being unpacked to disk."""

import bz2
import gzip
import hashlib
import io
import lzma
import pickle
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Any

from stages.lib.core.errors import InputError

# above any set here, unpacked; an archive that holds more is a bomb
LIMIT_BYTES = 2 * 2**30
LIMIT_MEMBERS = 500_000
# what a damaged archive can raise; the last three: a name that is no text, an unknown compression, a password
_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError)
_DAMAGE += (UnicodeError, NotImplementedError, RuntimeError)


def check_file(path: Path, checksum: str, called: str = "") -> None:
    """Raise InputError unless the file's bytes have the checksum ("sha256:..." or "md5:...").

    called  the file's name in the sentence, where it is not its path
    """
    name, _, wanted = checksum.partition(":")
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, name).hexdigest()
    # some homes publish just the first digits of a sha256, in the file's name
    if not found.startswith(wanted):
        raise InputError(
            f"{called or path} is damaged or not the expected file (its {name} is {found[:16]}..., wanted"
            f" {wanted[:16]}...); delete it and run the same command again"
        )


def tar_members(file: io.BufferedReader, suffixes: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Base name and content of the regular files of a tar whose names end with one of `suffixes`.

    Nothing is written to disk, so that no path in the archive can lead anywhere; links and devices are passed over.
    Raises InputError where the archive is damaged or holds more than the limits above.
    """
    for name, content in _tar_paths(file, suffixes):
        yield Path(name).name, content


def zip_members(path: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Full name and content of the members of a zip whose names end with one of `suffixes`; likewise in memory."""
    with _damage_of(path.name), zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        _check_size(path.name, sum(member.file_size for member in members), len(members))
        for member in members:
            if not member.is_dir() and member.filename.endswith(suffixes):
                with archive.open(member) as file:
                    # the directory's size may lie: read one byte more than it says, and no more
                    content = file.read(member.file_size + 1)
                if len(content) != member.file_size:
                    raise InputError(
                        f"{path}: {member.filename!r} is larger than the archive says; do not trust it"
                    )
                yield member.filename, content


def gzip_content(path: Path) -> bytes:
    """A gzip file, unpacked. Raises InputError where it is damaged or larger than the limit."""
    with _damage_of(str(path)), gzip.open(path) as file:
        content = file.read(LIMIT_BYTES + 1)
    _check_size(path.name, len(content))
    return content


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
        return {k.decode() if isinstance(k, bytes) else k: v for k, v in value.items()}
    except InputError:
        raise
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise InputError(
            f"a pickle in the archive is damaged ({type(error).__name__}); fetch it again"
        ) from None


def _tar_paths(file: io.BufferedReader, suffixes: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    name = getattr(file, "name", None)
    where = (
        "the archive" if name is None or isinstance(name, int) else Path(name).name
    )  # a pipe's is a number
    size_bytes = 0
    with (
        _damage_of(where),
        _unpacked(file) as stream,
        tarfile.open(fileobj=_Limited(stream, where), mode="r|") as archive,
    ):
        for count, member in enumerate(archive, start=1):
            if member.size < 0:
                raise tarfile.ReadError(f"{member.name!r} has a size below 0")
            size_bytes += member.size  # a sparse file's is more than the bytes that stand in the archive
            _check_size(where, size_bytes, count)
            if member.isfile() and member.name.endswith(suffixes):
                content = archive.extractfile(member)
                assert content is not None  # a regular file has content
                yield member.name, content.read()


def _unpacked(file: io.BufferedReader) -> IO[bytes]:
    """The tar in a file that may be compressed."""
    start = file.peek(6)
    for magic, opened in ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open)):
        if start.startswith(magic):
            return opened(file)
    return file


class _Limited:
    """A stream that ends with InputError where it gives more than the limit.

    All of a tar's bytes go through it: also headers, which `tarfile` reads into memory before it shows a member.
    """

    def __init__(self, stream: IO[bytes], where: str) -> None:
        self._stream, self._where, self._read_bytes = stream, where, 0

    def read(self, size: int) -> bytes:
        content = self._stream.read(size)
        self._read_bytes += len(content)
        _check_size(self._where, self._read_bytes)
        return content


def _matching(
    path: Path, members: Iterator[tuple[str, bytes]], patterns: tuple[str, ...]
) -> Iterator[tuple[str, bytes]]:
    for name, content in members:
        if name.startswith("/") or ".." in name.split("/"):
            raise InputError(f"{path}: {name!r} leads out of the archive; do not trust this file")
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            yield name, content


def _check_size(where: str, size_bytes: int, members: int = 0) -> None:
    if size_bytes > LIMIT_BYTES or members > LIMIT_MEMBERS:
        raise InputError(
            f"{where} unpacks to more than {LIMIT_BYTES / 2**30:.0f} GiB or {LIMIT_MEMBERS} files, more than any set"
            " here has; do not trust it"
        )


@contextmanager
def _damage_of(where: str) -> Iterator[None]:
    """What a damaged archive raises, as one sentence."""
    try:
        yield
    except InputError:
        raise
    except _DAMAGE as error:
        if getattr(error, "errno", None) is not None:
            raise  # of the disk, not of the archive
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{where} is damaged or no archive ({reason}); delete it and fetch it again"
        ) from None
