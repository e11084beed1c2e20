"""Write what a revision shares as an RO-Crate: the files, which job made each of what, when and by which rule.

python -m workflow.sharing.crate --scale laptop [--revision REV] [--store URL] FOLDER

The crate follows RO-Crate 1.1 (Process Run Crate: one CreateAction a job); what may not be passed on is named, not held.
"""

import argparse
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from rocrate.model.contextentity import ContextEntity
from rocrate.rocrate import ROCrate

from stages.lib.core.errors import InputError, run
from workflow.lib.settings import ROOT
from workflow.sharing import provenance, repository
from workflow.sharing.provenance import SharedFile
from workflow.sharing.pull import fetch, of_scale

if TYPE_CHECKING:
    from workflow.sharing.store import Store

PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
MEDIA_TYPES = {
    ".json": "application/json", ".csv": "text/csv", ".svg": "image/svg+xml", ".html": "text/html",
    ".png": "image/png", ".parquet": "application/vnd.apache.parquet", ".txt": "text/plain", ".md": "text/markdown",
}  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    revision = args.revision or "HEAD"
    commit = repository.commit_of(ROOT, revision)
    if commit is None:
        raise InputError(f"git knows no revision {revision}; see git log --oneline")
    shared = of_scale(provenance.read_at(ROOT, commit), args.scale)
    if not shared:
        raise InputError(
            f"nothing of the scale {args.scale} is shared in {revision}; run ./repro share first"
        )
    from workflow.sharing.store import Store  # DVC takes a second to import

    write_crate(ROOT, Store(ROOT, args.store), shared, args.folder, commit=commit, scale=args.scale)
    print(f"{args.folder}: {sum(file.is_shared for file in shared.values())} files of revision {commit[:12]}")


def write_crate(
    root: Path, store: "Store", shared: Mapping[str, SharedFile], folder: Path, *, commit: str, scale: str
) -> None:
    """Write the crate to a folder that is not there yet. Raises InputError, and leaves none, where a file is missing."""
    if folder.exists():
        raise InputError(f"{folder} is there already; name a folder that is not, or remove it")
    try:
        fetch(root, store, [file for file in shared.values() if file.is_shared], folder, commit)
        crate = describe(shared, commit=commit, scale=scale)
        crate.metadata.write(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def describe(shared: Mapping[str, SharedFile], *, commit: str, scale: str) -> ROCrate:
    """The crate's metadata."""
    crate = ROCrate(version="1.1")
    crate.name = f"Sevenfold, results of the scale {scale}"
    crate.description = (
        "Seven papers on efficient deep learning, reproduced: data, models, tables, figures, verdicts."
    )
    crate.license = "https://spdx.org/licenses/Apache-2.0"
    crate.datePublished = datetime.fromtimestamp(max(file.endtime for file in shared.values()), UTC)
    crate.root_dataset["version"] = commit
    crate.root_dataset["conformsTo"] = crate.add(
        ContextEntity(
            crate, PROFILE, {"@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"}
        )
    )
    entities = {path: _file(crate, file) for path, file in shared.items()}
    jobs: dict[int, list[SharedFile]] = {}
    for file in shared.values():
        if file.job is not None:
            jobs.setdefault(id(file.job), []).append(file)
    rules: dict[str, ContextEntity] = {}
    for number, outputs in enumerate(jobs.values()):
        job = outputs[0].job
        rule = job["rule"]
        if rule not in rules:
            about = {"@type": "SoftwareApplication", "name": rule, "softwareVersion": commit}
            rules[rule] = crate.add(ContextEntity(crate, f"#rule-{rule}", about))
        about = {
            "name": f"{rule}: {outputs[0].path}",
            "startTime": _iso(min(file.starttime for file in outputs)),
            "endTime": _iso(max(file.endtime for file in outputs)),
            "actionStatus": "http://schema.org/CompletedActionStatus",
        }
        crate.add_action(
            rules[rule],
            identifier=f"#job-{number}",
            object=[entities[path] for path in job["input"] if path in entities],
            result=[entities[file.path] for file in outputs],
            properties=about,
        )
    return crate


def _file(crate: ROCrate, file: SharedFile) -> ContextEntity:
    if not file.is_shared:
        about = {"@type": "CreativeWork", "name": file.path, "description": "not shared"}
        return crate.add(ContextEntity(crate, f"#{file.path}", about))
    about = {"name": file.path, "contentSize": str(file.bytes), "sha256": file.sha256}
    kind = MEDIA_TYPES.get(PurePosixPath(file.path).suffix)
    return crate.add_file(dest_path=file.path, properties=about | ({"encodingFormat": kind} if kind else {}))


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="crate", description=__doc__.splitlines()[0])
    parser.add_argument("--scale", default="laptop")
    parser.add_argument("--revision", help="default: the checkout's")
    parser.add_argument(
        "--store", help="the store of this machine from now on: folder, s3://... or ssh://..."
    )
    parser.add_argument("folder", type=Path)
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
