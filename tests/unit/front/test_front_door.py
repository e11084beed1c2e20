"""The front door: mistakes are one sentence with a way out, and environments are never left half-made."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from front import environments
from front.commands import config_words, failures, progress_lines
from front.environments import SetupError, digest_of, is_ready, pip_sentence, set_up

ROOT = Path(__file__).resolve().parents[3]


def repro(*arguments, **environ):
    return subprocess.run(
        [sys.executable, ROOT / "repro", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | environ,
        cwd="/",
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["runn"], "'runn' is not known; did you mean run?"),
        (["run", "--scale", "labtop"], "'labtop' is not known; did you mean laptop?"),
        (["run", "minifloat"], "there is no target 'minifloat'; did you mean minifloats?"),
        (
            ["run", "results/smoke/0;touch pwned"],
            "there is no target 'results/smoke/0;touch pwned': name a rule",
        ),
        (["run", "--profile", "slrm"], "there is no profile 'slrm'; slurm is one"),
        (["run", "-j", "0"], "'0' is not a number of 1 or more"),
        (["test", "units"], "there is no suite 'units'; unit is one"),
        (["setup", "mian"], "there is no environment 'mian'; choose from audit, hardware, main"),
        (
            ["claims", "--scale", "paper"],
            "results/paper/claims.md is not there yet; make it with ./repro run",
        ),
        ([], "say what to do, for instance ./repro run"),
        (["run", "--frobnicate"], "unrecognized arguments: --frobnicate; see ./repro --help"),
    ],
)
def test_a_mistake_is_one_sentence_and_code_2(arguments, sentence):
    done = repro(*arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert done.stderr.count("error:") == 1
    assert "Traceback" not in done.stderr


def test_a_cluster_that_is_not_here_is_one_sentence(tmp_path):
    done = repro("run", "--profile", "slurm", PATH=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith("error: sbatch is not here; run where jobs of the cluster are submitted")


def test_progress_is_the_last_line_of_the_logs_at_work(tmp_path):
    for name, text in (
        ("a", "epoch 1/4 25% 9s left\nepoch 2/4 50% 6s left loss 1\n"),
        ("b", "wrote it\n"),
        ("c", ""),
    ):
        (tmp_path / "train").mkdir(exist_ok=True)
        (tmp_path / "train" / f"{name}.log").write_text(text)
    assert progress_lines([tmp_path], newer_than=0) == ["train/a: epoch 2/4 50% 6s left loss 1"]
    assert progress_lines([tmp_path], newer_than=2**40) == []


def test_the_ends_of_failed_jobs_logs_are_told(tmp_path):
    (tmp_path / "good.log").write_text("error bars drawn\n")
    (tmp_path / "bad.log").write_text("".join(f"step {n}\n" for n in range(20)) + "error: the disk is full\n")
    name, *lines = failures([tmp_path], newer_than=0)
    assert name.endswith("bad.log ends with:")
    assert (lines[0], lines[-1]) == ("step 9", "error: the disk is full")
    assert failures([tmp_path], newer_than=2**40) == []


def test_settings_behind_config_are_kept_apart_from_other_arguments():
    extra = ["-n", "--config", "a={b: 1}", "c=2", "--forcerun", "x", "-C", "d=3"]
    assert config_words(extra) == (["a={b: 1}", "c=2", "d=3"], ["-n", "--forcerun", "x"])
    assert config_words(["--forcerun", "x"]) == ([], ["--forcerun", "x"])


def test_help_names_every_command():
    text = repro("--help").stdout
    for command in ("run", "test", "setup", "status", "why", "claims", "report", "bench", "audit", "clean"):
        assert f"\n    {command} " in text


@pytest.fixture
def small(tmp_path):
    """A checkout whose environment `tiny` has nothing to install."""
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "tiny.lock").write_text("")
    (tmp_path / "envs" / "torch.txt").write_text("torch==2.13.0\n")
    return tmp_path


def test_an_environment_is_made_once_and_again_when_its_lock_changes(small):
    set_up(["tiny"], root=small)
    stamp = small / ".venv" / "tiny" / environments.STAMP
    first = json.loads(stamp.read_text())
    assert first["digest"] == digest_of("tiny", small)
    set_up(["tiny"], root=small)
    assert json.loads(stamp.read_text()) == first
    (small / "envs" / "tiny.lock").write_text("# changed\n")
    assert not is_ready("tiny", small)
    set_up(["tiny"], root=small)
    assert is_ready("tiny", small)


def test_a_half_made_environment_is_made_again(small):
    folder = small / ".venv" / "tiny"
    folder.mkdir(parents=True)
    (folder / "left-over").write_text("")
    assert not is_ready("tiny", small)
    set_up(["tiny"], root=small)
    assert is_ready("tiny", small)
    assert not (folder / "left-over").exists()


def test_a_python_without_ensurepip_says_what_to_install(small, monkeypatch):
    python = small / "python"
    python.write_text(
        '#!/bin/sh\necho "The virtual environment was not created: ensurepip is not available"; exit 1\n'
    )
    python.chmod(0o755)
    monkeypatch.setattr(environments, "find_python", lambda: str(python))
    with pytest.raises(SetupError, match=r"without ensurepip; install it .*python3\.11-venv"):
        set_up(["tiny"], root=small)
    assert not is_ready("tiny", small)


def test_no_python_3_11_says_how_to_get_one(monkeypatch, tmp_path):
    monkeypatch.setattr(environments, "_version_of", lambda python: "3.12")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match=r"there is no Python 3\.11 here; install it"):
        environments.find_python()


def test_an_unreachable_index_is_one_sentence(small, monkeypatch):
    (small / "envs" / "tiny.lock").write_text("six==1.17.0 --hash=sha256:" + "0" * 64 + "\n")
    # port 9 of this machine: nothing listens there
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SetupError, match="the package index is not reached"):
        set_up(["tiny"], root=small)
    assert not is_ready("tiny", small)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("ERROR: [Errno 28] No space left on device", "the disk is full"),
        ("THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE", "restore the lock"),
        ("ERROR: No matching distribution found for six", "the package index lacks a package"),
        ("libGL.so.1: cannot open shared object file", "a system library is missing"),
        ("something else", "pip failed; see the end of"),
    ],
)
def test_what_pip_says_becomes_one_sentence(text, sentence):
    assert sentence in pip_sentence(text, "main", "main.log")


def test_a_disk_that_is_nearly_full_is_seen_before_anything_is_removed(small, monkeypatch):
    set_up(["tiny"], root=small)
    (small / "envs" / "tiny.lock").write_text("# changed\n")
    usage = shutil.disk_usage(small)._replace(free=10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(SetupError, match="GB free"):
        set_up(["tiny"], root=small)
    assert (small / ".venv" / "tiny" / "bin" / "python").exists()


def test_a_named_build_of_torch_is_chosen_by_uv_and_an_address_by_pip(small, monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(environments, "_install", lambda command, log, name: calls.append(command))
    environments._install_torch(["python", "-m", "pip", "install"], tmp_path / "log", "main", "cu126", small)
    assert calls[-1][-3:] == ["--torch-backend", "cu126", "torch==2.13.0"]
    environments._install_torch(["python"], tmp_path / "log", "main", "https://example.org/whl", small)
    assert calls[-1] == ["python", "--index-url", "https://example.org/whl", "torch==2.13.0"]
