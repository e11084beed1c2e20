"""Wide residual networks (Zagoruyko 2016), WRN-d-k for CIFAR: pre-activation blocks."""

import torch.nn.functional as F
from torch import Tensor, nn

from stages.lib.nets.layers import Classifier


class WideBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        same = inputs == outputs and stride == 1
        self.shortcut = None if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x))
        # a projection sees the activated input, the identity the plain one (the paper's figure 1)
        shortcut = x if self.shortcut is None else self.shortcut(active)
        return self.conv2(F.relu(self.bn2(self.conv1(active)))) + shortcut


class WideResNet(Classifier):
    """WRN-depth-widen: depth = 6 n + 4, widths 16, 16 k, 32 k, 64 k."""

    def __init__(self, depth: int = 16, widen: int = 1, channels: int = 3, classes: int = 10) -> None:
        super().__init__()
        blocks = (depth - 4) // 6
        if depth != 6 * blocks + 4 or blocks < 1:
            raise ValueError(f"depth is {depth}: choose 6 n + 4 (10, 16, 22, 28, 40)")
        layers: list[nn.Module] = [nn.Conv2d(channels, 16, 3, 1, 1, bias=False)]
        inputs = 16
        for stage, outputs in enumerate((16 * widen, 32 * widen, 64 * widen)):
            for block in range(blocks):
                layers.append(WideBlock(inputs, outputs, 2 if stage and not block else 1))
                inputs = outputs
        self.body = nn.Sequential(*layers, nn.BatchNorm2d(inputs), nn.ReLU())
        self.head = nn.Linear(inputs, classes)

    def features(self, x: Tensor) -> Tensor:
        return self.body(x).mean((2, 3))
