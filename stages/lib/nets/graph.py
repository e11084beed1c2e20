"""A network as a graph of torch.fx: batch norm folded, layers replaced, and a convolution's input as its windows."""

import copy

import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from stages.lib.core.errors import InputError


def fused(model: nn.Module) -> fx.GraphModule:
    """A traced copy in evaluation mode, each batch norm folded into the layer before it.

    Raises InputError where torch.fx cannot trace the network.
    """
    try:
        traced = fx.symbolic_trace(model.eval())
    except (fx.proxy.TraceError, TypeError, RuntimeError) as error:
        raise InputError(
            f"{type(model).__name__} cannot be traced by torch.fx ({str(error).splitlines()[0]}); its forward must"
            " not branch on values or take the length of tensors"
        ) from error
    # a copy, so that folding leaves the caller's network as it was
    folded = copy.deepcopy(traced)
    fold_batch_norms_(folded)
    return folded


def fold_batch_norms_(traced: fx.GraphModule) -> None:
    """Fold each batch norm into the convolution or linear layer whose output it alone uses."""
    modules = dict(traced.named_modules())
    uses = _module_uses(traced)
    for node in list(traced.graph.nodes):
        source = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(source, fx.Node) or source.op != "call_module" or len(source.users) > 1:
            continue
        layer, norm = modules[source.target], modules[node.target]
        if not isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d) or norm.running_mean is None:
            continue
        if uses[source.target] > 1 or uses[node.target] > 1:
            continue  # a shared layer serves two places, and only one of them has this norm
        if isinstance(layer, nn.Conv2d):
            set_module_(traced, source.target, fuse_conv_bn_eval(layer, norm))
        elif isinstance(layer, nn.Linear):
            set_module_(traced, source.target, fuse_linear_bn_eval(layer, norm))
        else:
            continue
        node.replace_all_uses_with(source)
        traced.graph.erase_node(node)
    traced.graph.lint()
    traced.recompile()
    traced.delete_all_unused_submodules()


def set_module_(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)


def pad_input(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """The input (n, in, height, width) with the layer's padding around it."""
    if not any(layer._reversed_padding_repeated_twice):
        return x  # F.pad would copy it
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    # torch's own form of the padding, which also stands for "same"
    return F.pad(x, layer._reversed_padding_repeated_twice, mode=mode)


def sliding_windows(layer: nn.Conv2d, padded: Tensor) -> Tensor:
    """(in, kh, kw, n, rows, columns) of a padded input (n, in, height, width), of any dtype: a view."""
    (kh, kw), (down, right) = layer.kernel_size, layer.stride
    by_row, by_column = layer.dilation
    windows = padded.unfold(2, by_row * (kh - 1) + 1, down).unfold(3, by_column * (kw - 1) + 1, right)
    return windows[..., ::by_row, ::by_column].permute(1, 4, 5, 0, 2, 3)


def _module_uses(traced: fx.GraphModule) -> dict[str, int]:
    uses: dict[str, int] = {}
    for node in traced.graph.nodes:
        if node.op == "call_module":
            uses[node.target] = uses.get(node.target, 0) + 1
    return uses
