"""A pruned network that runs on its packed weights: every layer that follows the pattern, batch norm folded in.

Activations travel with their channels outermost, (c, n, h, w) in memory, so that a layer's product is written where the
next one reads it; to torch they look like any (n, c, h, w).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from stages.lib.core.errors import InputError
from stages.lib.nets.graph import fused, pad_input, set_module_, sliding_windows
from stages.lib.sparse.kernels import Patches, convolve, matmul, plan
from stages.lib.sparse.matrices import as_matrix, is_prunable
from stages.lib.sparse.packed import HybridMatrix, pack

WORTH_PACKING = 0.8  # share of a layer's weights up to which the packed form is taken


class SparseLayer(nn.Module):
    """What SparseLinear and SparseConv2d share: the plan, the bias, how many threads compute."""

    def __init__(
        self, layer: nn.Linear | nn.Conv2d, packed: HybridMatrix, *, threads: int, stored_as: str
    ) -> None:
        super().__init__()
        self.packed, self.plan, self.threads = packed, plan(packed, stored_as=stored_as), threads
        self.bias = None if layer.bias is None else layer.bias.detach().float().numpy().copy()
        self.relu = False  # folded in by SparseModel

    def product(self, x: Tensor) -> Tensor:
        y = matmul(self.plan, x.numpy(), bias=self.bias, relu=self.relu, threads=self.threads)
        return torch.from_numpy(y)


class SparseLinear(SparseLayer):
    """(..., inputs) -> (..., outputs)."""

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1]).float()
        y: Tensor = self.product(rows.T.contiguous()).T.reshape(*x.shape[:-1], self.plan.rows)
        return y


class SparseConv2d(SparseLayer):
    """(n, i, h, w) -> (n, o, h', w'): the patches as columns, times the packed weights."""

    def __init__(self, layer: nn.Conv2d, packed: HybridMatrix, *, threads: int, stored_as: str) -> None:
        super().__init__(layer, packed, threads=threads, stored_as=stored_as)
        # the geometry alone, and no part of this module: the dense weight is not kept
        self.__dict__["geometry"] = nn.Conv2d(
            1, 1, layer.kernel_size, layer.stride, layer.padding, layer.dilation,
            bias=False, padding_mode=layer.padding_mode, device="meta",
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        # channels outermost, as they lie in memory
        x = pad_input(self.geometry, x.float().permute(1, 0, 2, 3)).contiguous()
        windows = sliding_windows(self.geometry, x.permute(1, 0, 2, 3)).permute(1, 2, 0, 3, 4, 5)
        height, width = windows.shape[-2:]
        patches = Patches(
            channels=len(x),
            filled_channels=len(x) + -len(x) % self.packed.m,
            kernel=self.geometry.kernel_size,
            channel_stride=x.stride(0),
            image_stride=x.stride(1),
            line_stride=x.stride(2),
            dilation=self.geometry.dilation,
            step=self.geometry.stride,
            height=height,
            width=width,
            images=x.shape[1],
        )
        y = convolve(self.plan, x.numpy(), patches, bias=self.bias, relu=self.relu, threads=self.threads)
        y = self.product(self.columns(windows)) if y is None else torch.from_numpy(y)
        return y.view(-1, x.shape[1], height, width).permute(1, 0, 2, 3)

    def columns(self, windows: Tensor) -> Tensor:
        """(h w i, n h' w') patches in the order of as_matrix, from (h, w, i, n, h', w'), for numba's product."""
        extra = -windows.shape[2] % self.packed.m
        return F.pad(windows, (0, 0) * 3 + (0, extra)).reshape(-1, windows.shape[3:].numel())


class SparseModel(nn.Module):
    """A network in evaluation mode whose prunable layers run on packed weights.

    sparse  names of the layers that do; dense: those that do not follow the pattern, and stay as they are
    """

    def __init__(
        self, model: nn.Module, *, block: int, n: int, m: int, threads: int = 1, stored_as: str = "float32"
    ) -> None:
        """stored_as: how weights are kept for products with one vector, see kernels.plan.

        Raises InputError where no layer follows the pattern.
        """
        super().__init__()
        traced = fused(model)
        self.sparse: list[str] = []
        self.dense: list[str] = []
        for name, module in list(traced.named_modules()):
            if not is_prunable(module):
                continue
            packed = packed_or_none(module, block=block, n=n, m=m)
            (self.dense if packed is None else self.sparse).append(name)
            if packed is not None:
                kind = SparseConv2d if isinstance(module, nn.Conv2d) else SparseLinear
                set_module_(traced, name, kind(module, packed, threads=threads, stored_as=stored_as))
        if not self.sparse:
            raise InputError(
                f"no layer keeps {n}:{m} in blocks of {block}: prune the network with that pattern first"
            )
        self.network = with_relu_folded(traced)

    @torch.inference_mode()
    def forward(self, *inputs: Any) -> Any:
        return self.network(*inputs)


def with_relu_folded(traced: fx.GraphModule) -> fx.GraphModule:
    """ReLUs that are all that follows a sparse layer become part of its product."""
    modules = dict(traced.named_modules())
    for node in list(traced.graph.nodes):
        is_relu = (node.op == "call_module" and isinstance(modules.get(node.target), nn.ReLU)) or (
            node.op == "call_function" and node.target in (torch.relu, F.relu)
        )
        if not is_relu or not isinstance(node.args[0], fx.Node):
            continue
        source = node.args[0]
        layer = modules.get(source.target) if source.op == "call_module" else None
        if isinstance(layer, SparseLayer) and len(source.users) == 1:
            layer.relu = True
            node.replace_all_uses_with(source)
            traced.graph.erase_node(node)
    traced.graph.lint()
    traced.recompile()
    return traced


def packed_or_none(module: nn.Module, *, block: int, n: int, m: int) -> HybridMatrix | None:
    """The packed weight of a layer; None where it follows another pattern, or would store nearly as much as it is."""
    matrix = as_matrix(module.weight.detach().float(), m).numpy()
    try:
        packed = pack(matrix, block=block, n=n, m=m)
    except InputError:
        return None
    return packed if packed.nonzeros <= WORTH_PACKING * module.weight.numel() else None
