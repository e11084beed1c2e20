"""Share what a scale has made: into the store with the bytes, into git with what they are and how they were made.

python -m workflow.sharing.share --scale laptop [--store URL] [TARGET ...]

Refused while anything is stale or the code differs from the last commit. Ends with a commit of its own, so that a push
that broke off never becomes a revision.
"""

import argparse
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import yaml

from stages.lib.core.artifacts import write_text
from stages.lib.core.errors import InputError, run
from workflow.lib import storage
from workflow.lib.settings import ROOT, load_registry
from workflow.sharing import provenance, repository
from workflow.sharing.outputs import Output, outputs_of
from workflow.sharing.units import closed_folders, files_of, is_below, unit_of


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    outputs = outputs_of(args.scale, args.targets)
    _refuse_stale([output for output in outputs if output.stale])
    shared = share(ROOT, [output.path for output in outputs], scale=args.scale, url=args.store)
    files = [file for file in shared.files if file.is_shared]
    size = sum(file.bytes for file in files)
    print(f"shared {len(files)} files, {size / 1e6:.1f} MB ({shared.pushed} new objects) in {shared.url}")
    for folder in shared.closed:
        print(f"not shared: {folder}, whose content may not be passed on")
    print(f"revision {shared.commit[:12]}: git push brings it to others, ./repro pull restores it")


@dataclass(frozen=True, kw_only=True)
class Shared:
    files: list[provenance.SharedFile]  # those of earlier shares too
    closed: list[str]  # folders whose content may not be passed on
    pushed: int
    url: str
    commit: str


def share(root: Path, outputs: Sequence[str], *, scale: str, url: str | None = None) -> Shared:
    """Share outputs that are not stale, and what else their folders hold; of what is not here, its record.

    The end is a commit of what names them. Raises InputError, and commits nothing, where that cannot be whole.
    """
    from workflow.sharing.store import Store  # DVC takes a second to import, and a refusal need not wait

    class_of = storage.classes_of(outputs)
    in_git = {path for path in outputs if class_of[path] == "git" and (root / path).is_file()}
    _refuse_edited(repository.edited(root, in_git))
    units = sorted({unit_of(path) for path in outputs if class_of[path] == "dvc"})
    content = [path for unit in units for path in files_of(root, unit)]
    closed = closed_folders(root, content, _closed_names())
    write_text(root / ".dvcignore", dvcignore(closed))
    units = sorted({unit_of(path) for path in content if not is_below(path, closed)})
    store = Store(root, url)
    md5_of = store.add(units)
    if leak := next((path for path in md5_of if is_below(path, closed)), None):
        raise InputError(
            f"{leak} may not be passed on, and .dvcignore did not keep it out; nothing was shared"
        )
    recorded, known = provenance.Records(root), _shared_before(root)
    made = {*outputs, *(path for path in md5_of if recorded.read(path))}
    files = provenance.describe(
        root,
        made,
        md5_of=md5_of,
        in_git=in_git,
        beside=_owners(md5_of, made & set(md5_of)),
        known=known,
    )
    described = {file.path for file in files}
    files += [f for path, f in known.items() if unit_of(path) not in units and path not in described]
    pushed = store.push(units)
    lacking = store.lacks(md5_of.values())
    if lacking:
        raise InputError(
            f"the store {store.url} lacks {len(lacking)} files after the push; nothing was committed, run it again"
        )
    names = provenance.write(root, files)
    write_text(root / "dvc.yaml", dvc_yaml(root))
    _commit(root, [*names, *(f"{unit}.dvc" for unit in units), *in_git, ".dvcignore", "dvc.yaml"], scale)
    return Shared(
        files=files, closed=sorted(closed), pushed=pushed, url=store.url,
        commit=repository.commit_of(root, "HEAD"),
    )  # fmt: skip


def dvc_yaml(root: Path) -> str:
    """dvc.yaml without stages: what `dvc metrics`, `dvc params` and `dvc plots` compare."""
    scales = sorted(file.parent.name for file in (root / "results").glob("*/metrics.json"))
    content = {
        "params": ["config/base.yaml", *(f"config/{scale}.yaml" for scale in scales)],
        "metrics": [f"results/{scale}/metrics.json" for scale in scales],
        "plots": [
            figure.relative_to(root).as_posix()
            for scale in scales
            for figure in sorted((root / "results" / scale).glob("*/figures/*.svg"))
            if Path(f"{figure.parent}.dvc").is_file()
        ],
    }
    words = "# Written by ./repro share. No stages: Snakemake alone decides what runs.\n"
    return words + yaml.safe_dump(content, sort_keys=False)


def dvcignore(closed: Iterable[str]) -> str:
    """.dvcignore: what lies in the folders that DVC keeps and is not to leave."""
    words = "# Written by ./repro share: temporary names, what is not shared, and what may not be passed on."
    folders = (f"/{folder}/" for folder in sorted(closed))
    return "\n".join([words, "/data/**/.*", "/results/**/.*", *storage.unshared(), *folders, ""])


def _refuse_edited(edited: list[str]) -> None:
    if edited:
        raise InputError(
            f"{edited[0]}{_and_more(len(edited))} differs from the last commit, so that no revision would name the code"
            " that made these results; commit it (or take it back), run again, then share"
        )


def _refuse_stale(stale: list[Output]) -> None:
    if stale:
        rules = Counter(output.rule for output in stale)
        named = ", ".join(f"{rule} ({n})" for rule, n in rules.most_common(4)) + (
            ", ..." if len(rules) > 4 else ""
        )
        raise InputError(
            f"not shared: {len(stale)} outputs are missing or stale, of {named}; make them with ./repro run, or name"
            " the targets to share; ./repro why FILE tells why"
        )


def _closed_names() -> set[str]:
    """Sets and models that the registry does not let pass on."""
    registry = load_registry()
    kinds = (registry.datasets, registry.language_models, registry.pretrained)
    return {name for kind in kinds for name, entry in kind.items() if not entry.redistribute}


def _shared_before(root: Path) -> dict[str, provenance.SharedFile]:
    try:
        return provenance.read(root)
    except InputError:  # damaged, or of another format: written anew from nothing
        return {}


def _owners(paths: Iterable[str], outputs: set[str]) -> dict[str, str]:
    """Each path that is no output -> the first output in the nearest folder above it that has one."""
    first: dict[PurePosixPath, str] = {}
    for output in sorted(outputs):
        first.setdefault(PurePosixPath(output).parent, output)
    owners = {}
    for path in sorted(set(paths) - outputs):
        owner = next((first[folder] for folder in PurePosixPath(path).parents if folder in first), None)
        if owner is not None and unit_of(owner) == unit_of(path):
            owners[path] = owner
    return owners


def _commit(root: Path, paths: list[str], scale: str) -> None:
    there = [path for path in paths if (root / path).exists()]
    repository.git(root, "add", "--", *there)
    if repository.git(root, "diff", "--cached", "--name-only", "--", *there):
        repository.git(root, "commit", "--quiet", "-m", f"results: share the scale {scale}", "--", *there)


def _and_more(n: int) -> str:
    return f" (and {n - 1} more)" if n > 1 else ""


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="share", description=__doc__.splitlines()[0])
    parser.add_argument("--scale", default="laptop")
    parser.add_argument(
        "--store", help="the store of this machine from now on: folder, s3://... or ssh://..."
    )
    parser.add_argument("targets", nargs="*")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
