"""Pieces that several network families use."""

from torch import Tensor, nn


def conv_bn(
    inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1, groups: int = 1, bias: bool = False
) -> nn.Sequential:
    """Convolution, by default without bias, and its batch norm, "same" padding."""
    padding = kernel // 2
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=bias),
        nn.BatchNorm2d(outputs),
    )


class Classifier(nn.Module):
    """A network whose last layer `head` is linear: `features` (n, d) are what it sees."""

    head: nn.Linear

    def features(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))
