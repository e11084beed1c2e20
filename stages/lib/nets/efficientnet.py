"""EfficientNet-Lite0: EfficientNet-B0 (Tan 2019) without squeeze-and-excitation, with ReLU6 (TensorFlow's Lite)."""

import torch.nn.functional as F
from torch import Tensor, nn

from stages.lib.nets.layers import Classifier

# expansion, channels, blocks, stride of the first block, kernel (B0's table 1; width and depth 1.0)
_PLAN = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
_STEM, _LAST = 32, 1280


class ConvNorm(nn.Module):
    """Convolution without bias and its batch norm, padded as TensorFlow's "same" pads images of even size.

    There stride 2 needs kernel - 2 rows and columns, an odd number, and the odd one goes to the bottom and right.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
        even = before == after
        self.pad = nn.Identity() if even else nn.ZeroPad2d((before, after, before, after))
        padding = before if even else 0
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)  # TensorFlow's 0.99 keeps the other part

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(self.pad(x)))


class InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int, kernel: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expand = ConvNorm(inputs, hidden, 1) if expansion > 1 else None
        self.depthwise = ConvNorm(hidden, hidden, kernel, stride=stride, groups=hidden)
        self.project = ConvNorm(hidden, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.residual else y


class EfficientNetLite0(Classifier):
    """For images whose sides are multiples of 32; the weights are of 224 pixels."""

    def __init__(self, channels: int = 3, classes: int = 1000) -> None:
        super().__init__()
        self.stem = ConvNorm(channels, _STEM, 3, stride=2)
        inputs, layers = _STEM, []
        for expansion, outputs, blocks, stride, kernel in _PLAN:
            for block in range(blocks):
                layers.append(InvertedResidual(inputs, outputs, 1 if block else stride, expansion, kernel))
                inputs = outputs
        self.blocks = nn.Sequential(*layers)
        self.last = ConvNorm(inputs, _LAST, 1)
        self.head = nn.Linear(_LAST, classes)

    def features(self, x: Tensor) -> Tensor:
        x = self.blocks(F.relu6(self.stem(x)))
        return F.relu6(self.last(x)).mean((2, 3))
