"""Layer tables have the shapes of im2col, the weights of the network, and exactly torch's count of operations."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from stages.hardware import tabulate_layers
from stages.lib.core.errors import InputError
from stages.lib.costs.layers import macs, read_layers, weights
from stages.lib.nets.build import build
from stages.lib.nets.layer_table import layer_table
from stages.lib.nets.model_folder import ModelInfo, write_model

ROOT = Path(__file__).resolve().parents[3]
IMAGENET = {"classes": 1000}
VIT = {"channels": 3, "size": 224, "patch": 32, "width": 768, "depth": 12, "heads": 12, **IMAGENET}


@pytest.mark.parametrize(
    ("net", "arguments", "size", "published_gmacs"),
    [
        # torchvision's published numbers of multiply-accumulates (its "GFLOPS"), at 224 x 224
        ("resnet.ResNet", {"depth": 50, "imagenet_stem": True, **IMAGENET}, (3, 224, 224), 4.09),
        ("vgg.VGG", {"depth": 16, "imagenet_head": True, **IMAGENET}, (3, 224, 224), 15.47),
        ("mobilenet.MobileNetV2", {"imagenet_strides": True, **IMAGENET}, (3, 224, 224), 0.30),
        # no number is published for these
        ("resnet.CifarResNet", {"depth": 20}, (3, 32, 32), None),
        ("resnet.CifarResNet", {"depth": 56}, (3, 32, 32), None),
        ("mobilenet.DepthwiseCNN", {}, (1, 28, 28), None),
        ("vit.ViT", VIT, (3, 224, 224), 4.41),
    ],
)
@pytest.mark.parametrize("batch", [1, 3])
def test_macs_are_those_of_torchs_flop_counter(net, arguments, size, published_gmacs, batch):
    with torch.device("meta"):
        model, images = build(net, arguments).eval(), torch.empty(batch, *size)
    table = layer_table(model, images)
    with FlopCounterMode(display=False) as counter:
        model(images)
    assert 2 * macs(table).sum() == counter.get_total_flops()
    if published_gmacs:
        assert macs(table).sum() / batch / 1e9 == pytest.approx(published_gmacs, abs=0.005)
    state = model.state_dict()
    table = table[table.weight_name != ""]
    assert weights(table).tolist() == [state[name].numel() for name in table.weight_name]


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_a_convolution_is_its_im2col_product(groups):
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 12, (3, 5), stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=groups, bias=False)
    images = torch.randn(2, 6, 13, 17)
    row = layer_table(nn.Sequential(conv), images).iloc[0]
    columns = nn.functional.unfold(images, (3, 5), dilation=(1, 2), padding=(1, 2), stride=(2, 1))
    a = columns.transpose(1, 2).reshape(row.m, groups, row.k)  # (batch * pixels, groups, k)
    b = conv.weight.reshape(groups, row.n, row.k)
    product = torch.einsum("mgk,gnk->mgn", a, b)
    expected = conv(images).permute(0, 2, 3, 1).reshape(row.m, groups, row.n)
    torch.testing.assert_close(product, expected)
    assert row.groups == groups


def test_query_heads_that_share_keys_stack_their_rows():
    class Shared(nn.Module):
        def forward(self, q, k):
            return nn.functional.scaled_dot_product_attention(q, k, k, enable_gqa=True)

    with torch.device("meta"):
        table = layer_table(Shared(), torch.empty(2, 8, 5, 16), torch.empty(2, 4, 9, 16))
        block = layer_table(build("vit.ViT", {"depth": 1}), torch.empty(1, 1, 28, 28))
    # attention is named after the module that computes it, not after the layer before it
    assert block.name.tolist()[1:5] == [
        f"blocks.0.{n}" for n in ("qkv", "product", "product#2", "projection")
    ]
    assert table[["m", "k", "n", "groups"]].to_numpy().tolist() == [[10, 16, 9, 8], [10, 9, 16, 8]]


def test_a_layer_used_twice_has_two_rows_and_an_idle_one_none():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.idle = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return self.inner(self.inner(x)) + self.idle(x[:0]).sum()

    model = Twice().train()
    table = layer_table(model, torch.ones(3, 4))
    assert table.name.tolist() == ["inner", "inner#2"]
    assert set(table.weight_name) == {"inner.weight"}
    assert model.training
    assert not model.inner._forward_hooks


def test_what_a_table_cannot_hold_is_one_sentence():
    with pytest.raises(InputError, match="layer 1 is a ConvTranspose2d"):
        layer_table(nn.Sequential(nn.Conv2d(3, 3, 1), nn.ConvTranspose2d(3, 3, 2)), torch.ones(1, 3, 8, 8))
    with pytest.raises(InputError, match="Sequential does not take an input of 1 x 4 x 8 x 8"):
        layer_table(nn.Sequential(nn.Conv2d(3, 3, 1)), torch.ones(1, 4, 8, 8))
    with pytest.raises(InputError, match="holds no layers"):
        layer_table(nn.Sequential(nn.ReLU()), torch.ones(1, 3))


def test_the_verb_tabulates_a_model_folder_a_net_and_a_shape(tmp_path):
    out = tmp_path / "layers.csv"
    model = build("resnet.CifarResNet", {"depth": 8})
    info = ModelInfo(
        net="resnet.CifarResNet",
        arguments={"depth": 8},
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        classes=("a",) * 10,
        dataset="any",
    )
    write_model(tmp_path / "model", model, info)
    size = ["--input", "3", "32", "32"]
    tabulate_layers.main(["--model", str(tmp_path / "model"), *size, "--layers", str(out)])
    folder = read_layers(out)
    tabulate_layers.main(
        ["--net", "resnet.CifarResNet", "--arguments", '{"depth": 8}', *size, "--layers", str(out)]
    )
    assert read_layers(out).equals(folder)
    assert folder.equals(layer_table(model, torch.ones(1, 3, 32, 32)))
    tabulate_layers.main(["--shape", "smollm2-135m", "--tokens", "8", "--layers", str(out)])
    assert len(read_layers(out)) == 30 * 9 + 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--net", "lenet.LeNet5", "--input", "1", "0", "28"], "each 1 or more"),
        (["--net", "lenet.LeNet5", "--input", "1", "28", "28", "--batch", "0"], "--batch is 0"),
        (
            ["--net", "lenet.LeNet5", "--input", "3", "28", "28"],
            "LeNet5 does not take an input of 1 x 3 x 28 x 28",
        ),
        (["--net", "lenet.LeNet5"], "--input CHANNELS HEIGHT WIDTH"),
        (
            ["--net", "lenet.LeNet5", "--input", "1", "28", "28", "--arguments", "[1]"],
            "it must be an object",
        ),
        (["--shape", "llama2-7b"], "--shape takes --tokens"),
        (["--shape", "llama2-7b", "--tokens", "0"], "tokens is 0"),
        (["--shape", "llama9", "--tokens", "1"], "no model shape 'llama9'"),
    ],
)
def test_a_wrong_wish_is_one_sentence_and_writes_nothing(tmp_path, arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        tabulate_layers.main([*arguments, "--layers", str(tmp_path / "layers.csv")])
    assert list(tmp_path.iterdir()) == []


def test_the_command_leaves_with_code_2_and_no_traceback(tmp_path):
    command = [
        sys.executable,
        "-m",
        "stages.hardware.tabulate_layers",
        "--shape",
        "opt-1.3b",
        "--tokens",
        "0",
    ]
    done = subprocess.run(
        [*command, "--layers", str(tmp_path / "layers.csv")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "error: tokens is 0; choose 1 or more\n"
    assert list(tmp_path.iterdir()) == []
