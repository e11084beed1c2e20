"""VGG-11 and VGG-16 with batch norm (Simonyan 2015), with the CIFAR head or the ImageNet head."""

from torch import Tensor, nn

from stages.lib.nets.layers import Classifier, conv_bn

# multiples of the first width; 0 stands for 2x2 max pooling
PLANS = {
    11: (1, 0, 2, 0, 4, 4, 0, 8, 8, 0, 8, 8, 0),
    16: (1, 1, 0, 2, 2, 0, 4, 4, 4, 0, 8, 8, 8, 0, 8, 8, 8, 0),
}


class VGG(Classifier):
    """imagenet_head: 7x7 pooling and two hidden layers of 4096, as published; else global average pooling.

    conv_bias: convolutions have a bias, which published weights hold; the batch norm behind them has one in any case.
    """

    def __init__(
        self,
        depth: int = 16,
        channels: int = 3,
        classes: int = 10,
        width: int = 64,
        imagenet_head: bool = False,
        conv_bias: bool = False,
    ) -> None:
        super().__init__()
        if depth not in PLANS:
            raise ValueError(f"depth is {depth}: choose one of {', '.join(map(str, PLANS))}")
        layers: list[nn.Module] = []
        inputs = channels
        for multiple in PLANS[depth]:
            if multiple:
                layers += [conv_bn(inputs, width * multiple, bias=conv_bias), nn.ReLU()]
                inputs = width * multiple
            else:
                # rounded up, so that five of them leave something of 28 pixels; the same for 32 and 224
                layers.append(nn.MaxPool2d(2, ceil_mode=True))
        pooled = 7 if imagenet_head else 1
        layers += [nn.AdaptiveAvgPool2d(pooled), nn.Flatten()]
        inputs *= pooled**2
        if imagenet_head:
            layers += [nn.Linear(inputs, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU()]
            layers += [nn.Dropout()]
            inputs = 4096
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(inputs, classes)

    def features(self, x: Tensor) -> Tensor:
        return self.body(x)
