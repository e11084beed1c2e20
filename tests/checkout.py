"""Copies of the checkout in which tests may edit, run and kill."""

import os
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow.lib.plan import parse_jobs

ROOT = Path(__file__).resolve().parents[1]
PYTHON = ROOT / ".venv/main/bin/python"


@dataclass(frozen=True)
class Checkout:
    """A copy of the repository."""

    root: Path

    def snakemake(self, *arguments: str, scale: str = "smoke") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PYTHON, "-m", "snakemake", "--cores", "2", "--config", f"scale={scale}", *arguments],
            cwd=self.root,
            capture_output=True,
            text=True,
            check=False,
            env=self.environ() | {"OMP_NUM_THREADS": "1"},
        )

    def planned(self, *arguments: str, scale: str = "smoke") -> Counter[str]:
        """Rule -> number of jobs that a dry run plans, without the rules that only collect."""
        done = self.snakemake("--dry-run", "--quiet", "progress", *arguments, scale=scale)
        assert done.returncode == 0, done.stdout + done.stderr
        return Counter(job.rule for job in parse_jobs(done.stdout + done.stderr))

    def repro(self, *targets: str) -> subprocess.CompletedProcess[str]:
        """`./repro run` of targets of the smoke scale, to its end."""
        return subprocess.run(
            self.command(*targets), env=self.environ(), capture_output=True, text=True, check=False
        )

    def front(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`./repro` with any command line."""
        command = [str(self.root / "repro"), *arguments]
        return subprocess.run(command, env=self.environ(), capture_output=True, text=True, check=False)

    def start(self, *targets: str, **options: Any) -> subprocess.Popen[str]:
        """The same, at work. It has a process group of its own, as in a terminal: its number is the process's."""
        return subprocess.Popen(
            self.command(*targets), env=self.environ(), text=True, start_new_session=True, **options
        )

    def command(self, *targets: str) -> list[str]:
        return [str(self.root / "repro"), "run", "--scale", "smoke", "-j", "2", *targets]

    def environ(self) -> dict[str, str]:
        return os.environ | {"PYTHONPATH": str(self.root)}

    def replace(self, name: str, old: str, new: str) -> None:
        file = self.root / name
        text = file.read_text()
        assert old in text, f"{name} does not hold {old!r}"
        file.write_text(text.replace(old, new, 1))


def copy_of_checkout(folder: Path) -> Checkout:
    """Every file that git tracks or would add, with the environments of this checkout."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    link_environments(folder)
    return Checkout(folder)


def link_environments(folder: Path) -> None:
    (folder / ".venv").symlink_to(ROOT / ".venv")


def clone_of(shared: Checkout, folder: Path) -> Checkout:
    """A clone of a checkout whose results are shared, which knows their store."""
    subprocess.run(["git", "clone", "--quiet", shared.root, folder], check=True)
    link_environments(folder)
    (folder / ".dvc/config.local").write_text((shared.root / ".dvc/config.local").read_text())
    return Checkout(folder)
