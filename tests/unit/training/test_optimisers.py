"""Fused optimisers read weights and gradients in one order of memory: both must lie alike, whatever the layout."""

import pytest
import torch
from torch import nn

from stages.lib.inversion.learning import step_
from stages.lib.nets.build import build
from stages.lib.training.device import channels_last_

NETS = {
    "resnet.CifarResNet": {"depth": 20},
    "resnet.ResNet": {"width": 8},
    "vgg.VGG": {"depth": 11, "width": 8},
    "lenet.LeNet5": {"channels": 3, "batch_norm": True},
    "convnet.ConvNet3": {"width": 16},
    "airbench.Airbench": {"channels": 3},
    "vit.ViT": {"channels": 3, "size": 32},
}


@pytest.mark.parametrize("net", NETS)
def test_gradients_lie_as_their_weights_do(net):
    torch.manual_seed(0)
    model = channels_last_(build(net, NETS[net]))
    images = torch.randn(4, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    model(images).square().mean().backward()
    for name, p in model.named_parameters():
        if p.grad is None:
            continue  # frozen
        places = [(a, b) for n, a, b in zip(p.shape, p.stride(), p.grad.stride(), strict=True) if n > 1]
        assert all(a == b for a, b in places), name


def test_the_first_step_of_adam_is_the_rate_against_the_sign_of_each_gradient():
    torch.manual_seed(0)
    slope, start = torch.randn(8, 4, 3, 3), torch.randn(8, 4, 3, 3)
    weight = nn.Parameter(start.contiguous(memory_format=torch.channels_last))
    # the gradient is `slope`, which lies otherwise than the weight
    step_(torch.optim.Adam([weight], 0.1, fused=True), (weight * slope).sum(), [weight])
    torch.testing.assert_close(weight.detach(), start - 0.1 * slope.sign(), rtol=0, atol=1e-4)
