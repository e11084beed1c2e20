"""What the workflow itself costs: a whole run of a scale in a fresh clone, beside its jobs' own time.

python -m workflow.lib.bench_overhead [--scale smoke] [--cores 2] [--folder FOLDER]

Overhead is the share of the wall time that no job on the critical path was at work: starts of Snakemake and of the checks
before it, launching, digests of inputs, waiting. The critical path goes back from the last job to the one that ended last
before it began, and so on. The best schedule on so many cores takes no less than all jobs' own time shared out.
`last_run` says as much of a run whose records are here, without what comes before Snakemake starts.
"""

import argparse
import re
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.lib.core.errors import InputError, run
from workflow.lib.plan import benchmark_s
from workflow.lib.settings import ROOT


@dataclass(frozen=True, kw_only=True)
class Run:
    """A job that ran: when, in seconds since 1970, and its name."""

    start_s: float
    end_s: float
    name: str


@dataclass(frozen=True, kw_only=True)
class WholeRun:
    """All jobs of one run."""

    wall_s: float
    cores: int
    jobs: Sequence[Run]

    @property
    def path_s(self) -> float:
        """Seconds of the jobs on the critical path."""
        return sum(job.end_s - job.start_s for job in critical_path(self.jobs))

    @property
    def overhead(self) -> float:
        """Share of the wall time, 0..1, that no job on the critical path was at work."""
        return 1 - self.path_s / self.wall_s


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
        whole = WholeRun(wall_s=wall_s, cores=args.cores, jobs=read_runs(clone, args.scale))
    path = critical_path(whole.jobs)
    shared_s = sum(job.end_s - job.start_s for job in whole.jobs) / args.cores
    print(f"{len(whole.jobs)} jobs on {args.cores} cores: {wall_s:.0f} s")
    print(f"critical path: {len(path)} jobs, {whole.path_s:.0f} s of their own")
    print(f"overhead: {whole.overhead:.1%} of the wall time")
    print(f"best schedule: at least {shared_s:.0f} s, {shared_s / wall_s:.0%} of the wall time")


def last_run(root: Path, scale: str) -> WholeRun | None:
    """Of the runs whose jobs' records are all still here, the one with the most jobs; None where there is none."""
    found, records = [], read_runs(root, scale)
    recorded_rules = {rule_of(job) for job in records}
    for log in sorted((root / ".snakemake" / "log").glob("*.log")):
        text, end_s = log.read_text(errors="replace"), log.stat().st_mtime
        took = re.search(r"^Elapsed time: (?:(\d+) days?, )?(\d+):(\d+):([\d.]+)$", text, flags=re.MULTILINE)
        cores = re.search(r"^Provided cores: (\d+)", text, flags=re.MULTILINE)
        if (
            took is None
            or cores is None
            or not re.search(rf"^  Command: .* scale={scale}\b", text, flags=re.MULTILINE)
        ):
            continue
        days, hours, minutes, seconds = (float(part or 0) for part in took.groups())
        wall_s = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
        jobs = [job for job in records if end_s - wall_s <= job.end_s <= end_s]
        finished = Counter(re.findall(r"^Finished jobid: \d+ \(Rule: (\w+)\)", text, flags=re.MULTILINE))
        # targets have no record; a job that ran again later has none of this run
        if jobs and Counter(map(rule_of, jobs)) == Counter(
            r for r in finished.elements() if r in recorded_rules
        ):
            found.append(WholeRun(wall_s=wall_s, cores=int(cores[1]), jobs=jobs))
    return max(found, key=lambda run: len(run.jobs), default=None)


def read_runs(root: Path, scale: str) -> list[Run]:
    """Jobs of a scale by their benchmark files, which Snakemake writes when a job ends."""
    runs = []
    for folder in (root / "results" / scale / "benchmarks", root / "data" / "benchmarks"):
        for file in sorted(folder.rglob("*.tsv")):
            own_s = benchmark_s(file)
            end_s, name = file.stat().st_mtime, file.relative_to(folder).with_suffix("").as_posix()
            runs.append(Run(start_s=end_s - own_s, end_s=end_s, name=name))
    return runs


def rule_of(job: Run) -> str:
    return job.name.partition("/")[0]


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
