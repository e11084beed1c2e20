"""A copy of the checkout in which the smoke scale has run once, shared by the tests of this folder."""

import os
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from workflow.lib.plan import parse_jobs

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv/main/bin/python"


@dataclass(frozen=True)
class Checkout:
    """A copy of the repository in which tests may edit and run."""

    root: Path

    def snakemake(self, *arguments: str, scale: str = "smoke") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PYTHON, "-m", "snakemake", "--cores", "2", "--config", f"scale={scale}", *arguments],
            cwd=self.root,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(self.root)},
        )

    def planned(self, *arguments: str, scale: str = "smoke") -> Counter[str]:
        """Rule -> number of jobs that a dry run plans, without the rules that only collect."""
        done = self.snakemake("--dry-run", "--quiet", "progress", *arguments, scale=scale)
        assert done.returncode == 0, done.stdout + done.stderr
        return Counter(job.rule for job in parse_jobs(done.stdout + done.stderr))

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
    (folder / ".venv").symlink_to(ROOT / ".venv")
    return Checkout(folder)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The smoke scale, run to its end. Tests that edit it put the old text back."""
    checkout = copy_of_checkout(tmp_path_factory.mktemp("checkout"))
    done = checkout.snakemake()
    assert done.returncode == 0, done.stdout + done.stderr
    return checkout


@pytest.fixture
def edit(finished: Checkout):
    """Edit files of the finished checkout for one test: `edit(name, old, new)`."""
    before: dict[Path, str] = {}

    def replace(name: str, old: str, new: str) -> None:
        before.setdefault(finished.root / name, (finished.root / name).read_text())
        finished.replace(name, old, new)

    yield replace
    for file, text in before.items():
        file.write_text(text)
