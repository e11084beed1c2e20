"""A quantised network that computes on codes: integer sums in a finite accumulator, as a fixed-point MAC forms them.

It ties a network's accuracy to the MAC whose cost is measured: each Conv2d and Linear turns its input into steps
of the activation format, multiplies them by the steps of its weights in an accumulator of so many bits, and scales
the sums back. What lies between the layers (additions, pooling, norms, activations) stays float, as in the
fake-quantised network. The scale must be constant along a dot product: per tensor or per output channel for
weights, per tensor and static for activations.

Layers return the dtype that comes in. In float64 (`network.double()`) the network is compared with `float64_twin`;
the input of a layer is rounded to float32 before it is quantised in both, as the fake-quantised network has it.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from stages.lib.core.errors import InputError
from stages.lib.nets.graph import pad_input, set_module_, sliding_windows
from stages.lib.numerics.accumulators import exact_accumulator_bits, paper_accumulator_bits
from stages.lib.numerics.formats import Format
from stages.lib.numerics.integer_matmul import MAX_WIDTH_BITS, Overflow, exact_matmul, steps_of
from stages.lib.numerics.torch_quantisers import round_to_format
from stages.quantization.network import QuantisedLayer, layers


@dataclass(frozen=True, kw_only=True)
class WidthReport:
    """What one layer asked of its accumulator.

    length               products in a dot product
    needed_bits          width at which no partial sum overflowed
    first_overflow_bits  the widest accumulator in which a dot product would have overflowed
    exact_bits           width that no input whatever can overflow
    paper_bits           width of the paper's formula; None for an integer times a minifloat
    accumulator_bits, overflows  the accumulator that was used (None: wide enough), and how many dot products
                         overflowed in it
    histogram            dot products by the width that all of their partial sums need
    """

    layer: str
    weight_format: str
    activation_format: str
    length: int
    dot_products: int
    needed_bits: int
    first_overflow_bits: int
    exact_bits: int
    paper_bits: int | None
    accumulator_bits: int | None
    overflows: int
    histogram: dict[int, int]


@dataclass(kw_only=True)
class WidthCounter:
    """Grows with every image that goes through an IntegerLayer."""

    layer: str
    weight_format: Format
    activation_format: Format
    length: int
    accumulator_bits: int | None
    needed_bits: np.ndarray = field(default_factory=lambda: np.zeros(MAX_WIDTH_BITS + 1, dtype=np.int64))

    def report(self) -> WidthReport:
        widths = np.flatnonzero(self.needed_bits)
        pair = self.weight_format, self.activation_format
        mixed = type(self.weight_format) is not type(self.activation_format)
        needed = int(widths.max(initial=1))
        bits = self.accumulator_bits
        return WidthReport(
            layer=self.layer,
            weight_format=self.weight_format.name,
            activation_format=self.activation_format.name,
            length=self.length,
            dot_products=int(self.needed_bits.sum()),
            needed_bits=needed,
            first_overflow_bits=needed - 1,
            exact_bits=exact_accumulator_bits(*pair, length=self.length),
            paper_bits=None if mixed else paper_accumulator_bits(*pair, length=self.length),
            accumulator_bits=bits,
            overflows=0 if bits is None else int(self.needed_bits[bits + 1 :].sum()),
            histogram={int(width): int(self.needed_bits[width]) for width in widths},
        )


def integer_network(
    prepared: fx.GraphModule,
    *,
    accumulator_bits: int | Mapping[str, int] | None = None,
    overflow: Overflow = "wrap",
) -> tuple[fx.GraphModule, dict[str, WidthCounter]]:
    """A copy of a quantised network that computes on codes, and a counter for each of its layers.

    accumulator_bits  of all layers; by layer name (others: wide enough); None: wide enough
    overflow          wrap or saturate
    Layers without any format stay float. Raises InputError where a layer's scale is not constant along a dot
    product, or where only one of its operands has a format.
    """
    network, counters = copy.deepcopy(prepared), {}
    widths = accumulator_bits if isinstance(accumulator_bits, Mapping) else {}
    if unknown := [name for name in widths if name not in layers(prepared)]:
        raise InputError(f"accumulator_bits names {unknown[0]!r}; there are {', '.join(layers(prepared))}")
    for name, operands in _operands(network).items():
        bits = widths.get(name) if isinstance(accumulator_bits, Mapping) else accumulator_bits
        counters[name] = WidthCounter(
            layer=name,
            weight_format=operands.weight_format,
            activation_format=operands.activation_format,
            length=operands.length,
            accumulator_bits=bits,
        )
        set_module_(network, name, IntegerLayer(operands, counters[name], overflow=overflow))
    return network, counters


def float64_twin(prepared: fx.GraphModule) -> fx.GraphModule:
    """The same quantised network in float64: products of exact value times scale, summed by a float64 convolution.

    Its sums are rounded at 2^-53 of their magnitude, the integer network's not at all.
    """
    network = copy.deepcopy(prepared)
    for name, operands in _operands(network).items():
        set_module_(network, name, TwinLayer(operands))
    return network.double()


@dataclass(frozen=True, kw_only=True)
class Operands:
    """A quantised layer taken apart. It is no module, so that `network.double()` leaves its float32 scales alone.

    weight        float64, unscaled values of weight_format, in the layer's shape
    weight_scale  (out,) float64; bias  (out,) float64
    """

    layer: QuantisedLayer
    weight: Tensor
    weight_scale: Tensor
    bias: Tensor
    weight_format: Format
    activation_format: Format

    @property
    def length(self) -> int:
        """Products in a dot product."""
        return self.weight[0].numel()

    @property
    def activation_scale(self) -> Tensor:
        return self.layer.activation_scale.double()

    def input_values(self, x: Tensor) -> Tensor:
        """float32, unscaled values of the activation format; a convolution's input is padded."""
        x = self.layer.smoothed(x).float() / self.layer.activation_scale
        values = round_to_format(x, self.activation_format)
        layer = self.layer.layer
        return values if isinstance(layer, nn.Linear) else pad_input(layer, values)

    def linear_map(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The layer's sums of products, in the dtype of its arguments; x is padded already."""
        layer = self.layer.layer
        if isinstance(layer, nn.Linear):
            return F.linear(x, weight, bias)
        return F.conv2d(x, weight, bias, layer.stride, 0, layer.dilation, layer.groups)


class TwinLayer(nn.Module):
    """value * scale in float64 for both operands, which is exact, then a float64 convolution or product."""

    def __init__(self, operands: Operands) -> None:
        super().__init__()
        self.operands = operands
        shape = (-1, *[1] * (operands.weight.dim() - 1))
        self.weight = operands.weight * operands.weight_scale.view(shape)

    def forward(self, x: Tensor) -> Tensor:
        return self.operands.linear_map(self.scaled_input(x), self.weight, self.operands.bias)

    def scaled_input(self, x: Tensor) -> Tensor:
        return self.operands.input_values(x).double() * self.operands.activation_scale

    def magnitude(self, x: Tensor) -> Tensor:
        """The sum of |products| and |bias| behind each output: what rounding errors are relative to."""
        inputs = self.scaled_input(x).abs()
        return self.operands.linear_map(inputs, self.weight.abs(), self.operands.bias.abs())


class IntegerLayer(nn.Module):
    """A Conv2d or Linear on steps, in an accumulator of `counter.accumulator_bits`."""

    def __init__(self, operands: Operands, counter: WidthCounter, *, overflow: Overflow) -> None:
        super().__init__()
        self.operands, self.counter, self.overflow = operands, counter, overflow
        layer = operands.layer.layer
        self.groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
        steps = steps_of(operands.weight.numpy(), operands.weight_format)
        self.weight_steps = steps.reshape(self.groups, -1, operands.length)
        step = operands.weight_format.min_positive * operands.activation_format.min_positive
        self.scale = (operands.weight_scale * operands.activation_scale * step).numpy()

    def forward(self, x: Tensor) -> Tensor:
        values = self.operands.input_values(x).numpy()
        steps = steps_of(values, self.operands.activation_format)
        if np.abs(steps).max(initial=0) < 2**31:
            steps = steps.astype(np.int32)  # half the memory
        columns, shape = self._columns(steps)
        sums = [self._group_sums(w, c) for w, c in zip(self.weight_steps, columns, strict=True)]
        y = np.concatenate(sums) * self.scale[:, None] + self.operands.bias.numpy()[:, None]
        channels_first = torch.from_numpy(y).view(-1, *shape)
        dim = self.operands.layer.channel_dim
        return channels_first.movedim(0, dim).to(x.dtype).contiguous()

    def _columns(self, steps: np.ndarray) -> tuple[list[np.ndarray], tuple[int, ...]]:
        """For each group the (K, N) operand, and the shape that N stands for."""
        layer = self.operands.layer.layer
        if isinstance(layer, nn.Linear):
            return [steps.reshape(-1, steps.shape[-1]).T], steps.shape[:-1]
        windows = sliding_windows(layer, torch.from_numpy(steps))
        n, rows, columns = windows.shape[3:]
        matrices = windows.reshape(self.groups, self.operands.length, -1).numpy()
        return list(matrices), (n, rows, columns)

    def _group_sums(self, weight: np.ndarray, columns: np.ndarray) -> np.ndarray:
        sums = exact_matmul(
            weight, columns, accumulator_bits=self.counter.accumulator_bits, overflow=self.overflow
        )
        self.counter.needed_bits += sums.needed_bits
        return sums.to_float64()


def _operands(network: fx.GraphModule) -> dict[str, Operands]:
    return {
        name: _operands_of(name, layer)
        for name, layer in layers(network).items()
        if layer.weight_format is not None or layer.activation_format is not None
    }


def _operands_of(name: str, layer: QuantisedLayer) -> Operands:
    if layer.weight_format is None or layer.activation_format is None:
        missing = "weights" if layer.weight_format is None else "input"
        raise InputError(
            f"layer {name}: the {missing} stayed float; integer sums need both operands in a format"
        )
    weight = layer.layer.weight.double()
    rows = layer.weight_scale.double().expand_as(weight).flatten(1)
    if layer.activation_group or layer.activation_scale.numel() != 1 or (rows != rows[:, :1]).any():
        raise InputError(
            f"layer {name}: its scales change along a dot product, which one integer sum cannot follow; quantise with"
            " granularity per_channel or per_tensor"
        )
    shape = (-1, *[1] * (weight.dim() - 1))
    scale = rows[:, 0].contiguous()
    # the stored weight is value * scale rounded to float32: within 2^-24 of the value, far from any other one
    values = round_to_format((weight / scale.view(shape)).float(), layer.weight_format)
    if not torch.equal(values * scale.float().view(shape), layer.layer.weight):
        raise InputError(
            f"layer {name}: its weights are not values of {layer.weight_format.name} times its scales; quantise the"
            " network again"
        )
    bias = torch.zeros(len(weight)) if layer.layer.bias is None else layer.layer.bias
    return Operands(
        layer=layer,
        weight=values.double(),
        weight_scale=scale,
        bias=bias.double(),
        weight_format=layer.weight_format,
        activation_format=layer.activation_format,
    )
