"""Ten jobs of the smoke scale, run once without a fault: what every fault must end in."""

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from front.recovery import kill_processes_of_runs, processes_of_runs
from stages.lib.core.artifacts import file_digest
from tests.checkout import Checkout, copy_of_checkout

MODEL = "lenet5-bn-digits-s0"
TRAINING = "results/smoke/teachers/figures/digits.svg"
SWEEP = f"results/smoke/minifloats/tables/sweeps/formats/{MODEL}.csv"
# fetching, preparing two splits, training, a sweep, data-free distillation, numba, closed forms and a figure
TARGETS = [
    TRAINING,
    SWEEP,
    f"results/smoke/pre_dfkd/runs/digits/{MODEL}/pre/0/curve.csv",
    f"results/smoke/minifloats/tables/accumulators/{MODEL}.csv",
    "results/smoke/hardware/systolic/smollm2-135m-token.csv",
]
MADE = ("data", "results/smoke", "scratch", ".snakemake")
# what tells seconds, and where sets were found, is another from run to run
TIMED = {"logs", "benchmarks", "times.csv", "metrics.json", "preflight.json"}


@dataclass
class Subject:
    """A checkout in which runs are disturbed, and how the undisturbed one ended."""

    checkout: Checkout
    kept: Path  # what the undisturbed run made
    digests: dict[str, str]
    seconds: float  # that it took

    def clear(self) -> None:
        for name in MADE:
            shutil.rmtree(self.checkout.root / name, ignore_errors=True)

    def restore(self) -> None:
        """All that the undisturbed run made, with its times; what a test that failed left at work is ended."""
        kill_processes_of_runs(self.checkout.root)
        self.clear()
        for name in MADE:
            shutil.copytree(self.kept / name, self.checkout.root / name, symlinks=True)

    def forget_training(self) -> None:
        """Take away what one job made, so that TRAINING takes two jobs, and the others rest on what is made again."""
        shutil.rmtree(self.checkout.root / "results/smoke/models")
        (self.checkout.root / TRAINING).unlink()

    def assert_recovered(self) -> None:
        """All is there, as it should be, with nothing beside it and nothing left to do."""
        assert digests_of(self.checkout.root) == self.digests
        assert leftovers(self.checkout.root) == []
        assert not self.checkout.planned("--", *TARGETS)

    def what_is_wrong(self) -> str:
        """What assert_recovered says; nothing where all is as it should be."""
        try:
            self.assert_recovered()
        except AssertionError as error:
            return f"\n{error}"
        return ""

    def wait_for_job(self, verb: str) -> int:
        """The process number of the job that runs a verb, once it is at work."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            for number, words in processes_of_runs(self.checkout.root).items():
                if any(word.endswith(f".{verb}") for word in words[:4]):
                    return number
            time.sleep(0.01)
        raise AssertionError(f"{verb} was not at work within two minutes")


def digests_of(root: Path) -> dict[str, str]:
    """Name -> digest of what runs have made, but for what tells seconds."""
    files = [file for name in ("data", "results/smoke") for file in (root / name).rglob("*")]
    names = {file: file.relative_to(root) for file in files if file.is_file()}
    return {str(name): file_digest(file) for file, name in names.items() if not TIMED & set(name.parts)}


def leftovers(root: Path) -> list[str]:
    """Temporary files and checkpoints that are still there, and locks of a run that is not."""
    hidden = [file for name in MADE[:3] for file in (root / name).rglob(".*")]
    kept = [file for file in (root / "scratch").rglob("*") if file.is_file()]
    marks = [file for name in ("locks", "incomplete") for file in (root / ".snakemake" / name).glob("*")]
    return sorted(str(file.relative_to(root)) for file in {*hidden, *kept, *marks})


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    # a shell may start pytest with Ctrl-C switched off; what it starts would not hear it either
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    checkout, kept = copy_of_checkout(tmp_path_factory.mktemp("checkout")), tmp_path_factory.mktemp("kept")
    shutil.rmtree(checkout.root / "results/smoke")  # what git keeps, which the ten jobs do not make
    start = time.monotonic()
    done = checkout.repro(*TARGETS)
    assert done.returncode == 0, done.stdout + done.stderr
    seconds = time.monotonic() - start
    for name in MADE:
        shutil.copytree(checkout.root / name, kept / name, symlinks=True)
    assert leftovers(checkout.root) == []
    yield Subject(checkout, kept, digests_of(checkout.root), seconds)
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def subject(undisturbed: Subject) -> Subject:
    """The ten jobs, done; a test may spoil what they made."""
    undisturbed.restore()
    return undisturbed


@pytest.fixture
def chance() -> random.Random:
    """Times of kills; printed, so that pytest shows them where a test fails. FAULT_SEED gives them again."""
    seed = int(os.environ.get("FAULT_SEED", time.time_ns() % 10**6))
    print(f"FAULT_SEED={seed}")
    return random.Random(seed)
