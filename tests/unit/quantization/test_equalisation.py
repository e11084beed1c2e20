"""Equalisation and SmoothQuant: the float function stays, ranges even out, regions are those of the graph."""

import pytest
import torch
from torch import nn

from stages.quantization.calibration import calibrate
from stages.quantization.equalisation import ChannelReLU6, equalise_, find_regions, smooth_
from stages.quantization.network import float_network_, layers, prepare
from tests.unit.quantization.nets import NETS, name_of, random_net

# tensors that pass from layers to layers only through what commutes with a factor, counted by hand:
# LeNet-5 ends in a flatten of several pixels and in max pooling before it; CifarResNet-8's padded shortcuts leave the
# inner tensor of each of the 3 blocks; ResNet-18 has 8 inner tensors and 4 residual streams (the last one ends in the
# head); MobileNetV2 has one before and one after each of 17 depthwise layers (the first one's is the stem's), the streams
# of 7 groups, of which this width joins the stem's and the first two, and the one before the head; a block of the ViT
# has two norms read by layers
REGIONS = {"lenet": 3, "airbench": 0, "resnet.Cifar": 3, "resnet.ResNet": 12, "mobilenet": 40, "vit": 4}


@pytest.mark.parametrize(("net", "arguments", "shape"), NETS, ids=name_of)
def test_equalisation_keeps_the_function_and_finds_the_regions(net, arguments, shape):
    prepared = prepare(random_net(net, arguments))
    x = torch.randn(6, *shape)
    with torch.no_grad():
        expected = prepared(x)
        regions = equalise_(prepared)
        torch.testing.assert_close(prepared(x), expected, rtol=1e-3, atol=1e-3)
        float_network_(prepared)  # float_weight follows
        torch.testing.assert_close(prepared(x), expected, rtol=1e-3, atol=1e-3)
    assert regions == next(v for k, v in REGIONS.items() if net.startswith(k))


def test_rows_and_columns_end_with_equal_ranges():
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 5, 3)
    with torch.no_grad():
        first.weight *= torch.logspace(-2, 2, 8).view(-1, 1, 1, 1)
        first.bias.zero_()
    model = nn.Sequential(first, nn.ReLU6(), second)
    prepared = prepare(model)
    x = torch.randn(4, 3, 12, 12)
    with torch.no_grad():
        assert equalise_(prepared) == 1
        rows, columns = prepared.get_submodule("0").float_weight, prepared.get_submodule("2").float_weight
        torch.testing.assert_close(rows.abs().amax((1, 2, 3)), columns.abs().amax((0, 2, 3)))
        assert isinstance(prepared.get_submodule("1"), ChannelReLU6)
        torch.testing.assert_close(prepared(x), model(x), rtol=1e-4, atol=1e-4)


def test_what_is_read_by_something_else_stays():
    class Sharing(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.third = (nn.Linear(4, 4) for _ in range(3))

        def forward(self, x):
            hidden = self.first(x).relu()
            return self.second(self.second(hidden)) + self.third(hidden).softmax(-1)

    regions = find_regions(prepare(Sharing()))
    assert all(r.blocked or not r.sources or not r.sinks for r in regions)


@pytest.mark.parametrize(("net", "arguments", "shape"), NETS, ids=name_of)
def test_smoothing_keeps_the_function_and_evens_out_inputs(net, arguments, shape):
    prepared = prepare(random_net(net, arguments))
    x = torch.randn(6, *shape)
    with torch.no_grad():
        expected = prepared(x)
        before = calibrate(prepared, x, percentile=100, batch=6)
        smooth_(prepared, before, alpha=0.5)
        torch.testing.assert_close(prepared(x), expected, rtol=1e-3, atol=1e-3)
    after = calibrate(prepared, x, percentile=100, batch=6)
    for name, layer in layers(prepared).items():
        weight = layer.float_weight
        if isinstance(layer.layer, nn.Linear):
            # alpha = 1/2: both end at sqrt(max|x| max|w|)
            used = (before[name].channel_maximum > 0) & (weight.abs().amax(0) > 0)
            torch.testing.assert_close(
                after[name].channel_maximum[used], weight.abs().amax(0)[used], rtol=1e-4, atol=1e-6
            )
