"""How far a batch's statistics are from those that a network's batch norms have kept of its training images."""

from types import TracebackType

import torch
from torch import Tensor, nn


class BatchNormStatistics:
    """While it is entered, every forward pass of `model` with gradients adds up, over its batch norms,

        |mean - running mean|_2 + |variance - running variance|_2       (DeepInversion, Yin et al. 2020, eq. 4)

    `take` gives the sum since the last call. Raises ValueError for a network without batch norms.
    """

    def __init__(self, model: nn.Module) -> None:
        self._norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
        if not self._norms:
            raise ValueError("the network has no batch norms whose statistics could be matched")
        self._parts: list[Tensor] = []
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> "BatchNormStatistics":
        self._hooks = [norm.register_forward_hook(self._take_up) for norm in self._norms]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()
        self._parts.clear()

    def take(self) -> Tensor:
        total = torch.stack(self._parts).sum()
        self._parts.clear()
        return total

    def _take_up(self, norm: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if not torch.is_grad_enabled():
            return
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        variance, mean = torch.var_mean(inputs[0].float(), (0, 2, 3), correction=0)
        self._parts.append((mean - norm.running_mean).norm() + (variance - norm.running_var).norm())
