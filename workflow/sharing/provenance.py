"""Where shared files come from: digests, and Snakemake's record of the job that made each.

A file of provenance/ holds one stage folder:
    {"format": 1, "record_format": 6,
     "jobs": [{"rule", "input", "params", "code", ...,
               "outputs": {PATH: {"sha256", "md5", "bytes", "starttime", "endtime"}}}],
     "beside": {PATH: {"sha256", "md5", "bytes", "with": PATH}}}
beside  files that a job wrote next to its declared output, such as the frames beside annotations.json
md5     the name of the object in DVC's store; "" for what git keeps itself
sha256  "" for an output that is not shared, of which only the record is: without it Snakemake could not tell that the
        code or the parameters of its job have changed, and would take what was made of it for up to date
No host, user or absolute path stands in it.
"""

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from snakemake.persistence import RECORD_FORMAT_VERSION, MetadataRecord
from snakemake.persistence.file import FilePersistence

from stages.lib.core.artifacts import write_text
from stages.lib.core.errors import InputError
from workflow.sharing import repository
from workflow.sharing.units import group_of

FOLDER = "provenance"
FORMAT = 1
# the layout of Snakemake's records that this module reads and writes; another Snakemake may have another
RECORD_FORMAT = 6
# what Snakemake compares when it judges whether an output is stale, and the log, which tells two jobs apart
OF_JOB = (
    "rule", "log", "input", "params", "code", "software_stack_hash", "conda_env", "container_img_url",
    "input_checksums",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SharedFile:
    """A file and how it was made.

    sha256   of its bytes; "" for an output that is not shared, of which only the record is
    md5      of its bytes, DVC's name for them; "" where git keeps the file
    starttime, endtime  when its job began and when it was written, in seconds since 1970
    job      Snakemake's record (OF_JOB); None for a file beside a declared output
    beside   that output, else ""
    """

    path: str
    sha256: str
    md5: str
    bytes: int
    starttime: float
    endtime: float
    job: Mapping[str, Any] | None = field(default=None, compare=False)
    beside: str = ""

    @property
    def is_shared(self) -> bool:
        return bool(self.sha256)

    @property
    def in_git(self) -> bool:
        return self.is_shared and not self.md5


class Records:
    """Snakemake's records of a checkout. Raises InputError where Snakemake's layout is not the one known here."""

    def __init__(self, root: Path):
        if RECORD_FORMAT_VERSION != RECORD_FORMAT:
            raise InputError(
                f"this Snakemake keeps records of format {RECORD_FORMAT_VERSION}, and sharing knows format"
                f" {RECORD_FORMAT}; use the Snakemake of envs/main.lock (./repro setup main)"
            )
        self._store = FilePersistence(path=root.resolve() / ".snakemake")

    def read(self, path: str) -> MetadataRecord | None:
        return self._store._read_record(path)

    def write(self, file: SharedFile) -> None:
        record = MetadataRecord(
            **file.job,
            starttime=file.starttime,
            endtime=file.endtime,
            record_format_version=RECORD_FORMAT,
            incomplete=False,
        )
        self._store._write_record(file.path, record)
        self._store._unmark_incomplete(file.path)


def describe(
    root: Path,
    outputs: Iterable[str],
    *,
    md5_of: Mapping[str, str],
    in_git: Collection[str],
    beside: Mapping[str, str],
    known: Mapping[str, SharedFile],
) -> list[SharedFile]:
    """What provenance says of files of this checkout.

    outputs  declared outputs of jobs; what is neither in `md5_of` nor `in_git` is not shared
    md5_of   DVC's digests
    beside   other files -> the output that they belong to
    known    files as they were shared before: their sha256 holds while the md5 is the same
    """
    records = Records(root)
    made = {path: records.read(path) for path in outputs}
    jobs = {path: _job_of(record, path, root) for path, record in made.items()}
    shared = [path for path in (*jobs, *beside) if path in md5_of or path in in_git]
    same = {p: known[p].sha256 for p in shared if p in known and p in md5_of and known[p].md5 == md5_of[p]}
    digests = same | sha256_of({path: root / path for path in shared if path not in same})
    return [
        SharedFile(
            path=path,
            sha256=digests.get(path, ""),
            md5=md5_of.get(path, ""),
            bytes=(root / path).stat().st_size if path in digests else 0,
            starttime=made[beside.get(path, path)].starttime,
            endtime=made[beside.get(path, path)].endtime,
            job=jobs.get(path),
            beside=beside.get(path, ""),
        )
        for path in sorted({*jobs, *beside})
    ]


def sha256_of(files: Mapping[str, Path]) -> dict[str, str]:
    """The digest of each file's bytes, as many files at a time as there are cores."""

    def digest(place: Path) -> str:
        with open(place, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(files, pool.map(digest, files.values()), strict=True))


def to_text(files: Iterable[SharedFile]) -> dict[str, str]:
    """Path, below the root, and content of each file of provenance/."""
    groups: dict[str, list[SharedFile]] = {}
    for file in sorted(files, key=lambda f: f.path):
        groups.setdefault(group_of(file.path), []).append(file)
    return {f"{FOLDER}/{group}.json": _group_text(members) for group, members in groups.items()}


def from_text(texts: Mapping[str, str]) -> dict[str, SharedFile]:
    """Path -> file, of provenance files. Raises InputError for what is not one, or of another format."""
    found: dict[str, SharedFile] = {}
    for name, text in texts.items():
        try:
            content = json.loads(text)
            if (content["format"], content["record_format"]) != (FORMAT, RECORD_FORMAT):
                raise InputError(
                    f"{name} is of format {content['format']} with Snakemake's records of format"
                    f" {content['record_format']}, and this checkout knows {FORMAT} and {RECORD_FORMAT}; check out the"
                    " code that shared it (git checkout REV), or share again"
                )
            found |= {file.path: file for file in _files(content)}
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{name} is damaged ({error}); take it from git again (git checkout -- {name})"
            ) from None
    for path in found:
        # a path comes from outside: it must not lead out of the checkout
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise InputError(
                f"{FOLDER}/ names the file {path}, which lies outside this checkout; do not use it"
            )
    return found


def read(root: Path) -> dict[str, SharedFile]:
    """What this checkout's provenance says was shared."""
    names = sorted((root / FOLDER).rglob("*.json"))
    return from_text({name.relative_to(root).as_posix(): name.read_text(encoding="utf-8") for name in names})


def read_at(root: Path, revision: str) -> dict[str, SharedFile]:
    """What was shared in a revision."""
    names = repository.paths_at(root, revision, FOLDER)
    return from_text({name: repository.content_at(root, revision, name).decode() for name in names})


def write(root: Path, files: Iterable[SharedFile]) -> list[str]:
    """Write the stage folders that `files` belong to; others stay. Returns the paths that were written."""
    texts = to_text(files)
    for name, text in texts.items():
        if not (root / name).is_file() or (root / name).read_text(encoding="utf-8") != text:
            write_text(root / name, text)
    return list(texts)


def _job_of(record: MetadataRecord | None, path: str, root: Path) -> dict[str, Any]:
    if record is None or record.record_format_version != RECORD_FORMAT:
        raise InputError(
            f"Snakemake has no record of how {path} was made: it was put there by hand, or its rule makes it only since a"
            " change of the rule; remove what the rule made and run again"
        )
    job = {name: record[name] for name in OF_JOB}
    for home in (str(root.resolve()), str(Path.home())):
        if home != "/" and home in json.dumps(job):
            raise InputError(
                f"the parameters of {record.rule} ({path}) hold a folder of this machine, {home}, which is of no use"
                " elsewhere; give it relative to the checkout, and run again"
            )
    return job


def _group_text(files: list[SharedFile]) -> str:
    jobs: dict[str, dict[str, Any]] = {}
    for file in files:
        if file.job is not None:
            # outputs of one job share its record
            job = jobs.setdefault(json.dumps(file.job, sort_keys=True), {**file.job, "outputs": {}})
            job["outputs"][file.path] = _digests(file) | {
                "starttime": file.starttime,
                "endtime": file.endtime,
            }
    content = {
        "format": FORMAT,
        "record_format": RECORD_FORMAT,
        "jobs": list(jobs.values()),
        "beside": {f.path: _digests(f) | {"with": f.beside} for f in files if f.beside},
    }
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def _digests(file: SharedFile) -> dict[str, Any]:
    return {"sha256": file.sha256, "md5": file.md5, "bytes": file.bytes}


def _files(content: Mapping[str, Any]) -> list[SharedFile]:
    files = []
    for entry in content["jobs"]:
        job = {name: entry[name] for name in OF_JOB}
        files += [SharedFile(path=path, job=job, **about) for path, about in entry["outputs"].items()]
    made = {file.path: file for file in files}
    for path, about in content["beside"].items():
        plain = {name: value for name, value in about.items() if name != "with"}
        owner = made[about["with"]]
        files.append(
            SharedFile(
                path=path, beside=owner.path, starttime=owner.starttime, endtime=owner.endtime, **plain
            )
        )
    return files
