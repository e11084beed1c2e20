"""What differs between the results of a revision and those that are here: settings, jobs, claims, tables.

python -m workflow.sharing.diff --scale laptop REVISION
"""

import argparse
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from stages.lib.core.errors import InputError, run
from workflow.lib.settings import ROOT
from workflow.sharing import provenance, repository
from workflow.sharing.provenance import SharedFile
from workflow.sharing.pull import of_scale

TABLE_BYTES = 2**20  # of larger tables only the fact that they differ is told
SHOWN = 8  # columns of a table


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    if repository.commit_of(ROOT, args.revision) is None:
        raise InputError(f"git knows no revision {args.revision}; see git log --oneline")
    before = of_scale(provenance.read_at(ROOT, args.revision), args.scale)
    if not before:
        raise InputError(f"nothing of the scale {args.scale} is shared in {args.revision}")
    parts = {
        "settings": settings_changes(ROOT, args.revision, args.scale),
        "jobs whose results differ": job_changes(ROOT, before),
        "claims": claim_changes(ROOT, args.revision, args.scale),
        "tables": table_changes(ROOT, before),
    }
    for title, lines in parts.items():
        found = list(lines)
        if found:
            print(f"{title}:")
            print("\n".join(f"  {line}" for line in found))
    if not any(digest_changes(ROOT, before).values()):
        print(f"the results are those of {args.revision}")


def settings_changes(root: Path, revision: str, scale: str) -> Iterator[str]:
    """Keys of the scale's settings whose value differs."""
    for name in ("config/base.yaml", f"config/{scale}.yaml"):
        old = dict(_leaves(yaml.safe_load(repository.content_at(root, revision, name) or b"{}")))
        new = dict(_leaves(yaml.safe_load((root / name).read_text(encoding="utf-8"))))
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                yield f"{key}: {old.get(key)} -> {new.get(key)}  ({name})"


def digest_changes(root: Path, before: Mapping[str, SharedFile]) -> dict[str, list[str]]:
    """Outputs that differ, and those that are not here any more."""
    shared = [path for path, file in before.items() if file.is_shared and file.job is not None]
    here = provenance.sha256_of({path: root / path for path in shared if (root / path).is_file()})
    return {
        "different": [path for path in here if here[path] != before[path].sha256],
        "gone": [path for path in shared if path not in here],
    }


def job_changes(root: Path, before: Mapping[str, SharedFile]) -> Iterator[str]:
    """Rules that were run with other settings or code, and how much followed from them."""
    records = provenance.Records(root)
    changed, followed, reasons = Counter(), Counter(), {}
    changes = digest_changes(root, before)
    for path in changes["different"]:
        old, new = before[path].job, records.read(path)
        why = {name for name in WORDS if new is not None and old[name] != new[name]}
        if why:
            changed[old["rule"]] += 1
            reasons.setdefault(old["rule"], set()).update(why)
        else:
            followed[old["rule"]] += 1
    for rule, count in sorted(changed.items()):
        yield f"{rule}: {count} outputs ({', '.join(WORDS[name] for name in sorted(reasons[rule]))})"
    if followed:
        yield f"and what is made of them: {sum(followed.values())} outputs of {', '.join(sorted(followed))}"
    if changes["gone"]:
        yield f"{len(changes['gone'])} outputs are not here, {changes['gone'][0]} for one"


# parts of a job's record that its own settings, code or inputs change, and not what its inputs hold
WORDS = {
    "input": "other inputs",
    "params": "other parameters, code or environment",
    "code": "another command",
}


def claim_changes(root: Path, revision: str, scale: str) -> Iterator[str]:
    """Claims whose measured value or verdict differs."""
    name = f"results/{scale}/metrics.json"
    old = json.loads(repository.content_at(root, revision, name) or b"{}")
    new = json.loads((root / name).read_bytes()) if (root / name).is_file() else {}
    for claim in sorted(old.keys() | new.keys()):
        was, now = old.get(claim, {}), new.get(claim, {})
        if was != now:
            verdicts = dict.fromkeys((was.get("verdict", "-"), now.get("verdict", "-")))
            yield f"{claim}: {_number(was)} -> {_number(now)}  {' -> '.join(verdicts)}"


def table_changes(root: Path, before: Mapping[str, SharedFile]) -> Iterator[str]:
    """Of each CSV that differs, the columns of numbers whose mean does; what figures draw lies in tables too."""
    from workflow.sharing.store import Store  # DVC takes a second to import

    different = digest_changes(root, before)["different"]
    tables = [p for p in different if p.endswith(".csv") and "/figures/" not in p]
    small = [p for p in tables if before[p].bytes <= TABLE_BYTES and (root / p).stat().st_size <= TABLE_BYTES]
    store = Store(root) if small else None
    missing = store.fetch(before[path].md5 for path in small) if store else set()
    for path in tables:
        if path not in small or before[path].md5 in missing:
            yield f"{path}: differs"
            continue
        old = pd.read_csv(io.BytesIO(store.cached(before[path].md5).read_bytes()))
        new = pd.read_csv(root / path)
        yield f"{path}: {_table_difference(old, new)}"


def _table_difference(old: pd.DataFrame, new: pd.DataFrame) -> str:
    said = [] if len(old) == len(new) else [f"{len(old)} -> {len(new)} rows"]
    columns = [c for c in old.select_dtypes("number") if c in new.select_dtypes("number")]
    means = [(c, old[c].mean(), new[c].mean()) for c in columns]
    moved = [f"mean {c} {was:.5g} -> {now:.5g}" for c, was, now in means if f"{was:.5g}" != f"{now:.5g}"]
    said += moved[:SHOWN] + ([f"{len(moved) - SHOWN} more columns"] if len(moved) > SHOWN else [])
    if list(old.columns) != list(new.columns):
        said.append("other columns")
    return ", ".join(said) or "differs, with the same means"


def _leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def _number(entry: Mapping[str, Any]) -> str:
    return f"{entry['measured']:.4g}" if isinstance(entry.get("measured"), int | float) else "-"


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="diff", description=__doc__.splitlines()[0])
    parser.add_argument("--scale", default="laptop")
    parser.add_argument("revision")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
