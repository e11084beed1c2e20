"""Even out ranges before rounding, without changing the float network: weight equalisation and SmoothQuant.

Weight equalisation (Nagel 2019, eq. 11): where a channel passes from one layer to the next through operations
that commute with a positive factor, the first layer's row may be divided by s and the second's column
multiplied by it. Residual networks share channels among many layers, so that the tensors are first sorted into
regions: all that is tied together by additions, ReLU and pooling. A region is equalised when each of its
tensors comes from layers and goes into layers only.
"""

import operator
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from stages.lib.nets.graph import set_module_
from stages.quantization.calibration import Statistics
from stages.quantization.network import QuantisedLayer, along_channels, layers

ITERATIONS = 20

_HOMOGENEOUS_MODULES = (
    *(
        nn.ReLU,
        nn.Identity,
        nn.Dropout,
        nn.MaxPool2d,
        nn.AvgPool2d,
        nn.AdaptiveAvgPool2d,
        nn.AdaptiveMaxPool2d,
    ),
)
_HOMOGENEOUS_FUNCTIONS = (F.relu, torch.relu, F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d, F.dropout)
_ADDITIONS = (operator.add, operator.iadd, torch.add)


@dataclass
class Region:
    """Tensors of one set of channels. sources write them, sinks read them, clips are ReLU6 on the way."""

    sources: list[nn.Module] = field(default_factory=list)
    sinks: list[QuantisedLayer] = field(default_factory=list)
    clips: list[str] = field(default_factory=list)
    blocked: bool = False


class ChannelReLU6(nn.Module):
    """min(max(x, 0), cap) with a cap for each channel: what ReLU6 is once its channels are scaled."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("cap", torch.full((1, channels, 1, 1), 6.0))

    def forward(self, x: Tensor) -> Tensor:
        return torch.minimum(x.clamp_min(0), self.cap)


@torch.no_grad()
def equalise_(prepared: fx.GraphModule, *, iterations: int = ITERATIONS) -> int:
    """Equalise the float weights of every region; returns how many there are.

    s = sqrt(range of the sources' rows / range of the sinks' columns), 20 rounds over all regions. A bias does not count
    as part of its row, unlike in the public code ("merge bias"): it is not rounded here, and counting it cost accuracy
    on training images in every network and format that was tried.
    """
    regions = [r for r in find_regions(prepared) if not r.blocked and r.sources and r.sinks]
    clips = {name: ChannelReLU6(_channels(region)) for region in regions for name in region.clips}
    for name, clip in clips.items():
        set_module_(prepared, name, clip.to(_weight(regions[0].sinks[0]).device))
    for _ in range(iterations):
        for region in regions:
            written = torch.stack([_row_range(source) for source in region.sources]).amax(0)
            read = torch.stack([_column_range(sink) for sink in region.sinks]).amax(0)
            usable = (written > 0) & (read > 0)
            factor = torch.where(usable, (written / read).sqrt(), torch.ones_like(written))
            for source in region.sources:
                _divide_rows_(source, factor)
            for sink in region.sinks:
                _multiply_columns_(sink, factor)
            for name in region.clips:
                clips[name].cap.div_(factor.view(1, -1, 1, 1))
    for layer in layers(prepared).values():
        layer.float_weight.copy_(layer.layer.weight)
        if layer.float_bias is not None:
            layer.float_bias.copy_(layer.layer.bias)
    return len(regions)


@torch.no_grad()
def smooth_(prepared: fx.GraphModule, statistics: Statistics, *, alpha: float) -> None:
    """SmoothQuant (Xiao 2023, eq. 4): divide each input channel by s = max|x|^alpha / max|w|^(1 - alpha).

    The weight's column takes the factor; the division stays as a multiplication in front of the layer.
    """
    for name, layer in layers(prepared).items():
        seen, columns = statistics[name].channel_maximum, _column_range(layer)
        usable = (seen > 0) & (columns > 0)
        factor = torch.where(usable, seen**alpha / columns ** (1 - alpha), torch.ones_like(seen))
        layer.input_multiplier = 1 / factor
        _multiply_columns_(layer, factor)
        layer.float_weight.copy_(layer.layer.weight)


def find_regions(prepared: fx.GraphModule) -> list[Region]:
    """The regions of a prepared network."""
    parent = {node: node for node in prepared.graph.nodes}

    def root(node: fx.Node) -> fx.Node:
        while parent[node] is not node:
            node = parent[node]
        return node

    for node in prepared.graph.nodes:
        if _passes_through(prepared, node):
            for source in node.all_input_nodes:
                parent[root(source)] = root(node)
    regions: dict[fx.Node, Region] = defaultdict(Region)
    for node in prepared.graph.nodes:
        region = regions[root(node)]
        module = prepared.get_submodule(node.target) if node.op == "call_module" else None
        if isinstance(module, nn.ReLU6):
            region.clips.append(node.target)
        if _passes_through(prepared, node):
            continue
        inputs = [regions[root(source)] for source in node.all_input_nodes]
        if isinstance(module, QuantisedLayer):
            region.sources.append(module)
            inputs[0].sinks.append(module)
        elif isinstance(module, nn.LayerNorm) and module.elementwise_affine:
            region.sources.append(module)
            inputs[0].blocked = True
        else:
            for touched in (region, *inputs):
                touched.blocked = True
    calls = Counter(node.target for node in prepared.graph.nodes if node.op == "call_module")
    shared = {id(prepared.get_submodule(name)) for name, count in calls.items() if count > 1}
    for region in regions.values():
        # what serves two places cannot be scaled for one of them
        members = [*region.sources, *region.sinks, *map(prepared.get_submodule, region.clips)]
        region.blocked |= any(id(member) in shared for member in members)
    return list(regions.values())


def _passes_through(prepared: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a positive factor on a channel of the inputs is the same factor on the output's channel."""
    if node.op == "call_module":
        module = prepared.get_submodule(node.target)
        return isinstance(module, (*_HOMOGENEOUS_MODULES, nn.ReLU6)) or _flattens_one_pixel(prepared, node)
    if node.op == "call_function":
        if node.target in _ADDITIONS:
            return len(node.all_input_nodes) == 2
        return node.target in _HOMOGENEOUS_FUNCTIONS
    # the mean over positions keeps channels; over channels it would mix them
    return node.op == "call_method" and node.target == "mean" and node.args[1:] == ((2, 3),)


def _flattens_one_pixel(prepared: fx.GraphModule, node: fx.Node) -> bool:
    source = node.args[0]
    if not isinstance(prepared.get_submodule(node.target), nn.Flatten) or source.op != "call_module":
        return False
    pooling = prepared.get_submodule(source.target)
    return isinstance(pooling, nn.AdaptiveAvgPool2d) and pooling.output_size in (1, (1, 1))


def _weight(layer: nn.Module) -> Tensor:
    return layer.layer.weight if isinstance(layer, QuantisedLayer) else layer.weight


def _bias(layer: nn.Module) -> Tensor | None:
    return layer.layer.bias if isinstance(layer, QuantisedLayer) else layer.bias


def _channels(region: Region) -> int:
    return len(_weight(region.sources[0]))


def _row_range(source: nn.Module) -> Tensor:
    """(out,) largest |w| that makes each output channel."""
    return _weight(source).abs().reshape(len(_weight(source)), -1).amax(1)


def _column_range(sink: QuantisedLayer) -> Tensor:
    """(in,) largest |w| that reads each input channel."""
    weight, groups = sink.layer.weight, _groups(sink)
    largest = weight.abs().reshape(*weight.shape[:2], -1).amax(2)
    return largest.view(groups, -1, weight.shape[1]).amax(1).flatten()


def _multiply_columns_(sink: QuantisedLayer, factor: Tensor) -> None:
    weight, groups = sink.layer.weight, _groups(sink)
    of_group = factor.view(groups, 1, -1).expand(-1, len(weight) // groups, -1)
    weight.mul_(of_group.reshape(*weight.shape[:2], *[1] * (weight.dim() - 2)))


def _divide_rows_(source: nn.Module, factor: Tensor) -> None:
    weight, bias = _weight(source), _bias(source)
    weight.div_(along_channels(factor, weight.dim(), 0))
    if bias is not None:
        bias.div_(factor)


def _groups(sink: QuantisedLayer) -> int:
    return sink.layer.groups if isinstance(sink.layer, nn.Conv2d) else 1
