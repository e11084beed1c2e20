"""A student for a teacher, and how good it is on test images that decide nothing."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from stages.lib.core.prepared import ImageSplit
from stages.lib.core.seeds import derive_seed
from stages.lib.inversion.networks import Networks
from stages.lib.nets.build import build
from stages.lib.nets.model_folder import ModelInfo
from stages.lib.training.evaluate import accuracy, logits_of
from stages.lib.training.images import normalise


def new_student(
    teacher: nn.Module,
    info: ModelInfo,
    test: ImageSplit,
    *,
    net: str,
    arguments: Mapping[str, Any],
    seed: int,
    device: torch.device,
) -> tuple[Networks, dict[str, Any]]:
    """The teacher and a fresh student of `net` for images like test's, and all of the student's arguments."""
    torch.manual_seed(derive_seed(seed, "student") % 2**63)
    every = {"channels": test.info.channels, "classes": len(info.classes), **arguments}
    networks = Networks(
        teacher=teacher,
        student=build(net, every),
        channels=test.info.channels,
        size=test.info.height,
        device=device,
    )
    return networks, every


def student_accuracy(networks: Networks, info: ModelInfo, test: ImageSplit) -> Callable[[], float]:
    """Top-1 of the student as it is when asked, 0..1."""
    images, labels = normalise(test.images, info.mean, info.std), torch.from_numpy(np.array(test.labels))

    def ask() -> float:
        return accuracy(
            logits_of(networks.student, images, device=networks.device, bf16=networks.student_bf16), labels
        )

    return ask
