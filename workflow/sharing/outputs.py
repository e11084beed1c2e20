"""The outputs on the way to targets, and which are stale: asked of Snakemake, which alone decides it."""

import csv
import io
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from stages.lib.core.errors import InputError
from workflow.lib.settings import ROOT


@dataclass(frozen=True, kw_only=True)
class Output:
    path: str
    rule: str
    stale: bool


def outputs_of(scale: str, targets: Sequence[str]) -> list[Output]:
    """Every output on the way to the targets, and whether it is stale, as Snakemake judges."""
    command = [sys.executable, "-m", "snakemake", "--summary", "--config", f"scale={scale}", "--", *targets]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        said = " ".join((done.stdout + done.stderr).split())
        raise InputError(f"Snakemake cannot say what is stale: {said[-300:]}")
    table = csv.DictReader(io.StringIO(done.stdout), delimiter="\t")
    return [
        Output(path=row["output_file"], rule=row["rule"], stale=row["plan"] != "no update") for row in table
    ]
