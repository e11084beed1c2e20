"""MobileNetV2 (Sandler 2018) and a small depthwise-separable network."""

from torch import Tensor, nn

from stages.lib.nets.layers import Classifier, conv_bn

# expansion, channels, blocks, stride of the first block (the paper's table 2)
_PLAN = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        expand = [] if expansion == 1 else [conv_bn(inputs, hidden, 1), nn.ReLU6()]
        depthwise = [conv_bn(hidden, hidden, stride=stride, groups=hidden), nn.ReLU6()]
        self.body = nn.Sequential(*expand, *depthwise, conv_bn(hidden, outputs, 1))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.residual else self.body(x)


class MobileNetV2(Classifier):
    """imagenet_strides: False keeps stride 1 in the stem and the second group, for images of about 32 pixels."""

    def __init__(
        self,
        channels: int = 3,
        classes: int = 10,
        width: float = 1.0,
        imagenet_strides: bool = False,
    ) -> None:
        super().__init__()

        def scaled(n: int) -> int:
            return max(8, int(n * width + 4) // 8 * 8)

        inputs = scaled(32)
        layers: list[nn.Module] = [conv_bn(channels, inputs, stride=2 if imagenet_strides else 1), nn.ReLU6()]
        for group, (expansion, outputs, blocks, stride) in enumerate(_PLAN):
            if group == 1 and not imagenet_strides:
                stride = 1
            for block in range(blocks):
                layers.append(InvertedResidual(inputs, scaled(outputs), 1 if block else stride, expansion))
                inputs = scaled(outputs)
        last = max(1280, scaled(1280))
        self.body = nn.Sequential(*layers, conv_bn(inputs, last, 1), nn.ReLU6())
        self.head = nn.Linear(last, classes)

    def features(self, x: Tensor) -> Tensor:
        return self.body(x).mean((2, 3))


class DepthwiseCNN(Classifier):
    """Depthwise-separable blocks (MobileNetV1 style) of `widths`, stride 2 from the second on."""

    def __init__(
        self, channels: int = 1, classes: int = 10, widths: tuple[int, ...] = (16, 32, 64, 128)
    ) -> None:
        super().__init__()
        inputs = widths[0]
        layers: list[nn.Module] = [conv_bn(channels, inputs), nn.ReLU()]
        for outputs in widths[1:]:
            layers += [conv_bn(inputs, inputs, stride=2, groups=inputs), nn.ReLU()]
            layers += [conv_bn(inputs, outputs, 1), nn.ReLU()]
            inputs = outputs
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(inputs, classes)

    def features(self, x: Tensor) -> Tensor:
        return self.body(x)
