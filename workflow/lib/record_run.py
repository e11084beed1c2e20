"""Keep a whole run as the recorded one of its scale, or say where a run differs from that.

python -m workflow.lib.record_run [--scale laptop] [--run FOLDER] [--compare]

Kept below results/recorded: SCALE/claims.json, SCALE/digests.json with a digest of every output, and timings.json with
the seconds of every job. Digests leave out what tells when, where, how fast and in how much memory (TIMED, MEASURED), so
that two runs on machines of one kind have the same; what else differs was timed itself, or was computed by another kind
of processor.
"""

import argparse
import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stages.lib.core.artifacts import file_digest, read_json, value_digest, write_json
from stages.lib.core.errors import InputError, run
from workflow.lib.catalogue import RECORDED
from workflow.lib.plan import RECORDED as TIMINGS
from workflow.lib.plan import benchmark_s
from workflow.lib.settings import ROOT

# files and folders that hold nothing else
TIMED = {"logs", "benchmarks", "times.csv", "report.html", "claims.md", "claims.json"}
# columns of tables and keys of JSON
MEASURED = {"cpu_s", "gather_s", "quantise_s", "peak_gib", "device", "recorded"}


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    made, kept = args.run / "results" / args.scale, RECORDED / args.scale
    if not (made / "claims.json").is_file():
        raise InputError(
            f"{made}/claims.json is not there; run the scale first: ./repro run --scale {args.scale}"
        )
    claims, digests = read_json(made / "claims.json"), digests_of(made)
    if args.compare:
        if not (kept / "digests.json").is_file():
            raise InputError(f"{kept}/digests.json is not there; record a run first, without --compare")
        print("\n".join(differences(digests, read_json(kept / "digests.json"))))
        print("\n".join(verdict_changes(claims, read_json(kept / "claims.json"))))
        return
    write_json(kept / "claims.json", claims)
    write_json(kept / "digests.json", digests)
    write_json(TIMINGS, timings_of(args.run, args.scale))


def digests_of(made: Path) -> dict[str, str]:
    """Name -> first 16 hexadecimal digits of the sha256 of every output of a scale, without what was timed."""
    names = sorted(file.relative_to(made) for file in made.rglob("*") if file.is_file())
    return {str(n): untimed_digest(made / n)[:16] for n in names if not _is_timed(n)}


def untimed_digest(file: Path) -> str:
    if file.suffix == ".json":
        return value_digest(_untimed(read_json(file)))
    if file.suffix == ".csv":
        with file.open(newline="", encoding="utf-8") as text:
            return value_digest([_untimed(row) for row in csv.DictReader(text)])
    return file_digest(file)


def differences(ours: dict[str, str], kept: dict[str, str]) -> list[str]:
    """Lines that count outputs and name those that differ, or that one run alone has."""
    both = ours.keys() & kept.keys()
    differing = sorted(name for name in both if ours[name] != kept[name])
    return [
        f"{len(both) - len(differing)} of {len(both)} outputs are the recorded ones to the last bit",
        *(f"  differs: {name}" for name in differing),
        *(f"  not recorded: {name}" for name in sorted(ours.keys() - kept.keys())),
        *(f"  not made: {name}" for name in sorted(kept.keys() - ours.keys())),
    ]


def verdict_changes(ours: Iterable[dict[str, Any]], kept: Iterable[dict[str, Any]]) -> list[str]:
    """Lines that count claims and name those with another verdict."""
    before, after = ({claim["id"]: claim["verdict"] for claim in claims} for claims in (kept, ours))
    changed = sorted(id for id in before.keys() | after.keys() if before.get(id) != after.get(id))
    return [
        f"{len(after.keys() - set(changed))} of {len(after)} verdicts are the recorded ones",
        *(f"  {id}: {before.get(id)} -> {after.get(id)}" for id in changed),
    ]


def timings_of(run_folder: Path, scale: str) -> dict[str, float]:
    """Benchmark file -> wall seconds of its job, of every job of the scale and of its data."""
    folders = [run_folder / "data/benchmarks", run_folder / "results" / scale / "benchmarks"]
    files = sorted(file for folder in folders for file in folder.rglob("*.tsv"))
    return {str(file.relative_to(run_folder)): round(benchmark_s(file), 1) for file in files}


def _is_timed(name: Path) -> bool:
    return bool(TIMED & set(name.parts)) or any(part.startswith(".") for part in name.parts)


def _untimed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _untimed(part) for key, part in value.items() if key not in MEASURED}
    return [_untimed(part) for part in value] if isinstance(value, list) else value


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="record_run", description=__doc__.splitlines()[0])
    parser.add_argument("--scale", default="laptop", help="of the run (laptop)")
    parser.add_argument("--run", type=Path, default=ROOT, help="the checkout in which it was made (this one)")
    parser.add_argument(
        "--compare", action="store_true", help="say what differs from the recorded run; keep nothing"
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
