"""What a run would do: jobs, minutes, disk and data sources, without doing it.

python -m workflow.lib.plan --scale laptop [--cores 2] [TARGET ...]
"""

import argparse
import csv
import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from stages.lib.core.errors import InputError, run
from stages.lib.core.progress import duration
from workflow.lib.settings import ROOT

# seconds of jobs on two cores of a server processor, for jobs that have not run here yet
RECORDED = ROOT / "results" / "recorded" / "timings.json"


@dataclass(frozen=True, kw_only=True)
class Job:
    rule: str
    benchmark: str  # path of its benchmark file, which names the job


def planned_jobs(scale: str, targets: list[str]) -> list[Job]:
    """The jobs that Snakemake would run. Raises InputError with its last words where it cannot plan."""
    return parse_jobs(dry_run(scale, targets))


def dry_run(scale: str, targets: list[str]) -> str:
    """What Snakemake says of each job that it would run."""
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "progress"]
    command += ["--config", f"scale={scale}", "--", *targets]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    text = done.stdout + done.stderr
    if done.returncode:
        raise InputError(f"the run cannot be planned: {' '.join(text.split())[-300:]}")
    return text


def parse_jobs(dry_run: str) -> list[Job]:
    """Jobs of a dry run's text: blocks that start with `rule NAME:` and hold a line `benchmark: PATH`."""
    jobs = []
    for block in re.split(r"^(?:local)?rule ", dry_run, flags=re.MULTILINE)[1:]:
        benchmark = re.search(r"^    benchmark: (\S+)", block, flags=re.MULTILINE)
        if benchmark:
            jobs.append(Job(rule=block.partition(":")[0], benchmark=benchmark[1]))
    return jobs


def seconds_of(job: Job, recorded: dict[str, float]) -> float | None:
    """What the job took when it last ran here, or else on the recorded machine; None where nobody knows."""
    here = ROOT / job.benchmark
    return benchmark_s(here) if here.is_file() else recorded.get(job.benchmark)


def benchmark_s(file: Path) -> float:
    """Wall seconds of a job, from the table that Snakemake writes of it."""
    with file.open() as table:
        return float(next(csv.DictReader(table, delimiter="\t"))["s"])


def wall_s(seconds: list[float], cores: int) -> float:
    """Lower bound on the time of one-thread jobs on `cores`: the longest job, or the sum shared out."""
    return max([sum(seconds) / cores, *seconds], default=0.0)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    jobs = planned_jobs(args.scale, args.targets)
    if not jobs:
        print("0 jobs: everything is up to date")
        return
    recorded = json.loads(RECORDED.read_text()) if RECORDED.is_file() else {}
    known = [s for s in (seconds_of(job, recorded) for job in jobs) if s is not None]
    for rule, count in sorted(Counter(job.rule for job in jobs).items()):
        print(f"{count:5d}  {rule}")
    unknown = len(jobs) - len(known)
    guess = f", and {unknown} jobs of unknown length" if unknown else ""
    wall = duration(wall_s(known, args.cores))
    print(f"{len(jobs):5d}  jobs: at least {wall} on {args.cores} cores{guess}")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="plan", description=__doc__.splitlines()[0])
    parser.add_argument("--scale", default="laptop")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("targets", nargs="*")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
