"""A copy of the checkout in which the smoke scale has run once, shared by the tests of this folder."""

from pathlib import Path

import pytest

from tests.checkout import Checkout, copy_of_checkout


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
