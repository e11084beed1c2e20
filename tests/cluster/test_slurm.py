"""A teacher, a sweep and a figure of the smoke scale by real sbatch jobs; training is preempted and runs out of time."""

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stages.lib.core.artifacts import file_digest
from tests.checkout import Checkout, copy_of_checkout
from tests.cluster.conftest import Cluster, wait_for

MODEL = "results/smoke/models/lenet5-bn-digits-s0"
LOG = "results/smoke/logs/train_teacher/lenet5-bn-digits-s0.log"
SWEEP = "results/smoke/minifloats/tables/sweeps/formats/lenet5-bn-digits-s0"
TARGETS = [f"{SWEEP}.csv", "results/smoke/teachers/figures/digits.svg"]
SAME = [
    f"{MODEL}/weights.safetensors", f"{MODEL}/model.json", f"{MODEL}/curve.csv", f"{SWEEP}.csv", f"{SWEEP}.npz",
    "results/smoke/teachers/figures/digits.csv",
]  # fmt: skip
EPOCHS = 12
# this cluster has no accounting database, and it need not be spared: ask soon, and not after 40 seconds
OPTIONS = ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2"]
# the make-believe GPU is only asked for; what is computed stays on the CPU
OPTIONS += ["--set-resources", "train_teacher:gpu=1"]


@dataclass(frozen=True)
class Run:
    here: Checkout
    local: Checkout
    output: str
    log_after_preemption: str
    epoch_at_limit: int


@pytest.fixture(scope="module")
def ended(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on SLURM whose training is preempted, later stopped by its time limit; and the same run without SLURM."""
    here, local = (copy_of_checkout(tmp_path_factory.mktemp(name)) for name in ("slurm", "local"))
    for checkout in (here, local):
        # epochs of about a second, so that none slips by between two looks at the checkpoints
        checkout.replace(
            "config/smoke.yaml", "epochs: 6\n      batch_size: 64", f"epochs: {EPOCHS}\n      batch_size: 8"
        )
    command = [here.root / "repro", "run", "--scale", "smoke", "--profile", "slurm", *TARGETS, "--", *OPTIONS]
    environ = os.environ | {"PYTHONPATH": str(here.root)}
    output = here.root / "output.txt"
    with output.open("w") as file, subprocess.Popen(
        command, cwd=here.root, env=environ, stdout=file, stderr=subprocess.STDOUT
    ) as run:  # fmt: skip

        def reaches(epoch: int) -> None:
            def reached() -> bool:
                assert run.poll() is None, f"the run ended before epoch {epoch}:\n{output.read_text()}"
                return newest_epoch(here.root) >= epoch

            wait_for(reached, f"epoch {epoch}", seconds=300)

        reaches(2)
        with held(here.root):
            cluster.call("sbatch", "--partition=urgent", "--cpus-per-task=2", "--mem=100", "--output=/dev/null",
                         "--wrap=true")  # fmt: skip
            wait_for(lambda: cluster.of_rule("train_teacher")[0]["Restarts"] == "1", "the preemption")
        reference = subprocess.Popen(
            [local.root / "repro", "run", "--scale", "smoke", "-j", "1", *TARGETS],
            cwd=local.root, env=os.environ | {"PYTHONPATH": str(local.root)},
            stdout=(local.root / "output.txt").open("w"), stderr=subprocess.STDOUT,
        )  # fmt: skip
        reaches(newest_epoch(here.root) + 1)
        with held(here.root):
            log_after_preemption, epoch_at_limit = (here.root / LOG).read_text(), newest_epoch(here.root)
            training = cluster.of_rule("train_teacher")[0]["JobId"]
            cluster.call("scontrol", "update", f"JobId={training}", "EndTime=now")
            wait_for(lambda: cluster.of_rule("train_teacher")[0]["JobState"] != "RUNNING", "the time limit")
        run.wait()
    assert run.returncode == 0, output.read_text()
    assert reference.wait() == 0, (local.root / "output.txt").read_text()
    return Run(here, local, output.read_text(), log_after_preemption, epoch_at_limit)


@contextlib.contextmanager
def held(root: Path) -> Iterator[None]:
    """Training stands still until what ends it has happened: SLURM looks at time limits just every 30 seconds."""
    (process,) = (
        int(folder.name)
        for folder in Path("/proc").glob("[0-9]*")
        if is_training(folder) and (folder / "cwd").resolve() == root
    )
    os.kill(process, signal.SIGSTOP)
    try:
        yield
        wait_for(lambda: not Path(f"/proc/{process}").exists(), "the end of training that stands still")
    finally:
        with contextlib.suppress(ProcessLookupError):  # as it should be
            os.kill(process, signal.SIGCONT)


def is_training(process: Path) -> bool:
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:  # it has ended meanwhile
        return False
    return b"stages.teachers.train_teacher" in words and words[0].endswith(b"python")


def newest_epoch(root: Path) -> int:
    """Of the checkpoints that are whole; 0 where there is none."""
    return max((int(file.stem) for file in root.glob("scratch/*/*/*.sha256")), default=0)


def first_epoch(log: str) -> int:
    return int(re.match(rf"epoch (\d+)/{EPOCHS} ", log)[1])


def test_every_job_but_the_download_goes_through_sbatch(ended, cluster):
    counts = {rule: len(cluster.of_rule(rule)) for rule in
              ("fetch_dataset", "prepare_images", "train_teacher", "sweep_formats", "plot_training")}  # fmt: skip
    assert counts == {
        "fetch_dataset": 0, "prepare_images": 2, "train_teacher": 2, "sweep_formats": 1, "plot_training": 1,
    }  # fmt: skip


def test_jobs_ask_for_what_their_rules_say(ended, cluster):
    text = ended.local.snakemake("--dry-run", "--forceall", "--quiet", "progress", "--", *TARGETS).stdout
    for rule in ("train_teacher", "sweep_formats", "plot_training"):
        block = re.search(rf"^rule {rule}:\n(?:    .*\n)+", text, flags=re.MULTILINE)[0]
        asked = dict(re.findall(r"(mem_mb|runtime)=(\d+)", block))
        job = cluster.of_rule(rule)[-1]
        hours, minutes, _ = map(int, job["TimeLimit"].split(":"))
        assert (job["MinMemoryNode"], hours * 60 + minutes, job["NumCPUs"]) == (
            f"{asked['mem_mb']}M", int(asked["runtime"]), "1",
        )  # fmt: skip
        assert ("gres:gpu:1" in job.get("TresPerJob", "")) == (rule == "train_teacher")


def test_a_preempted_job_is_started_again_by_slurm_and_resumes(ended, cluster):
    assert cluster.of_rule("train_teacher")[0]["Restarts"] == "1"
    assert first_epoch(ended.log_after_preemption) > 2


def test_a_job_stopped_by_its_time_limit_is_sent_again_and_resumes(ended, cluster):
    stopped, again = cluster.of_rule("train_teacher")
    assert (stopped["JobState"], stopped["Reason"]) == ("TIMEOUT", "TimeLimit")
    assert (again["JobState"], again["Restarts"]) == ("COMPLETED", "0")
    assert 2 < ended.epoch_at_limit < EPOCHS
    assert first_epoch((ended.here.root / LOG).read_text()) > ended.epoch_at_limit


def test_results_are_those_of_an_undisturbed_local_run(ended):
    for name in SAME:
        assert file_digest(ended.here.root / name) == file_digest(ended.local.root / name), name


def test_afterwards_a_local_run_has_nothing_to_do(ended):
    assert not ended.here.planned("--", *TARGETS)
