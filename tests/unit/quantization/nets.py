"""Networks with random weights that the tests of this stage quantise."""

import torch
from torch import nn

from stages.lib.nets.build import build

# name, arguments, shape of an image
NETS = [
    ("lenet.LeNet5", {"batch_norm": True}, (1, 28, 28)),
    ("airbench.Airbench", {}, (1, 28, 28)),
    ("resnet.CifarResNet", {"depth": 8}, (3, 32, 32)),
    ("resnet.ResNet", {"width": 8}, (3, 32, 32)),
    ("mobilenet.MobileNetV2", {"width": 0.25}, (3, 32, 32)),
    ("vit.ViT", {"width": 16, "depth": 2}, (1, 28, 28)),
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


def name_of(value):
    """Test ids: the network's name alone."""
    return value if isinstance(value, str) else ""
