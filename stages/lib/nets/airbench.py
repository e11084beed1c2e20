"""A network made for short training, after airbench: 2x2 stem, three groups, GELU, max pooling to one pixel."""

from torch import Tensor, nn

from stages.lib.nets.layers import Classifier


class Airbench(Classifier):
    """stem, then per width: convolution, pooling, norm, GELU, convolution, norm, GELU."""

    def __init__(
        self,
        channels: int = 1,
        classes: int = 10,
        widths: tuple[int, ...] = (24, 48, 96),
        stem: int = 16,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, stem, 2), nn.GELU()]
        inputs = stem
        for width in widths:
            layers += [
                nn.Conv2d(inputs, width, 3, padding=1, bias=False),
                nn.MaxPool2d(2),
                nn.BatchNorm2d(width),
                nn.GELU(),
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.GELU(),
            ]
            inputs = width
        self.body = nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten())
        self.head = nn.Linear(inputs, classes)

    def features(self, x: Tensor) -> Tensor:
        return self.body(x)
