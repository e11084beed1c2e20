"""A pruned network that runs on its packed weights: every layer that follows the pattern, batch norm folded in.

Activations travel with their channels outermost, (c, n, h, w) in memory, so that a layer's product is written where the
next one reads it; to torch they look like any (n, c, h, w).
"""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from stages.lib.core.errors import InputError
from stages.lib.sparse.kernels import matmul, plan
from stages.lib.sparse.matrices import as_matrix, is_prunable
from stages.lib.sparse.packed import HybridMatrix, pack

WORTH_PACKING = 0.8  # share of a layer's weights up to which the packed form is taken


class SparseLayer(nn.Module):
    """What SparseLinear and SparseConv2d share: the plan, the bias, how many threads compute."""

    def __init__(self, layer: nn.Linear | nn.Conv2d, packed: HybridMatrix, threads: int) -> None:
        super().__init__()
        self.packed, self.plan, self.threads = packed, plan(packed), threads
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

    def __init__(self, layer: nn.Conv2d, packed: HybridMatrix, threads: int) -> None:
        super().__init__(layer, packed, threads)
        if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
            raise InputError("convolutions with other padding than a number of zeros are not supported")
        self.kernel, self.stride = layer.kernel_size, layer.stride
        self.padding, self.dilation = layer.padding, layer.dilation
        self.m = packed.m

    def forward(self, x: Tensor) -> Tensor:
        y = self.product(self.columns(x))
        return y.view(-1, x.shape[0], *self.size(x)).permute(1, 0, 2, 3)

    def size(self, x: Tensor) -> tuple[int, int]:
        """Height and width of the result."""
        height, width = (
            (x.shape[2 + i] + 2 * self.padding[i] - self.dilation[i] * (self.kernel[i] - 1) - 1)
            // self.stride[i]
            + 1
            for i in (0, 1)
        )
        return height, width

    def columns(self, x: Tensor) -> Tensor:
        """(h w i, n h' w') patches, in the order of as_matrix."""
        n, channels = x.shape[:2]
        x = x.float().permute(1, 0, 2, 3)
        extra = -channels % self.m
        if self.kernel == (1, 1) and self.stride == (1, 1) and not (extra or any(self.padding)):
            return x.reshape(channels, -1)
        vertical, horizontal = self.padding
        x = F.pad(x, (horizontal, horizontal, vertical, vertical, 0, 0, 0, extra)).contiguous()
        height, width = self.size_of_padded(x)
        c, b, h, w = x.stride()
        view = x.as_strided(
            (*self.kernel, channels + extra, n, height, width),
            (h * self.dilation[0], w * self.dilation[1], c, b, h * self.stride[0], w * self.stride[1]),
        )
        return view.reshape(-1, n * height * width)

    def size_of_padded(self, x: Tensor) -> tuple[int, int]:
        height, width = (
            (x.shape[2 + i] - self.dilation[i] * (self.kernel[i] - 1) - 1) // self.stride[i] + 1
            for i in (0, 1)
        )
        return height, width


class SparseModel(nn.Module):
    """A network in evaluation mode whose prunable layers run on packed weights.

    sparse  names of the layers that do; dense: those that do not follow the pattern, and stay as they are
    """

    def __init__(self, model: nn.Module, *, block: int, n: int, m: int, threads: int = 1) -> None:
        """Raises InputError where no layer follows the pattern."""
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
                _replace(traced, name, kind(module, packed, threads))
        if not self.sparse:
            raise InputError(
                f"no layer keeps {n}:{m} in blocks of {block}: prune the network with that pattern first"
            )
        self.network = with_relu_folded(traced)

    @torch.inference_mode()
    def forward(self, *inputs: Any) -> Any:
        return self.network(*inputs)


def fused(model: nn.Module) -> fx.GraphModule:
    """A traced copy in evaluation mode, batch norm folded into the layer before it."""
    try:
        traced = fx.symbolic_trace(model.eval())
    except Exception as error:
        raise InputError(
            f"torch.fx cannot trace this network ({str(error).splitlines()[0][:150]}); make its forward free of"
            " branches on values"
        ) from error
    # a copy, so that folding leaves the user's network as it was
    traced = copy.deepcopy(traced)
    modules = dict(traced.named_modules())
    for node in list(traced.graph.nodes):
        if node.op != "call_module" or not isinstance(
            modules.get(node.target), (nn.BatchNorm2d, nn.BatchNorm1d)
        ):
            continue
        source = node.args[0]
        if source.op != "call_module" or len(source.users) > 1:
            continue
        layer, norm = modules[source.target], modules[node.target]
        if isinstance(layer, nn.Conv2d):
            _replace(traced, source.target, fuse_conv_bn_eval(layer, norm))
        elif isinstance(layer, nn.Linear):
            _replace(traced, source.target, fuse_linear_bn_eval(layer, norm))
        else:
            continue
        node.replace_all_uses_with(source)
        traced.graph.erase_node(node)
        modules = dict(traced.named_modules())
    traced.recompile()
    return traced


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


def _replace(root: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(root.get_submodule(parent), last, module)
