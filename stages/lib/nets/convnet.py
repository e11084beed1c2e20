"""Plain convolutional networks: ConvNet-3 of dataset condensation and a Conv-BN classifier."""

from torch import Tensor, nn

from stages.lib.nets.layers import Classifier, conv_bn


class ConvNet3(Classifier):
    """Three blocks of 3x3 convolution, instance norm, ReLU, 2x2 average pooling (Zhao 2021; width 128)."""

    def __init__(self, channels: int = 3, classes: int = 10, size: int = 32, width: int = 128) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for inputs in (channels, width, width):
            # group norm with one group a channel is the affine instance norm of the published code
            blocks += [
                nn.Conv2d(inputs, width, 3, padding=1),
                nn.GroupNorm(width, width),
                nn.ReLU(),
                nn.AvgPool2d(2),
            ]
        self.body = nn.Sequential(*blocks, nn.Flatten())
        self.head = nn.Linear(width * (size // 8) ** 2, classes)

    def features(self, x: Tensor) -> Tensor:
        return self.body(x)


class ConvBN(Classifier):
    """Blocks of convolution, batch norm, ReLU (width, 2 width, 4 width, ...), pooled between and at the end.

    stride  of the first convolution
    """

    def __init__(
        self, channels: int = 3, classes: int = 10, width: int = 32, blocks: int = 3, stride: int = 1
    ) -> None:
        super().__init__()
        widths = [width * 2**block for block in range(blocks)]
        body: list[nn.Module] = []
        for inputs, outputs in zip([channels, *widths], widths, strict=False):
            body += [nn.MaxPool2d(2)] if body else []
            body += [conv_bn(inputs, outputs, stride=1 if body else stride), nn.ReLU()]
        self.body = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(widths[-1], classes)

    def features(self, x: Tensor) -> Tensor:
        return self.body(x)
