"""The smoke scale, run once and shared, and a clone into which its results were pulled: for the tests of this folder."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.checkout import Checkout, clone_of, copy_of_checkout

# who commits, where git is not told
for _who in ("AUTHOR", "COMMITTER"):
    os.environ.setdefault(f"GIT_{_who}_NAME", "tests")
    os.environ.setdefault(f"GIT_{_who}_EMAIL", "tests@example.org")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The smoke scale, run to its end and shared."""
    checkout = copy_of_checkout(tmp_path_factory.mktemp("checkout"))
    done = checkout.snakemake()
    assert done.returncode == 0, done.stdout + done.stderr
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "-m", "code"]):
        subprocess.run(["git", *command], cwd=checkout.root, check=True)
    done = checkout.front("share", "--scale", "smoke", "--store", str(tmp_path_factory.mktemp("store")))
    assert done.returncode == 0, done.stdout + done.stderr
    return checkout


@pytest.fixture(scope="session")
def pulled(finished: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A clone with the shared results, in which no job has ever run. Tests that edit it put the old text back."""
    clone = clone_of(finished, tmp_path_factory.mktemp("clone") / "checkout")
    done = clone.front("pull", "--scale", "smoke")
    assert done.returncode == 0, done.stdout + done.stderr
    return clone


@pytest.fixture
def edit(pulled: Checkout):
    """Edit files of the clone for one test: `edit(name, old, new)`."""
    before: dict[Path, str] = {}

    def replace(name: str, old: str, new: str) -> None:
        before.setdefault(pulled.root / name, (pulled.root / name).read_text())
        pulled.replace(name, old, new)

    yield replace
    for file, text in before.items():
        file.write_text(text)
