"""What calibration text says of each layer, gathered in one pass: gradients squared, Gram matrices, ranges of inputs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.lib.numerics.gptq import inverse_factor
from stages.lib.training.device import mixed_precision

SALIENT = 5e-4  # share of a layer's weights, by Fisher information (HALO, notes 2.2)
OUTLIER_SIGMAS = 3.0


@dataclass(kw_only=True)
class Sensitivity:
    """Of one layer with a weight (outputs, inputs).

    fisher       (outputs, inputs) mean over windows of the squared gradient: the diagonal of the empirical Fisher matrix
    gram         (inputs, inputs) sum over tokens of x x^T / |x|^2; layers that read the same input share one tensor. Each
                 token counts alike: few have a hundred times the length of others, and would else decide alone
    input_range  (inputs,) largest magnitude of each input
    shared       what was computed from the Gram matrix, for all layers that read the same input
    """

    fisher: Tensor
    gram: Tensor
    input_range: Tensor
    shared: dict[str, Tensor] = field(default_factory=dict)

    def inverse_factor(self) -> Tensor:
        """As GPTQ asks for it. Every row needs the same, and of 1,536 inputs it takes a third of GPTQ's time."""
        if "factor" not in self.shared:
            self.shared["factor"] = inverse_factor(self.gram).float()
        return self.shared["factor"]


def linear_layers(model: Any) -> dict[str, nn.Linear]:
    """Name -> layer of all linear layers but the head, whose weight is often the embedding's."""
    head = model.get_output_embeddings()
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not head
    }


def gather(
    model: Any, windows: Tensor, *, bf16: bool = True, advance: Callable[[], None] | None = None
) -> dict[str, Sensitivity]:
    """One forward and one backward pass for each window (n, length), on the model's device; the model stays as it was."""
    layers = linear_layers(model)
    wanted = {id(layer.weight) for layer in layers.values()}
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    for p in model.parameters():
        p.requires_grad_(id(p) in wanted)
    fisher = {name: torch.zeros_like(layer.weight) for name, layer in layers.items()}
    inputs = _Inputs(layers)
    try:
        for window in windows:
            with mixed_precision(windows.device, bf16):
                loss = model(window[None], labels=window[None], use_cache=False).loss
            loss.backward()
            with torch.no_grad():
                for name, layer in layers.items():
                    fisher[name].addcmul_(layer.weight.grad, layer.weight.grad, value=1 / len(windows))
                    layer.weight.grad = None
            if advance is not None:
                advance()
    finally:
        inputs.remove()
        for name, p in model.named_parameters():
            p.requires_grad_(before[name])
    shared: dict[str, dict[str, Tensor]] = {source: {} for source in inputs.grams}
    return {
        name: Sensitivity(
            fisher=fisher[name],
            gram=inputs.grams[source],
            input_range=inputs.ranges[source],
            shared=shared[source],
        )
        for name, source in inputs.source.items()
    }


class _Inputs:
    """Hooks that add up what layers read; a tensor that several layers read is taken up once."""

    def __init__(self, layers: dict[str, nn.Linear]) -> None:
        self.source: dict[str, str] = {}
        self.grams: dict[str, Tensor] = {}
        self.ranges: dict[str, Tensor] = {}
        self._last: tuple[Tensor | None, str] = (None, "")
        self._hooks = [layer.register_forward_pre_hook(self._hook(name)) for name, layer in layers.items()]

    def remove(self) -> None:
        self._last = (None, "")
        for hook in self._hooks:
            hook.remove()

    def _hook(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def take_up(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            x = inputs[0]
            if x is self._last[0]:
                self.source[name] = self._last[1]
                return
            self.source[name], self._last = name, (x, name)
            with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
                rows = x.float().reshape(-1, x.shape[-1])
                largest = rows.abs().amax(0)
                rows = F.normalize(rows, dim=1)
                if name in self.grams:
                    self.grams[name].addmm_(rows.T, rows)
                    torch.maximum(self.ranges[name], largest, out=self.ranges[name])
                else:
                    self.grams[name], self.ranges[name] = rows.T @ rows, largest

        return take_up


def exceptional_mask(weight: Tensor, fisher: Tensor, which: str) -> Tensor:
    """Boolean (outputs, inputs) of weights that are kept apart: outliers, salient, both or none (HALO, phase 1)."""
    mask = torch.zeros_like(weight, dtype=torch.bool)
    if which in ("outliers", "both"):
        mask |= (weight - weight.mean()).abs() > OUTLIER_SIGMAS * weight.std()
    if which in ("salient", "both"):
        n = max(1, round(SALIENT * weight.numel()))
        mask.view(-1)[fisher.flatten().topk(n).indices] = True
    return mask
