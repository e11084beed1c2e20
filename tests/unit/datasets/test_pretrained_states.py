"""Published checkpoints fit our networks: twins with the documented names give the same logits as ours.

The twins are written after torchvision's documented layout, on torch's own attention, so that a tensor that lands
in the wrong place changes the logits even where its shape fits.
"""

import hashlib
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from stages.datasets.config import PretrainedEntry, Source
from stages.datasets.fetch_dataset import main as fetch_dataset
from stages.datasets.prepare_pretrained import main as prepare_pretrained
from stages.datasets.pretrained_states import NAMES, efficientnet_lite
from stages.datasets.sources import answer_of
from stages.lib.core.commands import to_json
from stages.lib.core.errors import InputError
from stages.lib.nets.build import build
from stages.lib.nets.model_folder import read_model
from workflow.lib.settings import load_registry

VIT = {"channels": 3, "classes": 7, "size": 16, "patch": 8, "width": 24, "depth": 2, "heads": 3}
MOBILENET = {"classes": 7, "width": 0.25, "imagenet_strides": True}
VGG = {"depth": 16, "classes": 7, "width": 2, "imagenet_head": True, "conv_bias": True}
RESNET = {"depth": 18, "classes": 7, "width": 8, "imagenet_stem": True}


class VitBlock(nn.Module):
    def __init__(self, width, heads, legacy):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.self_attention = nn.MultiheadAttention(width, heads, batch_first=True)
        names = ("linear_1", "1", "2", "linear_2", "4") if legacy else "01234"
        layers = (
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Dropout(0),
            nn.Linear(4 * width, width),
            nn.Dropout(0),
        )
        self.mlp = nn.Sequential(OrderedDict(zip(names, layers, strict=True)))

    def forward(self, x):
        y = self.ln_1(x)
        x = x + self.self_attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class TorchvisionVit(nn.Module):
    def __init__(self, legacy=False):
        super().__init__()
        width, tokens = VIT["width"], (VIT["size"] // VIT["patch"]) ** 2 + 1
        self.class_token = nn.Parameter(torch.randn(1, 1, width))
        self.conv_proj = nn.Conv2d(3, width, VIT["patch"], VIT["patch"])
        blocks = {f"encoder_layer_{i}": VitBlock(width, VIT["heads"], legacy) for i in range(VIT["depth"])}
        self.encoder = nn.Module()
        self.encoder.pos_embedding = nn.Parameter(torch.randn(1, tokens, width))
        self.encoder.layers = nn.Sequential(OrderedDict(blocks))
        self.encoder.ln = nn.LayerNorm(width, eps=1e-6)
        self.heads = nn.Sequential(OrderedDict(head=nn.Linear(width, VIT["classes"])))

    def forward(self, x):
        patches = self.conv_proj(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(len(x), -1, -1), patches], 1) + self.encoder.pos_embedding
        return self.heads(self.encoder.ln(self.encoder.layers(x))[:, 0])


def conv_norm(inputs, outputs, kernel, stride=1, groups=1):
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU6())


class MobileBlock(nn.Module):
    def __init__(self, inputs, outputs, stride, expansion):
        super().__init__()
        hidden = inputs * expansion
        expand = [conv_norm(inputs, hidden, 1)] if expansion > 1 else []
        project = nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv = nn.Sequential(*expand, conv_norm(hidden, hidden, 3, stride, hidden), *project)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.conv(x) if self.residual else self.conv(x)


class TorchvisionMobileNet(nn.Module):
    def __init__(self):
        super().__init__()
        inputs, layers = 8, [conv_norm(3, 8, 3, 2)]
        # the paper's table 2 at width 0.25, channels rounded to multiples of 8
        for expansion, outputs, count, stride in (
            (1, 8, 1, 1), (6, 8, 2, 2), (6, 8, 3, 2), (6, 16, 4, 2), (6, 24, 3, 1), (6, 40, 3, 2), (6, 80, 1, 1),
        ):  # fmt: skip
            for block in range(count):
                layers.append(MobileBlock(inputs, outputs, 1 if block else stride, expansion))
                inputs = outputs
        self.features = nn.Sequential(*layers, conv_norm(inputs, 1280, 1))
        self.classifier = nn.Sequential(nn.Dropout(0), nn.Linear(1280, 7))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


class TorchvisionVgg(nn.Module):
    """Plan D with batch norm at width 2, its classifier as published."""

    def __init__(self):
        super().__init__()
        layers, inputs = [], 3
        for width in (2, 2, 0, 4, 4, 0, 8, 8, 8, 0, 16, 16, 16, 0, 16, 16, 16, 0):
            if width:
                layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
                inputs = width
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(49 * inputs, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(),
            nn.Linear(4096, 7),
        )  # fmt: skip

    def forward(self, x):
        return self.classifier(nn.functional.adaptive_avg_pool2d(self.features(x), 7).flatten(1))


def trained_looking(model):
    """The network with batch-norm statistics that differ from layer to layer."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
        if isinstance(module, nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.5, 2)
        if isinstance(module, nn.MultiheadAttention):
            nn.init.normal_(module.in_proj_bias)
    return model.eval()


@pytest.mark.parametrize(
    ("twin", "names", "net", "arguments", "side"),
    [
        (TorchvisionVit, "torchvision_vit", "vit.ViT", VIT, 16),
        (lambda: TorchvisionVit(legacy=True), "torchvision_vit", "vit.ViT", VIT, 16),
        (TorchvisionMobileNet, "torchvision_mobilenet_v2", "mobilenet.MobileNetV2", MOBILENET, 64),
        (TorchvisionVgg, "torchvision_vgg16_bn", "vgg.VGG", VGG, 64),
    ],
    ids=["vit", "vit before torchvision 0.13", "mobilenet", "vgg"],
)
def test_renamed_states_give_the_twins_logits(twin, names, net, arguments, side):
    torch.manual_seed(0)
    twin, ours = trained_looking(twin()), build(net, arguments).eval()
    state = {NAMES[names](name): tensor for name, tensor in twin.state_dict().items()}
    assert len(state) == len(twin.state_dict())
    ours.load_state_dict(state)
    images = torch.randn(4, 3, side, side)
    torch.testing.assert_close(ours(images), twin(images), atol=1e-5, rtol=1e-5)


def test_resnet_has_torchvisions_names():
    block = ["conv1.weight", *norm("bn1"), "conv2.weight", *norm("bn2")]
    shortcut = ["downsample.0.weight", *norm("downsample.1")]
    wanted = ["conv1.weight", *norm("bn1"), "fc.weight", "fc.bias"]
    for layer in range(1, 5):
        for index in (0, 1):
            own = block + (shortcut if layer > 1 and index == 0 else [])
            wanted += [f"layer{layer}.{index}.{name}" for name in own]
    assert sorted(build("resnet.ResNet", RESNET).state_dict()) == sorted(wanted)


def norm(name):
    return [
        f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    ]


def test_efficientnet_names_follow_our_order():
    """Both name their layers in the order of the network, so that the renamed list must be ours."""
    theirs = ["_conv_stem.weight", *norm("_bn0")]
    for block in range(16):
        layers = ["_expand_conv.weight", *norm("_bn0")] if block else []
        layers += ["_depthwise_conv.weight", *norm("_bn1"), "_project_conv.weight", *norm("_bn2")]
        theirs += [f"_blocks.{block}.{layer}" for layer in layers]
    theirs += ["_conv_head.weight", *norm("_bn1"), "_fc.weight", "_fc.bias"]
    assert [efficientnet_lite(name) for name in theirs] == list(
        build("efficientnet.EfficientNetLite0", {}).state_dict()
    )


@pytest.fixture
def prepare(tmp_path, monkeypatch):
    """Fetches and prepares the weights that lie in WEIGHTS_DIR; gives the model folder."""
    monkeypatch.setenv("WEIGHTS_DIR", str(tmp_path / "user"))
    (tmp_path / "user").mkdir()

    def run(entry):
        manifest, out = str(tmp_path / "raw" / "source.json"), tmp_path / "model"
        fetch_dataset(["--name", "net", "--entry", to_json(entry), "--manifest", manifest])
        command = ["--name", "net", "--entry", to_json(entry), "--manifest", manifest]
        prepare_pretrained(
            [*command, "--weights", str(out / "weights.safetensors"), "--model", str(out / "model.json")]
        )
        return out

    return run


def entry_of(*sources, net="vit.ViT", arguments=VIT):
    return PretrainedEntry(
        title="Net", dataset="small", net=net, licence="none", citation="none", mean=(0.5,) * 3, std=(0.25,) * 3,
        arguments=arguments, sources=sources, caveat="seen in training",
    )  # fmt: skip


def source_of(reader, file, checksum="", **options):
    return Source(
        kind="folder", reader=reader, location="WEIGHTS_DIR", files={file: checksum}, options=options
    )


@pytest.mark.parametrize("reader", ["torch_state", "safetensors_state"])
def test_weights_of_the_users_folder_become_a_model_folder(tmp_path, prepare, reader):
    twin = trained_looking(TorchvisionVit())
    file = tmp_path / "user" / "net.bin"
    torch.save(twin.state_dict(), file) if reader == "torch_state" else save_file(twin.state_dict(), file)
    checksum = "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    missing = source_of("torch_state", "other.pth", names="torchvision_vit")
    source = source_of(reader, "net.bin", checksum, names="torchvision_vit")
    folder = prepare(entry_of(missing, source))
    model, info = read_model(folder)
    images = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(model(images), twin(images), atol=1e-5, rtol=1e-5)
    assert info.classes == tuple("0123456")
    assert (info.recipe["caveat"], info.recipe["recorded_top1"]) == ("seen in training", None)
    file.write_bytes(file.read_bytes()[:-1] + b"\xff")
    with pytest.raises(InputError, match=r"net\.bin is damaged"):
        prepare(entry_of(missing, source))


def test_weights_that_cannot_be_used_are_one_sentence(tmp_path, prepare, monkeypatch):
    entry = entry_of(source_of("safetensors_state", "net.safetensors"))
    with pytest.raises(InputError, match=r"net\.safetensors is not there"):
        prepare(entry)
    file = tmp_path / "user" / "net.safetensors"
    file.write_bytes(b"not weights")
    with pytest.raises(InputError, match=r"net\.safetensors is not a safetensors file"):
        prepare(entry)
    # torchvision's names without the option that renames them
    save_file(TorchvisionVit().state_dict(), file)
    with pytest.raises(InputError, match=r"the weights of net do not fit vit\.ViT"):
        prepare(entry)
    with pytest.raises(InputError, match="choose one of efficientnet_lite, torchvision_mobilenet_v2"):
        prepare(entry_of(source_of("safetensors_state", "net.safetensors", names="torchvision")))
    monkeypatch.delenv("WEIGHTS_DIR")
    assert "WEIGHTS_DIR is not set" in answer_of(entry, tmp_path / "nowhere").reasons[0]
    with pytest.raises(InputError, match="WEIGHTS_DIR is not set"):
        prepare_pretrained(
            ["--name", "net", "--entry", to_json(entry), "--manifest", str(tmp_path / "raw" / "source.json"),
             "--weights", str(tmp_path / "weights.safetensors"), "--model", str(tmp_path / "model.json")]
        )  # fmt: skip


def test_a_checksum_may_be_left_out_for_the_users_files_only():
    with pytest.raises(ValueError, match="give sha256"):
        Source(kind="url", reader="torch_state", location="https://host/", files={"net.pth": ""})


def test_pretrained_entries_name_networks_and_options_that_exist():
    for name, entry in load_registry().pretrained.items():
        with torch.device("meta"):
            build(entry.net, entry.arguments)
        assert entry.classes or entry.arguments["classes"], name
        for source in entry.sources:
            assert source.options.get("names", "torchvision_vit") in NAMES, name
            assert source.files, name
