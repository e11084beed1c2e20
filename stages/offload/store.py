"""Where experts lie: each in one flat buffer of CPU memory, and copies of some in places on the GPU."""

from collections import deque
from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.lib.core.errors import InputError
from stages.lib.nets.moe import MoeLM

Array = np.ndarray


def flat_experts_(model: MoeLM) -> dict[tuple[int, int], Tensor]:
    """(layer, expert): [gate | up | down] in one buffer of CPU memory, where the model's own weights lie from now on."""
    found = {}
    for layer, block in enumerate(model.layers):
        for e, expert in enumerate(block.moe.experts):
            weights = [expert.gate.weight, expert.up.weight, expert.down.weight]
            buffer = torch.cat([w.detach().flatten() for w in weights])
            for weight, part in zip(weights, buffer.view(3, -1), strict=True):
                weight.data = part.view_as(weight)
            found[layer, e] = buffer
    return found


def pin_(buffers: Iterable[Tensor]) -> None:
    """Lock pages where they are, so that copies to the GPU need no staging: a copy would need as much memory again."""
    for buffer in buffers:
        if code := int(torch.cuda.cudart().cudaHostRegister(buffer.data_ptr(), buffer.nbytes, 0)):
            raise InputError(f"{buffer.nbytes} bytes could not be locked in memory (CUDA error {code})")


class ExpertStore:
    """Experts in CPU memory, and a table of the places on the GPU.

    buffers  as `flat_experts_` makes them
    device   the GPU; "cpu" emulates one with places in CPU memory, to which weights are really copied
    """

    def __init__(
        self, model: MoeLM, buffers: dict[tuple[int, int], Tensor], resident: Array, *, device: torch.device
    ) -> None:
        moe = model.layers[0].moe
        self.hidden, self.width = moe.experts[0].gate.weight.shape
        self.device, self.cpu = device, buffers
        self.places: dict[tuple[int, int], Tensor] = {}
        for layer, e in zip(*np.nonzero(resident), strict=True):
            self.places[int(layer), int(e)] = self.cpu[int(layer), int(e)].to(device, copy=True)
        # of loads that are used once: two layers' worth, so that one may be filled while the other is read
        some = next(iter(self.cpu.values()))
        self.spare = deque(torch.empty_like(some, device=device) for _ in range(2 * len(moe.experts)))

    @property
    def expert_bytes(self) -> int:
        return next(iter(self.cpu.values())).nbytes

    def load_(self, layer: int, expert: int, victim: int) -> None:
        """Copy an expert's weights over the victim's, or to a place that serves once (victim -1)."""
        if victim >= 0:
            place = self.places.pop((layer, victim))
        else:
            place = self.spare[0]
            self.spare.rotate(-1)
        place.copy_(self.cpu[layer, expert], non_blocking=True)
        self.places[layer, expert] = place

    def write_back_(self, layer: int, expert: int) -> None:
        """Copy from the GPU to CPU memory; the weights are those that lie there already."""
        self.cpu[layer, expert].copy_(self.places[layer, expert])

    def run(self, layer: int, expert: int, h: Tensor, *, on_gpu: bool) -> Tensor:
        """SwiGLU of h (tokens, width), which lies where the expert does."""
        weights = (self.places if on_gpu else self.cpu)[layer, expert]
        gate, up, down = weights.view(3, -1)
        inner = F.silu(F.linear(h, gate.view(self.hidden, self.width))) * F.linear(
            h, up.view(self.hidden, self.width)
        )
        return F.linear(inner, down.view(self.width, self.hidden))
