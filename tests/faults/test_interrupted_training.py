"""A training job killed in its middle and started again ends with the weights of an undisturbed one."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from stages.datasets.prepare import prepare_split
from stages.lib.core.artifacts import file_digest
from stages.lib.core.errors import run
from stages.lib.core.prepared import write_images
from stages.teachers.train_teacher import main as train_teacher
from workflow.lib.settings import load_registry

ROOT = Path(__file__).resolve().parents[2]
RECIPE = {
    "dataset": "digits",
    "net": "convnet.ConvBN",
    "arguments": {"width": 16},
    "epochs": 12,
    "batch_size": 32,
    "flip": True,
    "shift_px": 1,
}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    entry = load_registry().datasets["digits"]
    for split in ("train", "test"):
        write_images(folder / split, prepare_split("digits", entry, split, entry.sources[0], folder))
    return folder


def arguments(train, test, out, state, **recipe):
    return [
        "--train", train, "--test", test, "--recipe", json.dumps(RECIPE | recipe), "--seed", "0", "--state", state,
        "--device", "cpu", "--weights", out / "weights.safetensors", "--model", out / "model.json",
        "--curve", out / "curve.csv", "--metrics", out / "metrics.json",
    ]  # fmt: skip


def command(digits, out, state):
    verb = [ROOT / "envs" / "py", "main", "-m", "stages.teachers.train_teacher"]
    return [*verb, *arguments(digits / "train", digits / "test", out, state)]


def fail(capsys, *given, **recipe):
    """What the command says on its standard error, and its exit code."""
    with pytest.raises(SystemExit) as left:
        run(lambda: train_teacher(list(map(str, arguments(*given, **recipe)))))
    return capsys.readouterr().err, left.value.code


def test_killed_in_the_middle_and_rerun_gives_the_same_weights(digits, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(command(digits, whole, tmp_path / "state-1"), check=True, capture_output=True)
    state = tmp_path / "state-2"
    with subprocess.Popen(
        command(digits, killed, state), stderr=subprocess.DEVNULL, start_new_session=True
    ) as job:
        while len(list(state.rglob("*.sha256"))) < 2:
            assert job.poll() is None, "the job ended before it could be killed"
            time.sleep(0.01)
        os.killpg(job.pid, signal.SIGKILL)
    assert not (killed / "model.json").exists()
    assert not (killed / "weights.safetensors").exists()
    again = subprocess.run(command(digits, killed, state), check=True, capture_output=True, text=True)
    # the first line of progress tells that it did not start from the beginning
    assert not again.stderr.startswith("epoch 1/12")
    for name in ("weights.safetensors", "model.json", "curve.csv"):
        assert file_digest(whole / name) == file_digest(killed / name), name


@pytest.mark.parametrize(
    ("recipe", "sentence"),
    [
        ({"epochs": 0}, "--recipe: epochs is 0: choose 1 or more"),
        ({"epoch": 3}, "--recipe has the unknown key 'epoch'"),
        ({"net": "lenet.LeNet9"}, "the family lenet has no network 'LeNet9'"),
        ({"arguments": {"width": "wide"}}, "--recipe.arguments.width"),
        ({"batch_size": 5000}, "less than a batch of 5000"),
    ],
)
def test_a_wrong_recipe_is_one_sentence_and_writes_nothing(digits, tmp_path, capsys, recipe, sentence):
    out = tmp_path / "out"
    said, code = fail(capsys, digits / "train", digits / "test", out, tmp_path / "state", **recipe)
    assert code == 2
    assert sentence in said
    assert not out.exists() or not list(out.iterdir())


@pytest.mark.parametrize("damage", ["missing", "cut", "not json"])
def test_a_damaged_prepared_set_is_named(digits, tmp_path, capsys, damage):
    train = tmp_path / "train"
    shutil.copytree(digits / "train", train)
    if damage == "missing":
        (train / "images.npy").unlink()
    elif damage == "cut":
        (train / "labels.npy").write_bytes((train / "labels.npy").read_bytes()[:40])
    else:
        (train / "dataset.json").write_text("{")
    said, code = fail(capsys, train, digits / "test", tmp_path / "out", tmp_path / "state")
    assert code == 2
    assert str(train) in said
