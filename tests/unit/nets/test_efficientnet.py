"""EfficientNet-Lite0 has the size, the work and the padding of TensorFlow's."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stages.lib.nets.build import build
from stages.lib.nets.efficientnet import ConvNorm

# B0's table 1 with the sizes written out: expansion, inputs, outputs, kernel, side of the input, side of the output
BLOCKS = (
    (1, 32, 16, 3, 112, 112),
    (6, 16, 24, 3, 112, 56), (6, 24, 24, 3, 56, 56),
    (6, 24, 40, 5, 56, 28), (6, 40, 40, 5, 28, 28),
    (6, 40, 80, 3, 28, 14), (6, 80, 80, 3, 14, 14), (6, 80, 80, 3, 14, 14),
    (6, 80, 112, 5, 14, 14), (6, 112, 112, 5, 14, 14), (6, 112, 112, 5, 14, 14),
    (6, 112, 192, 5, 14, 7), (6, 192, 192, 5, 7, 7), (6, 192, 192, 5, 7, 7), (6, 192, 192, 5, 7, 7),
    (6, 192, 320, 3, 7, 7),
)  # fmt: skip


def test_macs_are_those_of_the_table():
    wanted = 112**2 * 27 * 32 + 7**2 * 320 * 1280 + 1280 * 1000
    for expansion, inputs, outputs, kernel, before, after in BLOCKS:
        hidden = expansion * inputs
        wanted += before**2 * inputs * hidden if expansion > 1 else 0
        wanted += after**2 * hidden * (kernel**2 + outputs)
    found = []

    def count(layer, _, y):
        found.append(y.numel() * layer.weight[0].numel())

    with torch.device("meta"):
        model = build("efficientnet.EfficientNetLite0", {}).eval()
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.register_forward_hook(count)
        model(torch.empty(1, 3, 224, 224))
    assert sum(found) == wanted
    # TensorFlow's page on EfficientNet-Lite says 407 M, with what is not a product of a layer
    assert 380e6 < wanted < 407e6


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (5, 1), (3, 2), (5, 2)])
@pytest.mark.parametrize("side", [14, 32])
def test_padding_is_tensorflows_same(kernel, stride, side):
    torch.manual_seed(0)
    layer = ConvNorm(4, 4, kernel, stride=stride, groups=4).eval()
    layer.norm = nn.Identity()
    images = torch.randn(2, 4, side, side)
    # tf.nn.convolution: ceil(side / stride) outputs, the padding that they need, its odd part at the end
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    pads = (total // 2, total - total // 2) * 2
    wanted = F.conv2d(F.pad(images, pads), layer.conv.weight, stride=stride, groups=4)
    torch.testing.assert_close(layer(images), wanted)
