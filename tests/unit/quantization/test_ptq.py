"""Post-training quantisation: folding, calibration and the placement of formats, by second roads."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from stages.lib.core.errors import InputError
from stages.lib.nets.build import build
from stages.lib.nets.graph import pad_input
from stages.lib.numerics import quantisers
from stages.lib.numerics.formats import parse_format
from stages.quantization import quantise_model
from stages.quantization.calibration import (
    _InputObserver,
    calibrate,
    input_gram,
    reconstruction_targets,
)
from stages.quantization.config import TECHNIQUES
from stages.quantization.network import im2col, layers, logits_in_batches, prepare
from stages.quantization.ptq import without_sign
from tests.unit.quantization.nets import NETS, name_of, random_net


@pytest.mark.parametrize(("net", "arguments", "shape"), NETS, ids=name_of)
def test_folding_leaves_the_function_and_the_network_alone(net, arguments, shape):
    model = random_net(net, arguments)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    x = torch.randn(4, *shape)
    with torch.no_grad():
        expected, prepared = model(x), prepare(model)
        # folding changes the order of float32 sums: a few units in the last place per layer
        torch.testing.assert_close(prepared(x), expected, rtol=1e-4, atol=1e-4)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    left = sum(isinstance(m, nn.BatchNorm2d) for m in prepared.modules())
    assert left == (3 if net.startswith("airbench") else 0)  # a norm behind pooling stays


@pytest.mark.parametrize(("net", "arguments", "shape"), NETS, ids=name_of)
def test_every_input_and_weight_is_on_its_grid_and_edges_keep_eight_bits(net, arguments, shape):
    x = torch.randn(8, *shape)
    quantised = quantise_model(random_net(net, arguments), "E2M1xE3M2", x)
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
        assert layer.weight_format == weight_format
        assert layer.activation_format == parse_format("E3M4" if edge else "E3M2")


def test_a_layer_computes_with_its_rounded_input():
    x = torch.randn(16, 3, 8, 8)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 5))
    quantised = quantise_model(model, "INT4", x, edge_format=None, technique="abs_max")
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


def test_a_network_of_the_users_own_and_formats_of_single_layers():
    """One call, any pair of formats, a network that is not in stages/lib/nets (README)."""

    class Recogniser(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Sequential(nn.Conv2d(2, 6, 3, padding="same"), nn.BatchNorm2d(6), nn.SiLU())
            self.gate = nn.Conv2d(6, 6, 3, groups=3, bias=False)
            self.classes = nn.Linear(6, 4)

        def forward(self, x):
            x = self.encoder(x)
            return self.classes((self.gate(x).sigmoid() * x[:, :, 1:-1, 1:-1]).amax((2, 3)))

    torch.manual_seed(0)
    model, x = Recogniser().eval(), torch.randn(200, 2, 9, 9)
    with torch.no_grad():
        float_logits = model(x)
    for technique in TECHNIQUES:
        quantised = quantise_model(model, "INT8xE3M4", x[:100], technique=technique, rounding_steps=20)
        error = (quantised(x) - float_logits).norm() / float_logits.norm()
        assert 0 < error < 0.1, technique
    quantised = quantise_model(model, "INT4", x[:100], edge_format=None, layer_formats={"gate": "E2M1xE4M3"})
    used = {n: (v.weight_format.name, v.activation_format.name) for n, v in layers(quantised).items()}
    assert used == {"encoder.0": ("INT4", "INT4"), "gate": ("E2M1", "E4M3"), "classes": ("INT4", "INT4")}
    with pytest.raises(InputError, match=r"no layer 'gates'.*encoder\.0, gate, classes"):
        quantise_model(model, "INT4", x, layer_formats={"gates": "INT8"})
    with pytest.raises(InputError, match="no technique 'gpqt'"):
        quantise_model(model, "INT4", x, technique="gpqt")


@given(st.integers(0, 2**32 - 1), st.sampled_from([60.0, 99.0, 99.9, 99.999, 100.0]), st.integers(1, 7))
def test_range_equals_numpys_percentile(seed, percentile, batch):
    x = np.random.default_rng(seed).standard_normal((10, 37)).astype(np.float32)
    observer = _InputObserver(percentile, images=len(x))
    for part in torch.from_numpy(x).split(batch):
        observer.see(part, -1)
    seen = observer.statistics()
    expected = np.percentile(np.abs(x).astype(np.float64), percentile)
    assert seen.threshold == pytest.approx(expected, rel=1e-9)
    assert seen.negative
    assert seen.maximum == np.abs(x).max()
    np.testing.assert_array_equal(seen.channel_maximum, np.abs(x).max(0))
    assert len(seen.sample) <= x.size
    assert np.isin(seen.sample.numpy(), x).all()


def test_calibration_sees_the_float_network():
    x = torch.randn(12, 1, 28, 28)
    model = random_net("lenet.LeNet5", {"batch_norm": True})
    settings = {"percentile": 99.9, "batch": 5}
    quantised = quantise_model(model, "INT3", x, technique="bias_corrected")
    again, fresh = calibrate(quantised, x, **settings), calibrate(prepare(model), x, **settings)
    assert {n: s.threshold for n, s in again.items()} == {n: s.threshold for n, s in fresh.items()}


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(6, 4, 3, padding=1, stride=2),
        nn.Conv2d(6, 6, (3, 2), groups=3, padding="same", dilation=2),
        nn.Linear(6, 4),
    ],
)
def test_the_gram_matrix_gives_the_error_of_a_rounded_weight(layer):
    torch.manual_seed(0)
    x = torch.randn(5, 6, 9, 8) if isinstance(layer, nn.Conv2d) else torch.randn(5, 7, 6)
    gram, columns = input_gram(layer, x, columns=10**9)
    with torch.no_grad():
        exact = layer(x) - (layer.bias.view(1, -1, 1, 1) if x.dim() == 4 else layer.bias)
        assert columns == exact.numel() // 4 if x.dim() == 3 else columns == exact[:, 0].numel()
        weight = layer.weight.reshape(len(gram), -1, gram.shape[-1])
        power = torch.einsum("gok,gkl,gol->", weight, gram, weight)
        torch.testing.assert_close(power, exact.square().sum(), rtol=1e-4, atol=0)
        if isinstance(layer, nn.Conv2d):
            product = (weight @ im2col(layer, pad_input(layer, x))).flatten(0, 1).view(len(layer.weight), -1)
            torch.testing.assert_close(product, exact.transpose(0, 1).flatten(1), rtol=1e-4, atol=1e-5)


def test_bias_correction_gives_every_channel_its_mean():
    x = torch.randn(40, 3, 32, 32)
    model = random_net("resnet.CifarResNet", {"depth": 8})
    corrected = quantise_model(model, "INT3", x, technique="bias_corrected", reconstruction_images=40)
    wanted = reconstruction_targets(prepare(model), x, batch=40, gram=False)
    means = {}
    handles = [
        layer.register_forward_hook(
            lambda _, __, y, name=name: means.update({name: y.mean([d for d in range(y.dim()) if d != 1])})
        )
        for name, layer in layers(corrected).items()
    ]
    corrected(x)
    for handle in handles:
        handle.remove()
    for name, target in wanted.items():
        torch.testing.assert_close(means[name], target.output_mean, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("signs", ["unsigned_mantissa", "unsigned_exponent"])
def test_only_layers_behind_relu_lose_the_sign(signs):
    model = random_net("lenet.LeNet5", {})
    quantised = quantise_model(model, "E2M1", torch.randn(8, 1, 28, 28), edge_format=None, signs=signs)
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
        classes = model(x).argmax(1)
    agreement = {}
    for name in ("E3M4", "E1M1"):
        found = logits_in_batches(quantise_model(model, name, x[:100]), x, batch=50).argmax(1)
        agreement[name] = (found == classes).double().mean()
    assert agreement["E3M4"] > 0.9 > agreement["E1M1"]


def test_a_network_that_branches_on_values_is_refused():
    class Branching(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(InputError, match="Branching cannot be traced"):
        prepare(Branching())
