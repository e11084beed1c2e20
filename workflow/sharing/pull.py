"""Restore what was shared: bytes from the store, verified, and Snakemake's records of how they were made.

python -m workflow.sharing.pull [--scale laptop] [--revision REV] [--store URL] [--overwrite] [TARGET ...]

Without a target everything of the scale comes; with targets only what lies on the way to them. Nothing is put in place
before every byte was verified, and what was made or edited here and not shared is never overwritten unasked.
"""

import argparse
import hashlib
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from stages.lib.core.errors import InputError, run
from stages.lib.core.progress import Progress
from workflow.lib.settings import ROOT
from workflow.sharing import provenance, repository
from workflow.sharing.outputs import outputs_of
from workflow.sharing.provenance import SharedFile
from workflow.sharing.units import group_of, unit_of

if TYPE_CHECKING:
    from workflow.sharing.store import Store


@dataclass(frozen=True, kw_only=True)
class Restored:
    files: int
    fetched: int  # objects that were not in DVC's cache
    placed: int  # files that were not there, or differed
    bytes: int


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    known = provenance.read_at(ROOT, args.revision) if args.revision else provenance.read(ROOT)
    shared = of_scale(known, args.scale)
    if not shared:
        raise InputError(
            f"nothing of the scale {args.scale} is shared in {args.revision or 'this revision'}; run"
            f" ./repro share --scale {args.scale} where its results are"
        )
    if args.targets:
        shared = with_neighbours(shared, {output.path for output in outputs_of(args.scale, args.targets)})
    done = pull(ROOT, shared, revision=args.revision, url=args.store, overwrite=args.overwrite)
    print(
        f"restored {done.files} files: {done.placed} put in place, {done.fetched} fetched from the store,"
        f" {done.bytes / 1e6:.1f} MB, all digests as shared"
    )


def pull(
    root: Path,
    shared: Mapping[str, SharedFile],
    *,
    revision: str | None = None,
    url: str | None = None,
    overwrite: bool = False,
) -> Restored:
    """Put shared files in place, with their times and Snakemake's records.

    revision   where `shared` was read from; None for the checkout as it is
    overwrite  replace files that were changed here and are in no store
    Raises InputError, and changes nothing, where a file is missing or damaged or would be lost.
    """
    from workflow.sharing.store import Store  # DVC takes a second to import

    records = provenance.Records(root)
    store = Store(root, url)
    files = {path: file for path, file in shared.items() if file.is_shared}
    digests = provenance.sha256_of({path: root / path for path in files if (root / path).is_file()})
    wanted = [file for path, file in files.items() if digests.get(path) != file.sha256]
    differing = [file for file in wanted if file.path in digests]
    if not overwrite:
        _refuse_losses(root, store, differing)
    with _staging(root) as staged:
        fetched = fetch(root, store, wanted, staged, revision)
        for file in wanted:
            place = root / file.path
            place.parent.mkdir(parents=True, exist_ok=True)
            (staged / file.path).replace(place)
    for path, file in shared.items():
        if file.is_shared:
            os.utime(root / path, (file.endtime, file.endtime))
        elif (root / path).exists():
            continue  # made here, and so is its record
        if file.job is not None:
            records.write(file)
    if revision is not None:
        _take_pointers(root, shared, revision)
    # what DVC's own commands compare revisions by
    store.fetch_lists({unit_of(file.path) for file in files.values() if not file.in_git})
    return Restored(
        files=len(files), fetched=fetched, placed=len(wanted), bytes=sum(file.bytes for file in wanted)
    )


def of_scale(shared: Mapping[str, SharedFile], scale: str) -> dict[str, SharedFile]:
    """The files of a scale and the prepared data that they were made of."""
    waiting = {path for path in shared if path.startswith((f"results/{scale}/", f"data/rendered/{scale}/"))}
    found: set[str] = set()
    while waiting:
        found |= waiting
        inputs = {name for path in waiting for name in (shared[path].job or {}).get("input") or ()}
        waiting = (inputs & shared.keys()) - found
    return with_neighbours(shared, found)


def with_neighbours(shared: Mapping[str, SharedFile], outputs: Collection[str]) -> dict[str, SharedFile]:
    """Outputs that are shared, what else their jobs made, and the files that lie beside them."""
    jobs = {id(shared[path].job) for path in outputs if path in shared and shared[path].job is not None}
    whole = {path for path, file in shared.items() if id(file.job) in jobs}
    return {path: file for path, file in shared.items() if path in whole or file.beside in whole}


def _refuse_losses(root: Path, store: "Store", differing: Sequence[SharedFile]) -> None:
    """Refuse where a file that would be replaced is in no shared revision, in DVC's cache or in the last commit."""
    known = provenance.read(root)
    lost = []
    for file in differing:
        content = (root / file.path).read_bytes()
        before = known.get(file.path)
        was_shared = before is not None and before.sha256 == hashlib.sha256(content).hexdigest()
        in_cache = store.cached(hashlib.md5(content, usedforsecurity=False).hexdigest()).is_file()
        if not (was_shared or in_cache or repository.content_at(root, "HEAD", file.path) == content):
            lost.append(file.path)
    if lost:
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise InputError(
            f"{lost[0]}{more} was made or edited here and is shared nowhere, so that the shared one would replace it for"
            " good; share it, move it away, or give --overwrite"
        )


def fetch(
    root: Path, store: "Store", wanted: Sequence[SharedFile], folder: Path, revision: str | None
) -> int:
    """Copy shared files, verified, to their paths below `folder`; returns how many objects came from the store."""
    from_store = [file for file in wanted if not file.in_git]
    fetched = sum(not store.cached(file.md5).is_file() for file in from_store)
    missing = store.fetch(file.md5 for file in from_store)
    if missing:
        lost = [file.path for file in from_store if file.md5 in missing]
        raise InputError(
            f"the store {store.url} lacks {len(lost)} of these files ({lost[0]}), so that their push did not end or"
            " they were removed; run ./repro share again where they are"
        )
    progress = Progress(len(wanted), "files verified")
    for file in wanted:
        copy = folder / file.path
        copy.parent.mkdir(parents=True, exist_ok=True)
        if file.in_git:
            copy.write_bytes(repository.content_at(root, revision or "HEAD", file.path) or b"")
        else:
            shutil.copyfile(store.cached(file.md5), copy)
        if not is_intact(copy, file):
            _refuse(file, store)
        progress.advance()
    return fetched


def _refuse(file: SharedFile, store: "Store") -> NoReturn:
    if file.in_git:
        raise InputError(
            f"{file.path} as git has it is not what was shared: it was committed without ./repro share; share it where"
            " it was made, or name the revision of the last share"
        )
    store.discard(file.md5)
    raise InputError(
        f"{file.path} in the store {store.url} is not what was shared (its digest differs): it was damaged or"
        " tampered with; nothing was changed here, share it again where it was made"
    )


def is_intact(place: Path, file: SharedFile) -> bool:
    """Whether the bytes at `place` are those of the file as it was shared."""
    return provenance.sha256_of({file.path: place})[file.path] == file.sha256


@contextmanager
def _staging(root: Path) -> Iterator[Path]:
    """A folder on the disk of the checkout that is gone at the end."""
    (root / "scratch").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root / "scratch", prefix="pull-") as folder:
        yield Path(folder)


def _take_pointers(root: Path, shared: Mapping[str, SharedFile], revision: str) -> None:
    """Provenance and DVC's pointers of the revision, so that they go with the files that are here now."""
    names = {f"{provenance.FOLDER}/{group_of(path)}.json" for path in shared}
    names |= {f"{unit_of(path)}.dvc" for path, file in shared.items() if file.md5}
    repository.git(root, "restore", f"--source={revision}", "--worktree", "--", *sorted(names))


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="pull", description=__doc__.splitlines()[0])
    parser.add_argument("--scale", default="laptop")
    parser.add_argument(
        "--revision", help="commit, tag or branch whose results come; default: the checkout's"
    )
    parser.add_argument(
        "--store", help="the store of this machine from now on: folder, s3://... or ssh://..."
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace what was made here and is not shared"
    )
    parser.add_argument("targets", nargs="*")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
