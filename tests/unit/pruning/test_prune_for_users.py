"""The command that prunes for several users: folders that read back, masks that hold, mistakes in one sentence."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from stages.lib.core.errors import InputError
from stages.lib.core.prepared import ImageSplit, SplitInfo, write_images
from stages.lib.nets.convnet import ConvBN
from stages.lib.nets.model_folder import ModelInfo, read_model, write_model
from stages.lib.sparse.matrices import as_matrix
from stages.lib.sparse.packed import pack
from stages.pruning.network import layers_of
from stages.pruning.prune_for_classes import main

CLASSES = ("a", "b", "c", "d")
CONFIG = {"images_per_class": 6, "batch_size": 6, "rounds": 2, "epochs_per_round": 1, "last_epochs": 1}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    chance = np.random.default_rng(0)
    info = SplitInfo(
        dataset="made", split="train", classes=CLASSES, mean=(0.5,) * 3, std=(0.25,) * 3, digest="d", n=40, height=16,
        width=16, channels=3, licence="", citation="", redistribute=True,
    )  # fmt: skip
    images = chance.integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    write_images(folder / "train", ImageSplit(images=images, labels=np.arange(40) % 4, info=info))
    torch.manual_seed(0)
    arguments = {"channels": 3, "classes": 4, "width": 16, "blocks": 3}
    model = ModelInfo(
        net="convnet.ConvBN", arguments=arguments, mean=info.mean, std=info.std, classes=CLASSES, dataset="made"
    )  # fmt: skip
    write_model(folder / "model", ConvBN(**arguments), model)
    return folder


def command(inputs, target, users, arm="hybrid"):
    options = {
        "--model": inputs / "model",
        "--train": inputs / "train",
        "--config": json.dumps(CONFIG),
        "--arm": arm,
        "--sparsity": 0.8,
        "--users": json.dumps(users),
        "--folder": target,
    }
    main([str(word) for option in options.items() for word in option])


def test_each_user_gets_a_network_that_follows_the_pattern(inputs, tmp_path):
    command(inputs, tmp_path, {"anna": ["b", "d"], "ben": ["a"]})
    weights = {}
    for user, classes in {"anna": ["b", "d"], "ben": ["a"]}.items():
        model, info = read_model(tmp_path / user)
        assert info.recipe["classes"] == classes
        assert info.parent_digest == read_model(inputs / "model")[1].weights_digest
        masks = load_file(tmp_path / user / "masks.safetensors")
        layers = layers_of(model)
        assert set(masks) == {f"{name}.weight" for name in layers.masked}
        for name in layers.masked:
            weight = layers.modules[name].weight.detach()
            assert not weight[~masks[f"{name}.weight"]].any()
            pack(as_matrix(weight, 4).numpy(), **info.recipe["pattern"])  # refuses what does not follow
        zeros = sum(int((m.weight == 0).sum()) for m in layers.modules.values())
        assert zeros / layers.weights == pytest.approx(info.recipe["sparsity"], abs=1e-6)
        assert abs(info.recipe["sparsity"] - 0.8) < 0.05
        weights[user] = layers.modules["head"].weight
    assert not torch.equal(weights["anna"], weights["ben"])


@pytest.mark.parametrize(
    ("users", "arm", "words"),
    [
        (
            {"anna": ["z"]},
            "hybrid",
            "anna wants 'z', which the network does not know; choose from a, b, c, d",
        ),
        ({"anna": []}, "hybrid", "anna wants no class"),
        ([1], "hybrid", "--users is .1.; it must be an object"),
        ({"anna": ["a"]}, "channel", "which no model folder holds"),
    ],
)
def test_mistakes_are_one_sentence_and_write_nothing(inputs, tmp_path, users, arm, words):
    with pytest.raises(InputError, match=words):
        command(inputs, tmp_path / "out", users, arm)
    assert not (tmp_path / "out").exists()
