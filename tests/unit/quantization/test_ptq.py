"""Post-training quantisation: folding, calibration and the placement of formats, by second roads."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from stages.lib.core.errors import InputError
from stages.lib.nets.build import build
from stages.lib.numerics import quantisers
from stages.lib.numerics.formats import parse_format
from stages.quantization import quantise_model
from stages.quantization.ptq import _RangeObserver, calibrate, layers, predict, prepare, without_sign

NETS = [
    ("lenet.LeNet5", {"batch_norm": True}, (1, 28, 28)),
    ("airbench.Airbench", {}, (1, 28, 28)),
    ("resnet.CifarResNet", {"depth": 8}, (3, 32, 32)),
    ("resnet.ResNet", {"width": 8}, (3, 32, 32)),
]


def random_net(net, arguments, seed=0):
    """A network whose batch norms have statistics, gains (of both signs) and shifts of their own."""
    torch.manual_seed(seed)
    model = build(net, arguments).eval()
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.normal_(norm.weight, 1, 0.5)
        nn.init.normal_(norm.bias, 0, 0.2)
        nn.init.normal_(norm.running_mean, 0, 0.2)
        nn.init.uniform_(norm.running_var, 0.5, 1.5)
    return model


@pytest.mark.parametrize(("net", "arguments", "shape"), NETS, ids=lambda v: v if isinstance(v, str) else "")
def test_folding_leaves_the_function_and_the_network_alone(net, arguments, shape):
    model = random_net(net, arguments)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    x = torch.randn(4, *shape)
    with torch.no_grad():
        expected, prepared = model(x), prepare(model)
        # folding changes the order of float32 sums: a few units in the last place per layer
        torch.testing.assert_close(prepared(x), expected, rtol=1e-4, atol=1e-4)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    foldable = sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    left = sum(isinstance(m, nn.BatchNorm2d) for m in prepared.modules())
    assert left == (3 if net.startswith("airbench") else 0) < foldable  # a norm behind pooling stays


@pytest.mark.parametrize(("net", "arguments", "shape"), NETS, ids=lambda v: v if isinstance(v, str) else "")
def test_every_input_and_weight_is_on_its_grid_and_edges_keep_eight_bits(net, arguments, shape):
    x = torch.randn(8, *shape)
    quantised = quantise_model(random_net(net, arguments), "E2M1", "E3M2", x)
    found = list(layers(quantised).values())
    kinds = (nn.Conv2d, nn.Linear)
    assert len(found) == sum(isinstance(m, kinds) for m in build(net, arguments).modules())
    assert isinstance(found[0].layer, nn.Conv2d)
    assert isinstance(found[-1].layer, nn.Linear)
    for i, layer in enumerate(found):
        edge = i in (0, len(found) - 1)
        weight_format = parse_format("E3M4" if edge else "E2M1")
        float_weight = layer.float_weight.numpy()
        scale = quantisers.abs_max_scale(float_weight, weight_format, axis=0)
        expected = quantisers.quantise(float_weight, weight_format, scale)
        np.testing.assert_array_equal(layer.layer.weight.numpy(), expected)
        assert layer.activation_format == parse_format("E3M4" if edge else "E3M2")


def test_a_layer_computes_with_its_rounded_input():
    x = torch.randn(16, 3, 8, 8)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 5))
    quantised = quantise_model(model, "INT4", "INT4", x, edge_format=None, percentile=100)
    first, last = layers(quantised).values()
    integer = parse_format("INT4")
    u = quantisers.quantise(x.numpy(), integer, quantisers.abs_max_scale(x.numpy(), integer))
    with torch.no_grad():
        hidden = first.layer(torch.from_numpy(u)).flatten(1).numpy()
        # the range of the last layer's input is that of the float network
        float_hidden = model[0](x).numpy()
        u = quantisers.quantise(hidden, integer, quantisers.abs_max_scale(float_hidden, integer))
        expected = last.layer(torch.from_numpy(u))
    torch.testing.assert_close(quantised(x), expected, rtol=0, atol=0)


@given(st.integers(0, 2**32 - 1), st.sampled_from([60.0, 99.0, 99.9, 99.999, 100.0]), st.integers(1, 7))
def test_range_equals_numpys_percentile(seed, percentile, batch):
    x = np.random.default_rng(seed).standard_normal((10, 37)).astype(np.float32)
    observer = _RangeObserver(percentile, images=len(x))
    for part in torch.from_numpy(x).split(batch):
        observer.see(part)
    expected = np.percentile(np.abs(x).astype(np.float64), percentile)
    assert observer.range().threshold == pytest.approx(expected, rel=1e-9)
    assert observer.range().negative


def test_calibration_sees_the_float_network():
    x = torch.randn(12, 1, 28, 28)
    model = random_net("lenet.LeNet5", {"batch_norm": True})
    quantised = quantise_model(model, "INT3", "INT3", x)
    fresh = calibrate(prepare(model), x, percentile=99.9, batch=5)
    assert calibrate(quantised, x, percentile=99.9, batch=5) == fresh
    assert layers(quantised)["hidden"].activation_format == parse_format("INT3")  # and leaves formats alone


@pytest.mark.parametrize("signs", ["unsigned_mantissa", "unsigned_exponent"])
def test_only_layers_behind_relu_lose_the_sign(signs):
    model = random_net("lenet.LeNet5", {})
    quantised = quantise_model(
        model, "E2M1", "E2M1", torch.randn(8, 1, 28, 28), edge_format=None, signs=signs
    )
    first, *others = (layer.activation_format for layer in layers(quantised).values())
    assert first == parse_format("E2M1")
    assert set(others) == {parse_format("UE2M2" if signs == "unsigned_mantissa" else "UE3M1")}
    assert without_sign(parse_format("INT4"), signs) == parse_format("UINT4")


def test_eight_bits_keep_the_classes_and_three_bits_lose_more():
    torch.manual_seed(0)
    x = torch.randn(600, 1, 28, 28)
    model = random_net("lenet.LeNet5", {"batch_norm": True})
    with torch.no_grad():
        model.head.bias -= model(x).mean(0)  # without it a random network sees one class everywhere
    classes = predict(model, x, batch=50)
    agreement = {
        name: (predict(quantise_model(model, name, name, x[:100]), x, batch=50) == classes).double().mean()
        for name in ("E3M4", "E1M1")
    }
    assert agreement["E3M4"] > 0.9 > agreement["E1M1"]


def test_a_network_that_branches_on_values_is_refused():
    class Branching(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(InputError, match="Branching cannot be traced"):
        prepare(Branching())
