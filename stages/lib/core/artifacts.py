"""Files between stages: written under a temporary name and renamed, read without pickle, digested."""

import errno
import fcntl
import glob
import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from stages.lib.core.errors import InputError

FULL_BYTES = 2**16  # a writer that failed with less than this free has filled the disk


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it when the block ends well and removed when it does not.

    The suffix stays the same, so that writers which choose a format by suffix work.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error  # a name that the user knows
    temporary = Path(name)
    try:
        _mark_in_use(handle)
        yield temporary
        # mkstemp makes files that only the owner reads; a shared result has the usual permissions
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except Exception as error:
        if _is_full_disk(error, path.parent):
            # torch holds its file open, unlinked or not, and the log needs room to say what is wrong
            os.truncate(temporary, 0)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise
    finally:
        os.close(handle)
        temporary.unlink(missing_ok=True)


@contextmanager
def temporary_folder(path: str | Path) -> Iterator[Path]:
    """A temporary folder beside `path`, to be renamed to it or taken from; removed at the end where it is still there."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix))
    handle = os.open(folder, os.O_RDONLY)
    try:
        _mark_in_use(handle)
        folder.chmod(0o777 & ~_umask())
        yield folder
    finally:
        os.close(handle)
        shutil.rmtree(folder, ignore_errors=True)


def _mark_in_use(handle: int) -> None:
    """Lock a temporary file or folder: the system lets go of it when this process ends, however it ends."""
    with suppress(OSError):  # a file system without locks
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files and folders of `path` that a killed process left: those that nobody holds."""
    for old in path.parent.glob(f".{glob.escape(path.stem)}-{'?' * 8}{glob.escape(path.suffix)}"):
        with suppress(OSError):  # in use, or just renamed
            handle = os.open(old, os.O_RDONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(old) if old.is_dir() else old.unlink()
            finally:
                os.close(handle)


def _is_full_disk(error: Exception, folder: Path) -> bool:
    """Whether writing failed for lack of space, which torch and safetensors tell in words of their own."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno == errno.ENOSPC
    return shutil.disk_usage(folder).free < FULL_BYTES


def write_text(path: str | Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """JSON with sorted keys and two spaces: the same value gives the same bytes. NaN is refused."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path} is not JSON ({error}); delete it and rerun the stage that makes it"
        ) from error


def write_array(path: str | Path, array: np.ndarray) -> None:
    with atomic_path(path) as temporary:
        np.save(temporary, array, allow_pickle=False)


def read_array(path: str | Path, *, mmap: bool = False) -> np.ndarray:
    """An array of a .npy file; `mmap` leaves it on disk. Pickled objects are refused."""
    try:
        return np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
    except ValueError as error:
        raise InputError(
            f"{path} is not a plain .npy array ({error}); delete it and rerun its stage"
        ) from error


def write_arrays(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as NPZ."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of an NPZ file; pickled objects are refused. Raises InputError where it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} is not an NPZ file of plain arrays ({error}); delete it and rerun its stage"
        ) from None


def file_digest(path: str | Path) -> str:
    """sha256 of a file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def value_digest(value: Any) -> str:
    """sha256 of a JSON value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
