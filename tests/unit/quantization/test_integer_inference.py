"""Networks on codes against float64 convolutions and their fake-quantised twins; the command, and its control."""

import copy
import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from stages.lib.core.commands import from_json
from stages.lib.core.errors import InputError
from stages.lib.core.measurements import read_measurements
from stages.lib.core.prepared import ImageSplit, SplitInfo, write_images
from stages.lib.nets.model_folder import ModelInfo, write_model
from stages.quantization import plot_accumulators, quantise_model, verify_integer_inference
from stages.quantization.config import IntegerInferenceConfig, Technique
from stages.quantization.integer_checks import compare_layers, differing_logits
from stages.quantization.integer_inference import float64_twin, integer_network
from stages.quantization.network import layers
from tests.unit.quantization.nets import random_net

NETS = [
    ("lenet.LeNet5", {"batch_norm": True}),
    ("mobilenet.DepthwiseCNN", {"widths": [8, 16, 24]}),
    ("resnet.ResNet", {"width": 4, "channels": 1}),
]
PAIRS = ["INT8", "INT4xE3M2", "E2M1", "E4M3xINT8", "E5M2"]


def quantise(model, pair, x, **technique):
    return quantise_model(model, pair, x, technique=Technique(**technique), edge_format=None)


CONVOLUTIONS = [
    {},
    {"stride": (2, 1), "padding": (1, 2)},
    {"dilation": (1, 2), "padding": "same"},
    {"groups": 3, "stride": 2, "padding": 1},
    {"groups": 6, "dilation": 2},
    {"padding": 1, "padding_mode": "reflect"},
]


@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
@pytest.mark.parametrize("pair", ["INT4xE3M2", "E5M2"])
@pytest.mark.parametrize("arguments", CONVOLUTIONS, ids=str)
def test_a_convolution_is_that_of_the_dequantised_operands(arguments, pair, granularity):
    torch.manual_seed(1)
    x = torch.randn(4, 6, 9, 11)
    model = nn.Sequential(nn.Conv2d(6, 12, (3, 2), **arguments))
    prepared = quantise(model, pair, x, granularity=granularity)
    (layer,) = layers(prepared).values()
    reference = copy.deepcopy(model[0]).double()
    # weights and inputs as stored in float32: each within 2^-24 of value * scale
    reference.weight.data = layer.layer.weight.double()
    found = integer_network(prepared)[0](x.double())
    with torch.no_grad():
        expected, stored = reference(layer.quantised_input(x).double()), layer.layer.weight.double()
        reference.weight.data, reference.bias.data = stored.abs(), layer.layer.bias.double().abs()
        magnitude = reference(layer.quantised_input(x).double().abs())
    assert found.dtype == torch.float64
    assert found.shape == expected.shape
    assert ((found - expected).abs() <= 2.0**-22 * magnitude).all()


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize(("net", "arguments"), NETS, ids=lambda v: v if isinstance(v, str) else "")
def test_the_network_on_codes_is_its_twin_unless_the_accumulator_is_too_narrow(net, arguments, pair):
    x = torch.randn(12, 1, 28, 28)
    prepared = quantise(random_net(net, arguments), pair, x)
    twin = float64_twin(prepared)(x.double())
    network, counters = integer_network(prepared)
    assert differing_logits(network.double()(x.double()), twin) == 0
    outputs, violations = compare_layers(prepared, x, batch=6)
    reports = {name: counter.report() for name, counter in counters.items()}
    assert violations == 0
    assert outputs == sum(r.dot_products for r in reports.values()) > 0
    assert all(r.needed_bits <= r.exact_bits for r in reports.values())

    enough = {name: r.needed_bits for name, r in reports.items()}
    for overflow in ("wrap", "saturate"):
        same, _ = integer_network(prepared, accumulator_bits=enough, overflow=overflow)
        assert differing_logits(same.double()(x.double()), twin) == 0
        narrow, counters = integer_network(
            prepared, accumulator_bits={name: bits - 2 for name, bits in enough.items()}, overflow=overflow
        )
        assert differing_logits(narrow.double()(x.double()), twin) > 0
        first = counters[next(iter(counters))].report()  # its input is the same: the wide run foretold this
        wide = reports[first.layer].histogram
        assert first.overflows == sum(n for bits, n in wide.items() if bits > enough[first.layer] - 2) > 0


@pytest.mark.parametrize(
    "technique",
    [{"smooth": 0.5}, {"rounding": "gptq", "bias_correction": True}, {"weight_scale": "mse"}],
    ids=str,
)
def test_other_techniques_run_on_codes_too(technique):
    x = torch.randn(12, 1, 28, 28)
    prepared = quantise(random_net("lenet.LeNet5", {"batch_norm": True}), "E2M1xE3M2", x, **technique)
    found = integer_network(prepared)[0].double()(x.double())
    assert differing_logits(found, float64_twin(prepared)(x.double())) == 0
    assert compare_layers(prepared, x, batch=6)[1] == 0


def test_linear_layers_take_tokens():
    x = torch.randn(5, 7, 12)
    prepared = quantise(nn.Sequential(nn.Linear(12, 8), nn.GELU(), nn.Linear(8, 3, bias=False)), "E3M2", x)
    network, counters = integer_network(prepared)
    found = network(x)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, prepared(x), rtol=1e-5, atol=1e-5)
    assert [c.report().dot_products for c in counters.values()] == [5 * 7 * 8, 5 * 7 * 3]


def test_the_paper_has_no_width_for_mixed_pairs():
    x = torch.randn(4, 6)
    for pair, widths in (("INT4xE3M2", (None,)), ("INT4", (4 + 4 + 3 + 1,))):
        network, counters = integer_network(quantise(nn.Sequential(nn.Linear(6, 2)), pair, x))
        network(x)
        assert tuple(c.report().paper_bits for c in counters.values()) == widths


@pytest.mark.parametrize("granularity", ["per_group", "mx"])
def test_scales_that_change_along_the_sum_are_refused(granularity):
    x = torch.randn(4, 6)
    prepared = quantise(nn.Sequential(nn.Linear(6, 2)), "E2M1", x, granularity=granularity, group=2)
    for make in (integer_network, float64_twin):
        with pytest.raises(InputError, match="layer 0: its scales change along a dot product"):
            make(prepared)


def test_half_quantised_or_stale_layers_are_refused():
    x = torch.randn(4, 6)
    prepared = quantise(nn.Sequential(nn.Linear(6, 2)), "INT4", x)
    (layer,) = layers(prepared).values()
    with pytest.raises(InputError, match="names 'head'"):
        integer_network(prepared, accumulator_bits={"head": 12})
    layer.layer.weight[0, 0] += 0.01 * layer.weight_scale.min()
    with pytest.raises(InputError, match="not values of INT4"):
        integer_network(prepared)
    layer.activation_format = None
    with pytest.raises(InputError, match="the input stayed float"):
        integer_network(prepared)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A LeNet-5 with random weights, and random images."""
    root = tmp_path_factory.mktemp("codes")
    info = ModelInfo(
        net="lenet.LeNet5", arguments={"batch_norm": True}, mean=(0.5,), std=(0.289,), classes=("a",), dataset="noise"
    )  # fmt: skip
    write_model(root / "model", random_net("lenet.LeNet5", {"batch_norm": True}), info)
    for split, seed in (("train", 0), ("test", 1)):
        rng = np.random.default_rng(seed)
        info = SplitInfo(
            dataset="noise", split=split, classes=("a",) * 10, mean=(0.5,), std=(0.25,), digest=split * 2, n=30,
            height=28, width=28, channels=1, licence="", citation="", redistribute=True,
        )  # fmt: skip
        images = rng.integers(0, 256, (30, 28, 28, 1), dtype=np.uint8)
        write_images(root / split, ImageSplit(images=images, labels=rng.integers(0, 10, 30), info=info))
    return root


def test_the_command_measures_no_difference_and_its_control_does(folders, tmp_path):
    config = {"pairs": ["INT4", "INT4xE3M2"], "test_images": 20, "layer_images": 10, "calibration_images": 10}
    paths = {"model": "model", "train": "train", "test": "test"}
    arguments = [part for key, name in paths.items() for part in (f"--{key}", str(folders / name))]
    outputs = ["--table", str(tmp_path / "t.csv"), "--measurements", str(tmp_path / "m.json")]
    verify_integer_inference.main(
        [*arguments, *outputs, "--config", json.dumps(config | {"narrower_bits": [2]})]
    )
    (measured,) = read_measurements(tmp_path / "m.json")
    assert (measured.claim, measured.value, measured.n) == ("M16", 0, 2 * 20 * 10)
    assert measured.controls["layer_violations"] == 0 < measured.controls["layer_outputs"]
    assert measured.controls["least_differing_logits_2_bits_narrower"] > 0
    table = pd.read_csv(tmp_path / "t.csv")
    assert len(table) == 2 * 3 * (1 + 5)  # pairs, accumulators, the network and its layers
    network = table[table.layer.isna()]
    needed = network[network.accumulator_bits.isna()].set_index("pair").needed_bits
    assert measured.controls["first_overflow_bits_INT4"] == needed["INT4"] - 1
    assert (network.dropna(subset="accumulator_bits").overflows > 0).all()

    figure, drawn = ["--figure", str(tmp_path / "f.svg")], ["--drawn", str(tmp_path / "f.csv")]
    plot_accumulators.main(["--tables", str(tmp_path / "t.csv"), *figure, *drawn])
    shown = pd.read_csv(tmp_path / "f.csv")
    assert sorted(shown["bits_taken"]) == [0, 0, 2, 2, 2, 2]
    assert dict(zip(shown["pair"], shown["needed_bits"], strict=True)) == dict(needed)
    assert (shown["needed_bits"] <= shown["exact_bits"]).all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"pairs": []}, "pairs is empty"),
        ({"pairs": ["INT4xE9M9"]}, "pairs: E9M9 has 19 bits"),
        ({"granularity": "per_group"}, "change along a dot product"),
        ({"narrower_bits": [0]}, "narrower_bits holds 0"),
        ({"layer_images": 0}, "layer_images is 0"),
    ],
)
def test_wrong_settings_are_refused_with_the_key(settings, words):
    with pytest.raises(InputError, match=words):
        from_json(IntegerInferenceConfig, json.dumps(settings), where="--config")
