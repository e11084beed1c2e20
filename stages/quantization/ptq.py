"""Post-training quantisation of a trained network: fold batch norms, calibrate, round weights and activations.

The input and the weight of every Conv2d and Linear are rounded to a format and scaled back in float32
("fake quantisation"); sums stay in float32, as in the paper. What is no input of such a layer stays float:
additions, pooling, and batch norms that do not directly follow a convolution.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from stages.lib.core.errors import InputError
from stages.lib.numerics.formats import Format, IntegerFormat, parse_format
from stages.lib.numerics.torch_quantisers import abs_max_scale, quantise, threshold_scale


def quantise_model(
    model: nn.Module,
    weight_format: str | Format,
    activation_format: str | Format,
    calibration_images: Tensor,
    *,
    edge_format: str | Format | None = "E3M4",
    percentile: float = 99.999,
    granularity: str = "per_channel",
    signs: str = "signed",
    batch: int = 25,
) -> nn.Module:
    """A copy of the network that computes with quantised weights and activations (minifloats notes, 2.1, 2.2).

    model               a classifier that torch.fx can trace; it is not changed
    calibration_images  (n, channels, height, width) float32, normalised as for the network, never test images
    edge_format         of the first and last layer; None: as the others
    percentile, granularity, signs  see SweepConfig
    """
    weight_format, activation_format = _format(weight_format), _format(activation_format)
    edge_format = None if edge_format is None else _format(edge_format)
    prepared = prepare(model)
    ranges = calibrate(prepared, calibration_images, percentile=percentile, batch=batch)
    quantise_weights_(prepared, weight_format, edge_format=edge_format, granularity=granularity)
    quantise_activations_(prepared, activation_format, ranges, edge_format=edge_format, signs=signs)
    return prepared


@dataclass(frozen=True, kw_only=True)
class ActivationRange:
    """What calibration saw at a layer's input: the percentile of |x|, and whether any value was negative."""

    threshold: float
    negative: bool


class QuantisedLayer(nn.Module):
    """A Conv2d or Linear whose input is rounded to a format before it is used; None leaves it as it is."""

    def __init__(self, layer: nn.Conv2d | nn.Linear) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("float_weight", layer.weight.detach().clone(), persistent=False)
        self.register_buffer("activation_scale", torch.ones(()), persistent=False)
        self.activation_format: Format | None = None
        self.observer: _RangeObserver | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.observer is not None:
            self.observer.see(x)
        with torch.autocast(x.device.type, enabled=False):
            # under autocast the products would be rounded to bfloat16, which hides the formats' own error
            if self.activation_format is not None:
                x = quantise(x.float(), self.activation_format, self.activation_scale)
            return self.layer(x)


def prepare(model: nn.Module) -> fx.GraphModule:
    """A traced copy in evaluation mode with batch norms folded and QuantisedLayer around Conv2d and Linear.

    Raises InputError where torch.fx cannot trace the network.
    """
    try:
        traced = fx.symbolic_trace(model.eval())
    except (fx.proxy.TraceError, TypeError) as error:
        raise InputError(
            f"{type(model).__name__} cannot be traced by torch.fx ({error}); its forward must not branch on values"
        ) from error
    folded = copy.deepcopy(traced)
    fold_batch_norms_(folded)
    for name in dict.fromkeys(_layer_names(folded)):
        _set_module(folded, name, QuantisedLayer(folded.get_submodule(name)))
    return folded.requires_grad_(False)


def layers(prepared: fx.GraphModule) -> dict[str, QuantisedLayer]:
    """The quantised layers by name, in the order in which the network uses them."""
    modules = {
        n.target: prepared.get_submodule(n.target) for n in prepared.graph.nodes if n.op == "call_module"
    }
    return {name: module for name, module in modules.items() if isinstance(module, QuantisedLayer)}


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
            _set_module(traced, source.target, fuse_conv_bn_eval(layer, norm))
        elif isinstance(layer, nn.Linear):
            _set_module(traced, source.target, fuse_linear_bn_eval(layer, norm))
        else:
            continue
        node.replace_all_uses_with(source)
        traced.graph.erase_node(node)
    traced.graph.lint()
    traced.recompile()
    traced.delete_all_unused_submodules()


@torch.inference_mode()
def calibrate(
    prepared: fx.GraphModule, images: Tensor, *, percentile: float, batch: int
) -> dict[str, ActivationRange]:
    """Ranges of the inputs of all layers, for the float network, over these images (NCHW, normalised)."""
    quantised = layers(prepared)
    for layer in quantised.values():
        layer.observer = _RangeObserver(percentile, images=len(images))
    saved = {name: (layer.layer.weight.clone(), layer.activation_format) for name, layer in quantised.items()}
    float_weights_(prepared)
    for part in images.split(batch):
        prepared(part)
    ranges = {name: layer.observer.range() for name, layer in quantised.items() if layer.observer}
    for name, layer in quantised.items():
        layer.observer = None
        layer.layer.weight.copy_(saved[name][0])
        layer.activation_format = saved[name][1]
    return ranges


@torch.no_grad()
def float_weights_(prepared: fx.GraphModule) -> None:
    """Back to the float network."""
    for layer in layers(prepared).values():
        layer.layer.weight.copy_(layer.float_weight)
        layer.activation_format = None


@torch.no_grad()
def quantise_weights_(
    prepared: fx.GraphModule, format: Format, *, edge_format: Format | None, granularity: str
) -> None:
    """Round all weights: abs-max scale per output channel or per tensor; edge_format for the first and last layer."""
    axis = 0 if granularity == "per_channel" else None
    for layer, own in _with_formats(prepared, format, edge_format):
        weight = layer.float_weight
        layer.layer.weight.copy_(quantise(weight, own, abs_max_scale(weight, own, axis=axis)))


def quantise_activations_(
    prepared: fx.GraphModule,
    format: Format,
    ranges: Mapping[str, ActivationRange],
    *,
    edge_format: Format | None,
    signs: str,
) -> None:
    """Set the format and static scale of every layer's input."""
    names = list(layers(prepared))
    for name, (layer, own) in zip(names, _with_formats(prepared, format, edge_format), strict=True):
        seen = ranges[name]
        own = own if seen.negative else without_sign(own, signs)
        layer.activation_format = own
        threshold = torch.tensor(seen.threshold, dtype=torch.float32, device=layer.activation_scale.device)
        layer.activation_scale = threshold_scale(threshold, own)


def without_sign(format: Format, signs: str) -> Format:
    """The format of equal width for inputs that are never negative.

    signs  "signed": keeps it; "unsigned_mantissa" and "unsigned_exponent": where a minifloat's sign bit goes
    (an integer becomes unsigned in both).
    """
    if signs == "signed":
        return format
    if isinstance(format, IntegerFormat):
        return IntegerFormat(bits=format.bits, signed=False)
    if signs == "unsigned_mantissa":
        return replace(format, signed=False, mantissa_bits=format.mantissa_bits + 1)
    return replace(format, signed=False, exponent_bits=format.exponent_bits + 1)


@torch.inference_mode()
def predict(model: nn.Module, images: Tensor, *, batch: int) -> Tensor:
    """(n,) int64: the class of each image."""
    return torch.cat([model(part).argmax(1) for part in images.split(batch)])


def _with_formats(
    prepared: fx.GraphModule, format: Format, edge_format: Format | None
) -> list[tuple[QuantisedLayer, Format]]:
    # first and last by position in the graph: Brevitas looks for 3 inputs and 1000 outputs, which small sets lack
    found = list(layers(prepared).values())
    edges = {0, len(found) - 1} if edge_format is not None else set()
    return [(layer, edge_format if i in edges else format) for i, layer in enumerate(found)]


class _RangeObserver:
    """The percentile of |x| over all images, exactly, keeping only the largest values.

    The percentile lies between two order statistics near the top (linear interpolation, as in numpy), so the
    values below the running cut are never stored.
    """

    def __init__(self, percentile: float, *, images: int) -> None:
        self._percentile, self._images = percentile, images
        self._kept: Tensor | None = None
        self._total = self._keep = 0
        self._negative = False

    def see(self, x: Tensor) -> None:
        magnitude = x.abs().flatten()
        if self._kept is None:
            self._total = x[0].numel() * self._images
            self._keep = self._total - int(self._rank())
            self._kept = magnitude[:0]
        self._negative = self._negative or bool(x.min() < 0)
        if len(self._kept) == self._keep:
            magnitude = magnitude[magnitude > self._kept[-1]]
        merged = torch.cat([self._kept, magnitude])
        self._kept = merged.topk(min(self._keep, len(merged))).values

    def range(self) -> ActivationRange:
        if self._kept is None:
            raise InputError("there are no calibration images; set calibration_images to 1 or more")
        rank = self._rank()
        # _kept is sorted downwards: its last element has rank int(rank), the one before it the next
        low, high = self._kept[-1].item(), self._kept[max(len(self._kept) - 2, 0)].item()
        return ActivationRange(threshold=low + (high - low) * (rank - int(rank)), negative=self._negative)

    def _rank(self) -> float:
        return self._percentile / 100 * (self._total - 1)


def _format(format: str | Format) -> Format:
    return parse_format(format) if isinstance(format, str) else format


def _module_uses(traced: fx.GraphModule) -> dict[str, int]:
    uses: dict[str, int] = {}
    for node in traced.graph.nodes:
        if node.op == "call_module":
            uses[node.target] = uses.get(node.target, 0) + 1
    return uses


def _layer_names(traced: fx.GraphModule) -> Sequence[str]:
    calls = (n.target for n in traced.graph.nodes if n.op == "call_module")
    return [name for name in calls if isinstance(traced.get_submodule(name), nn.Conv2d | nn.Linear)]


def _set_module(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)
