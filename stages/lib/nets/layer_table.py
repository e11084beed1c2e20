"""The layer table of a torch network, from one forward pass."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from stages.lib.core.errors import InputError
from stages.lib.costs.layers import LAYER_COLUMNS, check_layers

Row = tuple[str, str, int, int, int, int, str]

# torch's names of products; only those of batches of matrices are attention
_PRODUCTS = ("matmul", "__matmul__", "bmm")

# They compute matrix products that the table would leave out without a word.
_REFUSED = (
    nn.Conv1d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.RNNBase,
    nn.MultiheadAttention,
    nn.Bilinear,
)


def layer_table(model: nn.Module, *inputs: Tensor) -> pd.DataFrame:
    """One row for each use of a Conv2d, a Linear, or attention, in the order of computation.

    model, inputs   on any one device; on "meta" nothing is computed, which suits every network whose operations do not
                    depend on values. The pass runs in evaluation mode; each module's mode is restored.

    A layer that is used again gets the name NAME#2, and so on, with the same weight_name. Uses without rows (an expert
    that no token visits) are left out. Attention is scaled_dot_product_attention, or products of batches of matrices;
    products of plain matrices written as matmul are not seen: no network here has one.
    Raises InputError where a layer has another kind of product, or where the network does not take the input.
    """
    for name, module in model.named_modules():
        if isinstance(module, _REFUSED):
            raise InputError(
                f"layer {name} is a {type(module).__name__}, which a layer table does not hold; it takes Conv2d, Linear"
                " and scaled_dot_product_attention"
            )
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    recorder = _Recorder()
    try:
        with torch.inference_mode(), recorder.watch(model), recorder:
            model(*inputs)
    except RuntimeError as error:
        shapes = " and ".join(" x ".join(map(str, x.shape)) for x in inputs)
        raise InputError(
            f"{type(model).__name__} does not take an input of {shapes} ({str(error).splitlines()[0]});"
            " give the size it was made for"
        ) from error
    finally:
        for module, training in modes:
            module.training = training
    return check_layers(
        pd.DataFrame(recorder.rows, columns=list(LAYER_COLUMNS)), where=f"the table of {type(model).__name__}"
    )


class _Recorder(TorchFunctionMode):
    """Rows from hooks of modules; attention, which is a function, is named after the module that calls it."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Row] = []
        self._uses: dict[str, int] = {}
        self._calling: list[str] = []

    @contextmanager
    def watch(self, model: nn.Module) -> Iterator[None]:
        handles = []
        for name, module in model.named_modules():
            handles.append(module.register_forward_pre_hook(self._enter(name)))
            handles.append(module.register_forward_hook(self._leave(name)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func is F.scaled_dot_product_attention:
            self._add_attention(*args[:3])
        elif getattr(func, "__name__", "") in _PRODUCTS and args[1].dim() > 2:
            self._add_product(*args[:2])
        return func(*args, **(kwargs or {}))

    def _enter(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple) -> None:
            self._calling.append(name)

        return hook

    def _leave(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple, output: Any) -> None:
            self._calling.pop()
            if isinstance(module, nn.Conv2d):
                self._add_conv(name, module, output)
            elif isinstance(module, nn.Linear):
                m = output.numel() // module.out_features
                self._add(name, "linear", m, module.in_features, module.out_features, 1, f"{name}.weight")

        return hook

    def _add_conv(self, name: str, conv: nn.Conv2d, output: Tensor) -> None:
        m = output.numel() // conv.out_channels  # output is NCHW, or CHW of one image
        k = conv.in_channels // conv.groups * conv.kernel_size[0] * conv.kernel_size[1]
        self._add(name, "conv", m, k, conv.out_channels // conv.groups, conv.groups, f"{name}.weight")

    def _add_attention(self, q: Tensor, k: Tensor, v: Tensor) -> None:
        # (..., heads, tokens, size); query heads that share keys and values stack their rows
        groups = k[..., 0, 0].numel()
        rows = q.numel() // q.shape[-1] // groups
        name, context = self._calling[-1], k.shape[-2]
        prefix = f"{name}." if name else ""
        self._add(f"{prefix}scores", "attention", rows, q.shape[-1], context, groups, "")
        self._add(f"{prefix}values", "attention", rows, context, v.shape[-1], groups, "")

    def _add_product(self, a: Tensor, b: Tensor) -> None:
        # attention spelled out: the product of two activations, (..., heads, rows, k) with (..., heads, k, columns)
        groups = b[..., 0, 0].numel()
        prefix = f"{self._calling[-1]}." if self._calling[-1] else ""
        rows = a.numel() // a.shape[-1] // groups
        self._add(f"{prefix}product", "attention", rows, a.shape[-1], b.shape[-1], groups, "")

    def _add(self, name: str, kind: str, m: int, k: int, n: int, groups: int, weight_name: str) -> None:
        if m == 0:
            return
        uses = self._uses[name] = self._uses.get(name, 0) + 1
        self.rows.append((name if uses == 1 else f"{name}#{uses}", kind, m, k, n, groups, weight_name))
