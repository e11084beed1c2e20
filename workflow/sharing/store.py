"""The store that shared files lie in: a folder, S3 or SSH, moved to and from by DVC. Its failures are one sentence.

.dvc/config names the store of the project, .dvc/config.local one of this machine (`--store URL`).
"""

import errno
import json
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from dvc.config import NoRemoteError
from dvc.exceptions import DvcException
from dvc.fs.callbacks import TqdmCallback
from dvc.logger import setup
from dvc.repo import Repo
from dvc_data.hashfile.db import HashFileDB
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.transfer import transfer

from stages.lib.core.errors import InputError

REMOTE = "store"


class Store:
    """DVC in one checkout."""

    def __init__(self, root: Path, url: str | None = None):
        """`url` is the store of this machine from now on: a folder, s3://BUCKET/PATH, ssh://HOST/PATH."""
        setup(level=logging.ERROR)
        self._root = root
        with self._sentences():
            self._repo = Repo(root)
            if url:
                with self._repo.config.edit("local") as config:
                    config["remote"] = {REMOTE: {"url": _absolute(url)}}
                self._repo = Repo(root)

    @property
    def url(self) -> str:
        """Where the store lies, without what could be a password."""
        return self._repo.config["remote"][REMOTE]["url"].rpartition("@")[2]

    def add(self, units: Iterable[str]) -> dict[str, str]:
        """Take units into DVC's cache. Returns the md5 of each file in them, by its path from the root."""
        units = list(units)
        with self._sentences(), _inside(self._root):
            self._repo.add(units)
        return {path: md5 for unit in units for path, md5 in self._digests(unit)}

    def push(self, units: Iterable[str]) -> int:
        """Bring units into the store; returns how many objects it did not have. Lists of folders come last."""
        units = list(units)
        files = {md5 for unit in units for _, md5 in self._digests(unit)}
        folders = {md5 for unit in units if (md5 := self._digest(unit)) not in files}
        with self._connection():
            there = self._repo.cloud.get_remote_odb(REMOTE)
            parts = [self.lacks(part) for part in (files, folders)]
            for part in parts:
                self._transfer(self._repo.cache.local, there, part)
        return sum(map(len, parts))

    def lacks(self, md5s: Iterable[str]) -> set[str]:
        """Those of these objects that the store does not have."""
        wanted = set(md5s)
        with self._connection():
            return wanted - set(self._repo.cloud.get_remote_odb(REMOTE).oids_exist(wanted))

    def fetch(self, md5s: Iterable[str]) -> set[str]:
        """Bring objects from the store into DVC's cache; returns those that the store does not have."""
        wanted = {md5 for md5 in md5s if not self.cached(md5).is_file()}
        if not wanted:
            return set()
        missing = self.lacks(wanted)
        with self._connection():
            there = self._repo.cloud.get_remote_odb(REMOTE)
            self._transfer(there, self._repo.cache.local, wanted - missing)
        return missing

    def fetch_lists(self, units: Iterable[str]) -> None:
        """Bring the lists of files that the units' pointers name into DVC's cache."""
        self.fetch(self._digest(unit) for unit in units)

    def cached(self, md5: str) -> Path:
        """Where DVC's cache keeps an object."""
        return Path(self._repo.cache.local.oid_to_path(md5))

    def discard(self, md5: str) -> None:
        """Drop a damaged object from the cache, so that it is fetched anew."""
        self.cached(md5).unlink(missing_ok=True)

    def _transfer(self, source: HashFileDB, target: HashFileDB, md5s: set[str]) -> None:
        # without DVC's index of what a store is thought to have: somebody may have removed it
        label = f"{'from' if target is self._repo.cache.local else 'to'} {self.url}"
        with TqdmCallback(desc=label, unit="file") as progress:
            objects = [HashInfo("md5", md5) for md5 in sorted(md5s)]
            done = transfer(source, target, objects, cache_odb=self._repo.cache.local, callback=progress)
        if done.failed:
            raise InputError(
                f"{len(done.failed)} files did not get {label}; check the connection and the disk, and run the same"
                " command again: it goes on where it stopped"
            )

    def _digests(self, unit: str) -> Iterator[tuple[str, str]]:
        """Path and md5 of each file of a unit."""
        md5 = self._digest(unit)
        if not md5.endswith(".dir"):
            yield unit, md5
            return
        for entry in json.loads(self.cached(md5).read_bytes()):
            yield f"{unit}/{entry['relpath']}", entry["md5"]

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except NoRemoteError:
            raise InputError(
                "no store is set for shared files; name one with --store URL or folder"
            ) from None
        except DvcException as error:
            raise InputError(
                f"DVC could not do it ({_cause(error)}); mend it and run the same command again"
            ) from None

    @contextmanager
    def _connection(self) -> Iterator[None]:
        with self._sentences():
            try:
                yield
            except Exception as error:
                if not _is_of_connection(error):
                    raise
                raise InputError(
                    f"the store {self.url} cannot be used ({_cause(error)}); check its address, the connection and your"
                    " rights there, and run the same command again: it goes on where it stopped"
                ) from None

    def _digest(self, unit: str) -> str:
        return yaml.safe_load((self._root / f"{unit}.dvc").read_text())["outs"][0]["md5"]


def _absolute(url: str) -> str:
    return url if "://" in url else str(Path(url).expanduser().resolve())


@contextmanager
def _inside(root: Path) -> Iterator[None]:
    """DVC takes paths from the working folder."""
    before = os.getcwd()
    os.chdir(root)
    try:
        yield
    finally:
        os.chdir(before)


def _cause(error: Exception) -> str:
    return " ".join(str(error.__cause__ or error).split()) or type(error).__name__


def _is_of_connection(error: Exception) -> bool:
    """Whether the way to a store failed; a full or read-only disk of this machine is told otherwise."""
    if isinstance(error, OSError):
        return error.errno not in (errno.ENOSPC, errno.EROFS)
    # their base classes are imported only where such a store is used
    return type(error).__module__.partition(".")[0] in ("botocore", "aiobotocore", "asyncssh")
