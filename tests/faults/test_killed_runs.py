"""Runs that are killed, stopped or left alone: the same command goes on, and ends in what an undisturbed run makes."""

import contextlib
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from front.recovery import is_alive, kill_processes_of_runs, processes_of_runs
from tests.faults.conftest import TARGETS, TRAINING, leftovers

KILLS = 3  # of one run, one after the other
LONG_KILLS = 20  # of as many runs: --long
LONG_KILLS_OF_ONE = 10  # single processes of as many runs: --long
DEAF = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
HEARD = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}


def kill_run(process, root):
    """./repro, Snakemake and all jobs, at once: what a machine that is switched off does."""
    process.kill()
    kill_processes_of_runs(root)
    process.wait()


def wait_until(is_so):
    deadline = time.monotonic() + 300
    while not is_so():
        assert time.monotonic() < deadline, "it did not come about within five minutes"
        time.sleep(0.05)


def snakemake_of(root):
    return next(number for number, words in processes_of_runs(root).items() if "snakemake" in words[:4])


def test_a_run_that_is_killed_again_and_again_recovers(subject, chance):
    subject.clear()
    for _ in range(KILLS):
        process = subject.checkout.start(*TARGETS, **DEAF)
        time.sleep(chance.uniform(1, 0.3 * subject.seconds))
        kill_run(process, subject.checkout.root)
    done = subject.checkout.repro(*TARGETS)
    assert done.returncode == 0, done.stderr
    subject.assert_recovered()


@pytest.mark.long
def test_many_killed_runs_recover(subject, chance, capsys):
    """The table: what was killed, when, what was at work, how much it left behind, and how the rerun ended."""
    root = subject.checkout.root
    subject.clear()
    start = time.monotonic()
    assert subject.checkout.repro(*TARGETS).returncode == 0
    whole_s = time.monotonic() - start  # the first run of a copy takes longer, it compiles
    subject.assert_recovered()
    wanted = {"the run": LONG_KILLS, "one process": LONG_KILLS_OF_ONE}
    recovered = {kind: [] for kind in wanted}
    while kind := next((kind for kind in wanted if len(recovered[kind]) < wanted[kind]), None):
        subject.clear()
        process = subject.checkout.start(*TARGETS, **DEAF)
        after_s = chance.uniform(0, whole_s)
        time.sleep(after_s)
        if process.poll() is not None:
            continue  # it was done before it could be killed
        there = processes_of_runs(root)
        killed = kind
        if kind == "the run":
            kill_run(process, root)
        else:
            victim = chance.choice(sorted([*there, process.pid]))
            killed = verb_of(there[victim]) if victim in there else "./repro"
            with contextlib.suppress(ProcessLookupError):  # jobs come and go
                os.kill(victim, signal.SIGKILL)
            process.wait()
            wait_until(lambda: not processes_of_runs(root))
        left = leftovers(root)
        start = time.monotonic()
        done = subject.checkout.repro(*TARGETS)
        rerun_s = time.monotonic() - start
        wrong = subject.what_is_wrong() if done.returncode == 0 else done.stdout + done.stderr
        recovered[kind].append(not wrong)
        at_work = ", ".join(sorted({verb_of(words) for words in there.values()})) or "./repro"
        with capsys.disabled():
            print(
                f"\n{killed:18s} killed after {after_s:5.1f} s, {len(left):2d} files left, rerun {rerun_s:5.1f} s:"
                f" {'NOT RECOVERED' if wrong else 'recovered'}; at work: {at_work}{wrong}",
                end="",
            )
    with capsys.disabled():
        counts = [f"{sum(outcomes)} of {len(outcomes)} ({kind})" for kind, outcomes in recovered.items()]
        print(f"\nan undisturbed run took {whole_s:.1f} s; recovered: {', '.join(counts)}")
    assert all(recovered["the run"] + recovered["one process"])


def verb_of(words):
    """The verb of a stage's command line, or the program."""
    stages = [word for word in words[:4] if word.startswith("stages.")]
    return (
        stages[0].split(".")[-1]
        if stages
        else "snakemake"
        if "snakemake" in words[:4]
        else Path(words[0]).name
    )


def test_a_killed_job_is_run_again_where_its_rule_says_so_and_else_stops_the_run(subject):
    subject.forget_training()
    process = subject.checkout.start(TRAINING, **HEARD)
    os.kill(subject.wait_for_job("train_teacher"), signal.SIGKILL)  # as a machine without memory does
    second = subject.checkout.repro(TRAINING)
    os.kill(subject.wait_for_job("plot_training"), signal.SIGKILL)
    said = process.communicate()[0]
    assert second.returncode == 2
    assert f"error: another run works in this folder (process {process.pid}, since " in second.stderr
    assert "Traceback" not in second.stderr
    assert process.returncode == 1, said
    assert "restart" in said.lower()
    assert "The same ./repro run goes on where this one stopped" in said
    assert not (subject.checkout.root / TRAINING).exists()
    done = subject.checkout.repro(TRAINING)
    assert done.returncode == 0, done.stderr
    subject.assert_recovered()


def test_what_outlives_a_killed_run_never_works_beside_the_next(subject):
    root = subject.checkout.root
    subject.forget_training()

    # Snakemake alone is killed: ./repro ends its jobs
    process = subject.checkout.start(TRAINING, **HEARD)
    subject.wait_for_job("train_teacher")
    os.kill(snakemake_of(root), signal.SIGKILL)
    said = process.communicate()[0]
    assert process.returncode == 128 + signal.SIGKILL, said
    assert "Snakemake was killed (signal 9" in said
    assert not processes_of_runs(root)

    # both are killed: the next run ends the job that is left, which makes what nobody waits for
    process = subject.checkout.start(TRAINING, **DEAF)
    job = subject.wait_for_job("train_teacher")
    os.kill(job, signal.SIGSTOP)  # it would come to its end before the next run looks
    for number in (process.pid, snakemake_of(root)):
        os.kill(number, signal.SIGKILL)
    process.wait()
    assert is_alive(job)
    process = subject.checkout.start(TRAINING, **HEARD)
    wait_until(lambda: not is_alive(job))
    subject.wait_for_job("train_teacher")

    # ./repro alone is killed: its Snakemake goes on and keeps others out, and what it makes is as good as ever
    os.kill(process.pid, signal.SIGKILL)
    second = subject.checkout.repro(TRAINING)
    assert second.returncode == 2
    assert f"the run of process {process.pid}, since" in second.stderr
    assert f"kill {snakemake_of(root)}" in second.stderr
    wait_until(lambda: not processes_of_runs(root))
    said = process.communicate()[0]
    assert re.search(r"ended \d+ processes of a run that was killed", said), said
    subject.assert_recovered()


def test_a_stopped_run_says_so_and_the_next_goes_on(subject):
    subject.forget_training()
    for how in ("Ctrl-C while it starts", "Ctrl-C", "Ctrl-C twice", "SIGTERM", "SIGTERM behind a script's &"):
        background = (
            {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)} if "&" in how else {}
        )
        process = subject.checkout.start(TRAINING, **HEARD, **background)
        if how.endswith("starts"):
            wait_until(lambda: processes_of_runs(subject.checkout.root))
        else:
            subject.wait_for_job("train_teacher")
        if how.startswith("Ctrl-C"):  # a terminal sends it to all processes of the group
            os.killpg(process.pid, signal.SIGINT)
            if how.endswith("twice"):
                time.sleep(0.2)
                os.killpg(process.pid, signal.SIGINT)
        else:  # services and continuous integration send it to ./repro alone
            process.terminate()
        said = process.communicate()[0]
        assert process.returncode == 130, (how, said)
        assert said.endswith("interrupted; run the same command again to go on\n"), (how, said)
        assert "Traceback" not in said, (how, said)
        assert not processes_of_runs(subject.checkout.root), how
        assert not (subject.checkout.root / TRAINING).exists(), how
    done = subject.checkout.repro(TRAINING)
    assert done.returncode == 0, done.stderr
    subject.assert_recovered()
