"""LeNet-5 (LeCun 1998) as data-free distillation papers use it: 32 x 32 input, ReLU, max pooling."""

import torch.nn.functional as F
from torch import Tensor, nn

from stages.lib.nets.layers import Classifier


class LeNet5(Classifier):
    """Convolutions of 6, 16 and 120 channels, a hidden layer of 84.

    width_divisor  2 gives LeNet-5-half (3-8-60-42), the usual student
    batch_norm     a batch norm behind every convolution; without it there are no statistics to invert
    Smaller images are padded with zeros to 32 x 32.
    """

    def __init__(
        self, channels: int = 1, classes: int = 10, width_divisor: int = 1, batch_norm: bool = False
    ) -> None:
        super().__init__()
        c1, c2, c3, hidden = (n // width_divisor for n in (6, 16, 120, 84))

        def block(inputs: int, outputs: int) -> list[nn.Module]:
            norm = [nn.BatchNorm2d(outputs)] if batch_norm else []
            return [nn.Conv2d(inputs, outputs, 5), *norm, nn.ReLU()]

        self.body = nn.Sequential(
            *block(channels, c1),
            nn.MaxPool2d(2),
            *block(c1, c2),
            nn.MaxPool2d(2),
            *block(c2, c3),
            nn.Flatten(),
        )
        self.hidden = nn.Linear(c3, hidden)
        self.head = nn.Linear(hidden, classes)

    def features(self, x: Tensor) -> Tensor:
        rows, cols = 32 - x.shape[-2], 32 - x.shape[-1]
        x = F.pad(x, (cols // 2, cols - cols // 2, rows // 2, rows - rows // 2))
        return F.relu(self.hidden(self.body(x)))
