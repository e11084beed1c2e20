"""What the workflow itself costs: a whole run of a scale in a fresh clone, beside its jobs' own time.

python -m workflow.lib.bench_overhead [--scale smoke] [--cores 2] [--folder FOLDER]

Overhead is the share of the wall time that no job on the critical path was at work: starts of Snakemake and of the checks
before it, launching, digests of inputs, waiting. The critical path goes back from the last job to the one that ended last
before it began, and so on. The best schedule on so many cores takes no less than all jobs' own time shared out.
"""

import argparse
import csv
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.lib.core.errors import InputError, run
from workflow.lib.settings import ROOT


@dataclass(frozen=True, kw_only=True)
class Run:
    """A job that ran: when, in seconds since 1970, and its name."""

    start_s: float
    end_s: float
    name: str


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        (clone / ".venv").symlink_to(ROOT / ".venv")
        start_s = time.time()
        command = [clone / "repro", "run", "--scale", args.scale, "-j", str(args.cores)]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
        wall_s = time.time() - start_s
        if done.returncode:
            raise InputError(f"./repro run --scale {args.scale} failed; run it by itself to see why")
        runs = read_runs([clone / "results" / args.scale / "benchmarks", clone / "data" / "benchmarks"])
    path = critical_path(runs)
    path_s = sum(run.end_s - run.start_s for run in path)
    shared_s = sum(run.end_s - run.start_s for run in runs) / args.cores
    print(f"{len(runs)} jobs on {args.cores} cores: {wall_s:.0f} s")
    print(f"critical path: {len(path)} jobs, {path_s:.0f} s of their own")
    print(f"overhead: {(wall_s - path_s) / wall_s:.1%} of the wall time")
    print(f"best schedule: at least {shared_s:.0f} s, {shared_s / wall_s:.0%} of the wall time")


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Jobs by their benchmark files, which Snakemake writes when a job ends."""
    runs = []
    for file in sorted(file for folder in folders for file in folder.rglob("*.tsv")):
        with file.open() as table:
            own_s = float(next(csv.DictReader(table, delimiter="\t"))["s"])
        end_s = file.stat().st_mtime
        runs.append(Run(start_s=end_s - own_s, end_s=end_s, name=f"{file.parent.name}/{file.stem}"))
    return runs


def critical_path(runs: Sequence[Run]) -> list[Run]:
    """From the last job back: each job's predecessor is the one that ended last before it began."""
    path = [max(runs, key=lambda run: run.end_s)]
    while before := [run for run in runs if run.end_s <= path[-1].start_s]:
        path.append(max(before, key=lambda run: run.end_s))
    return path[::-1]


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench_overhead", description=__doc__.splitlines()[0])
    parser.add_argument("--scale", default="smoke")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where to clone to")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
