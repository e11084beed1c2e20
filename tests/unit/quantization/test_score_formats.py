"""Scores for users against counting by hand on networks that were exported and read back."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from stages.lib.core.errors import InputError
from stages.lib.core.prepared import ImageSplit, SplitInfo, write_images
from stages.lib.nets.convnet import ConvBN
from stages.lib.nets.model_folder import ModelInfo, read_model, write_model
from stages.lib.training.images import normalise
from stages.quantization.export_model import main as export
from stages.quantization.quantised_folder import read_quantised
from stages.quantization.score_formats import main

CLASSES = ("a", "b", "c", "d")
USERS = {"anna": ["d", "b"], "ben": ["a", "c"]}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    for split, n in (("train", 60), ("test", 48)):
        chance = np.random.default_rng(n)
        info = SplitInfo(
            dataset="made", split=split, classes=CLASSES, mean=(0.5,) * 3, std=(0.25,) * 3, digest=split, n=n,
            height=16, width=16, channels=3, licence="", citation="", redistribute=True,
        )  # fmt: skip
        labels = np.arange(n) % 4
        # classes differ in brightness, so that an untrained network tells some of them apart
        images = (chance.integers(0, 120, (n, 16, 16, 3)) + 40 * labels[:, None, None, None]).astype(np.uint8)
        write_images(folder / split, ImageSplit(images=images, labels=labels, info=info))
    torch.manual_seed(3)
    arguments = {"channels": 3, "classes": 4, "width": 8, "blocks": 2}
    about = ModelInfo(
        net="convnet.ConvBN", arguments=arguments, mean=info.mean, std=info.std, classes=CLASSES, dataset="made"
    )  # fmt: skip
    write_model(folder / "model", ConvBN(**arguments), about)
    return folder


def scored(inputs, target, *models):
    options = {
        "--models": [f"{name}={inputs / 'model'}" for name in models],
        "--train": [inputs / "train"],
        "--splits": [f"test={inputs / 'test'}"],
        "--steps": [json.dumps({"e2m1": {"formats": "E2M1"}})],
        "--users": [json.dumps(USERS)],
        "--calibration-images": [20],
        "--table": [target],
    }
    main(words(options))
    return pd.read_csv(target).set_index(["owner", "step", "user"])


def words(options):
    return [str(word) for option, values in options.items() for word in (option, *values)]


def images_of(inputs):
    images = normalise(np.load(inputs / "test" / "images.npy"), (0.5,) * 3, (0.25,) * 3)
    return images, np.load(inputs / "test" / "labels.npy")


@pytest.mark.parametrize("owner", ["everyone", "anna"])
def test_counts_are_those_of_the_exported_network(inputs, tmp_path, owner):
    """`anna`'s network is calibrated on her classes, as the export is that names them."""
    table = scored(inputs, tmp_path / "scores.csv", owner)
    plan = {"export": {"formats": "E2M1", "calibration_images": 20}, "technique": {}}
    plan["classes"] = USERS.get(owner, [])
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    options = {
        "--model": [inputs / "model"],
        "--train": [inputs / "train"],
        "--plan": [tmp_path / "plan.json"],
        "--folder": [tmp_path / "exported"],
    }
    export(words(options))
    networks = {"float": read_model(inputs / "model")[0], "e2m1": read_quantised(tmp_path / "exported")[0]}
    images, labels = images_of(inputs)
    for step, network in networks.items():
        with torch.inference_mode():
            logits = network(images).numpy()
        for user in USERS if owner == "everyone" else [owner]:
            ids = [CLASSES.index(name) for name in USERS[user]]
            mine = np.isin(labels, ids)
            right = np.array(ids)[logits[mine][:, ids].argmax(1)] == labels[mine]
            row = table.loc[owner, step, user]
            assert (row["n"], row["right"]) == (mine.sum(), right.sum())
            assert row["right_of_all"] == (logits[mine].argmax(1) == labels[mine]).sum()
        if owner == "everyone":
            assert table.loc[owner, step, "everyone"]["right"] == (logits.argmax(1) == labels).sum()


def test_a_network_of_nobody_is_refused(inputs, tmp_path):
    with pytest.raises(InputError, match="--models names carl, whom --users does not have"):
        scored(inputs, tmp_path / "scores.csv", "carl")
