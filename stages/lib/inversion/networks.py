"""The networks of one distillation, where and how precisely they compute."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stages.lib.nets.layers import Classifier
from stages.lib.training.device import channels_last_, mixed_precision


@dataclass(kw_only=True)
class Networks:
    """Teacher (frozen, evaluation mode) and student, and the size of the images that they take.

    bf16  forward passes in bfloat16; logits, features and images are float32 in any case. A student with depthwise
          convolutions stays in float32 on a CPU, where their gradients in bfloat16 take ten times as long
    """

    teacher: Classifier
    student: Classifier
    channels: int
    size: int
    device: torch.device
    bf16: bool = True

    def __post_init__(self) -> None:
        self.teacher = channels_last_(self.teacher.to(self.device)).eval().requires_grad_(False)
        self.student = channels_last_(self.student.to(self.device))
        slow = self.device.type == "cpu" and _has_depthwise(self.student)
        self.student_bf16 = self.bf16 and not slow

    def images(self, generator: nn.Module, codes: Tensor) -> Tensor:
        with mixed_precision(self.device, self.bf16):
            return generator(codes).float()

    def ask_teacher(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and features."""
        with mixed_precision(self.device, self.bf16):
            features = self.teacher.features(channels_last(images))
            return self.teacher.head(features).float(), features.float()

    def ask_student(self, images: Tensor) -> Tensor:
        with mixed_precision(self.device, self.student_bf16):
            return self.student(channels_last(images)).float()


def _has_depthwise(network: nn.Module) -> bool:
    return any(isinstance(m, nn.Conv2d) and m.groups > 1 for m in network.modules())


def channels_last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)
