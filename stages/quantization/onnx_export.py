"""A quantised network as an ONNX model, in one of two forms.

    qdq    QuantizeLinear and DequantizeLinear on every layer's input, integer codes and DequantizeLinear for its weight.
           For integers and the uniform minifloats E1My; E2M1 is ONNX's FLOAT4E2M1, which the standard has and
           onnxruntime's CPU provider (1.32) does not run. Scales per tensor or per channel.
    qonnx  nodes `Quant` and `FloatQuant` of QONNX on every layer's input and weight: any format, any static scale.
           Weights stay float32, as QONNX has them. The model carries both operators' definitions as functions of
           standard operators, so that any ONNX runtime can run it.

E4M3 and E5M2 here have numbers where ONNX's FLOAT8 types have NaN and infinity: they are not those types.
torch's own exporter writes the graph, with a mark on each tensor that is to be quantised; the marks are then replaced.
Sources: ONNX operators QuantizeLinear 21 to 23; QONNX operators Quant 1 and FloatQuant 1.
"""

import copy
import io
import warnings
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import NodeProto, TensorProto, helper, numpy_helper, parser
from torch import Tensor, fx, nn

from stages.lib.core.errors import InputError
from stages.lib.nets.graph import set_module_
from stages.lib.numerics.formats import Format, IntegerFormat, parse_format, values_in_steps
from stages.quantization.network import QuantisedLayer, layers

FORMS = ("qdq", "qonnx")
# a quantiser's nodes are named LAYER.input/OPERATOR or LAYER.weight/OPERATOR
INPUT, WEIGHT = ".input", ".weight"
QONNX_DOMAIN = "qonnx.custom_op.general"
_MARKS = "sevenfold.marks"
_TRACED_OPSET, _OPSET, _FLOAT4_OPSET = 20, 21, 23

_FUNCTIONS = (
    """
    <opset_import: ["" : 21], domain: "qonnx.custom_op.general">
    FloatQuant <rounding_mode, has_inf, has_nan, has_subnormal, saturation>
        (X, scale, exponent_bitwidth, mantissa_bitwidth, exponent_bias, max_val) => (Y)
    {
        one = Constant <value = float {1.0}> ()
        two = Constant <value = float {2.0}> ()
        unscaled = Div (X, scale)
        lowest = Neg (max_val)
        not_below = Max (unscaled, lowest)
        u = Min (not_below, max_val)
        magnitude = Abs (u)
        min_exponent = Sub (one, exponent_bias)
        smallest_normal = Pow (two, min_exponent)
        normal = Max (magnitude, smallest_normal)
        logarithm = Log (normal)
        logarithm_of_two = Log (two)
        log2 = Div (logarithm, logarithm_of_two)
        near = Floor (log2)
        power = Pow (two, near)
        half = Div (power, two)
        too_high = Less (normal, power)
        not_above = Where (too_high, half, power)
        double = Mul (not_above, two)
        too_low = GreaterOrEqual (normal, double)
        binade = Where (too_low, double, not_above)
        steps = Pow (two, mantissa_bitwidth)
        ulp = Div (binade, steps)
        in_steps = Div (u, ulp)
        rounded = Round (in_steps)
        q = Mul (rounded, ulp)
        Y = Mul (q, scale)
    }
    """,
    """
    <opset_import: ["" : 21], domain: "qonnx.custom_op.general">
    Quant <signed, narrow, rounding_mode> (X, scale, zeropt, bitwidth) => (Y)
    {
        one = Constant <value = float {1.0}> ()
        two = Constant <value = float {2.0}> ()
        signed_flag = Constant <value_int: int = @signed> ()
        narrow_flag = Constant <value_int: int = @narrow> ()
        is_signed = Cast <to = 1> (signed_flag)
        is_narrow = Cast <to = 1> (narrow_flag)
        is_unsigned = Sub (one, is_signed)
        magnitude_bits = Sub (bitwidth, is_signed)
        levels = Pow (two, magnitude_bits)
        top = Sub (levels, one)
        left_out = Mul (is_narrow, is_unsigned)
        highest = Sub (top, left_out)
        bottom = Sub (is_narrow, levels)
        lowest = Mul (bottom, is_signed)
        unscaled = Div (X, scale)
        shifted = Add (unscaled, zeropt)
        not_below = Max (shifted, lowest)
        inside = Min (not_below, highest)
        rounded = Round (inside)
        centred = Sub (rounded, zeropt)
        Y = Mul (centred, scale)
    }
    """,
)


def to_onnx(prepared: fx.GraphModule, example: Tensor, *, form: str | None = None) -> onnx.ModelProto:
    """The model, input `images` (n, ...) and output `logits` (n, classes), for any n.

    prepared  a quantised network (quantise_model, read_quantised); not changed
    example   (n, ...) float32, an input that the network is traced with
    form      "qdq", "qonnx", or None for qdq where onnxruntime can run it
    Raises InputError where the form cannot hold a layer's format or scale.
    """
    form = form or default_form(prepared)
    for name, layer in layers(prepared).items():
        if reason := obstacle(layer, form):
            raise InputError(f"layer {name}: {reason}")
    known = layers(prepared)
    model = _marked_model(prepared, example)
    nodes: list[NodeProto] = []
    tensors: dict[str, TensorProto] = {}
    uses: Counter[str] = Counter()
    for node in model.graph.node:
        if node.domain != _MARKS:
            nodes.append(node)
            continue
        name = helper.get_node_attr_value(node, "name").decode()
        layer = known[name.removesuffix(INPUT).removesuffix(WEIGHT)]
        piece = _piece(layer, name, form, x=node.input[0], y=node.output[0])
        for made in piece.nodes:
            # a layer that serves more than once has its quantisers more than once
            made.name += f"_{uses[name]}" if uses[name] else ""
        uses[name] += 1
        nodes += piece.nodes
        tensors |= {tensor.name: tensor for tensor in piece.tensors}
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    graph = helper.make_graph(
        nodes, "network", model.graph.input, model.graph.output, [*kept, *tensors.values()]
    )
    return _model(graph, form)


def default_form(prepared: fx.GraphModule) -> str:
    """qdq where onnxruntime can run it, else qonnx."""
    found = layers(prepared).values()
    formats = [f for layer in found for f in (layer.weight_format, layer.activation_format) if f is not None]
    fits = all(obstacle(layer, "qdq") is None for layer in found)
    return "qdq" if fits and all(format.uniform for format in formats) else "qonnx"


def obstacle(layer: QuantisedLayer, form: str) -> str | None:
    """Why the form cannot hold the layer, and what to do; None where it can."""
    if form not in FORMS:
        raise InputError(f"there is no form {form!r} of ONNX export; choose from {', '.join(FORMS)}")
    if layer.activation_format is not None and layer.activation_group:
        return (
            "the scales of its input are found anew for each image (MX), which no quantiser of ONNX or QONNX does;"
            " choose a technique with static scales, such as gptq or per_group"
        )
    if form == "qonnx":
        return None
    for format in (layer.weight_format, layer.activation_format):
        if format is not None and _onnx_type(format, packed=False) is None:
            return f"ONNX has no type for {format.name}; choose the form qonnx, or integers"
    if layer.weight_format is not None and layer.weight_scale.numel() > len(layer.layer.weight):
        return (
            "its weight has a scale for each group of channels; choose the form qonnx, or scales per channel"
        )
    return None


class _Mark(torch.autograd.Function):
    """The identity, which the exporter writes as a node that names the quantiser."""

    @staticmethod
    def forward(_context: Any, x: Tensor, _name: str) -> Tensor:
        return x.clone()

    @staticmethod
    def symbolic(graph: Any, x: Any, name: str) -> Any:
        return graph.op(f"{_MARKS}::Mark", x, name_s=name).setType(x.type())


class _MarkedLayer(nn.Module):
    """A QuantisedLayer with marks in the place of its quantisers."""

    def __init__(self, quantised: QuantisedLayer, name: str) -> None:
        super().__init__()
        self.quantised, self.name = quantised, name

    def forward(self, x: Tensor) -> Tensor:
        layer, weight = self.quantised.layer, self.quantised.layer.weight
        x = self.quantised.smoothed(x)
        if self.quantised.activation_format is not None:
            x = _Mark.apply(x, self.name + INPUT)
        if self.quantised.weight_format is not None:
            weight = _Mark.apply(weight, self.name + WEIGHT)
        if isinstance(layer, nn.Conv2d):
            return layer._conv_forward(x, weight, layer.bias)
        return F.linear(x, weight, layer.bias)


def _marked_model(prepared: fx.GraphModule, example: Tensor) -> onnx.ModelProto:
    marked = copy.deepcopy(prepared).cpu().eval()
    for name, layer in layers(marked).items():
        set_module_(marked, name, _MarkedLayer(layer, name))
    file = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        # torch announces a successor of this exporter, which would need onnxscript, and tells of missed folding
        warnings.simplefilter("ignore")
        torch.onnx.export(
            marked,
            (example.cpu().contiguous(),),
            file,
            dynamo=False,
            opset_version=_TRACED_OPSET,
            custom_opsets={_MARKS: 1},
            input_names=["images"],
            output_names=["logits"],
            dynamic_axes={"images": {0: "n"}, "logits": {0: "n"}},
        )
    return onnx.load_from_string(file.getvalue())


@dataclass(frozen=True, kw_only=True)
class _Piece:
    nodes: list[NodeProto]
    tensors: list[TensorProto] = field(default_factory=list)


def _piece(layer: QuantisedLayer, name: str, form: str, *, x: str, y: str) -> _Piece:
    """What stands for the mark between tensors x and y. `name` is that of the layer and ".input" or ".weight"."""
    if form == "qonnx":
        return _qonnx(layer, name, x=x, y=y)
    if name.endswith(WEIGHT):
        return _dequantised_weight(layer, name, y=y)
    return _quantised_input(layer, name, x=x, y=y)


@dataclass(frozen=True)
class _OnnxType:
    """dtype: of the codes in numpy; step: value of code 1; low, high: of the type, in codes."""

    dtype: np.dtype[Any]
    step: float
    low: int
    high: int


def _onnx_type(format: Format, *, packed: bool) -> _OnnxType | None:
    """The narrowest type that holds the format's values in steps; E1My are integers times a power of two.

    packed  two codes a byte where they fit; onnxruntime 1.32 refuses a Clip in front of QuantizeLinear to INT4
    """
    if format == parse_format("E2M1"):
        return _OnnxType(np.dtype(ml_dtypes.float4_e2m1fn), 1.0, -6, 6)
    if not format.uniform:
        return None
    low, high = values_in_steps(format)
    narrow = ((ml_dtypes.uint4, 0, 15), (ml_dtypes.int4, -8, 7)) if packed else ()
    for dtype, lowest, highest in (*narrow, (np.uint8, 0, 255), (np.int8, -128, 127)):
        if lowest <= low and high <= highest:
            return _OnnxType(np.dtype(dtype), format.min_positive, lowest, highest)
    return None


def _dequantised_weight(layer: QuantisedLayer, name: str, *, y: str) -> _Piece:
    type = _onnx_type(layer.weight_format, packed=True)
    weight, scale = layer.layer.weight.detach(), layer.weight_scale * type.step
    codes = (weight / scale).cpu().numpy()
    codes = (
        codes.astype(type.dtype)
        if type.dtype == ml_dtypes.float4_e2m1fn
        else np.rint(codes).astype(type.dtype)
    )
    per_channel = {"axis": 0} if scale.numel() > 1 else {}
    node = helper.make_node(
        "DequantizeLinear", [f"{name}.codes", f"{name}.scale"], [y], f"{name}/dequantize", **per_channel
    )
    scales = scale.flatten() if per_channel else scale.reshape(())
    return _Piece(
        nodes=[node],
        tensors=[_tensor(f"{name}.codes", codes), _tensor(f"{name}.scale", scales.cpu().numpy())],
    )


def _quantised_input(layer: QuantisedLayer, name: str, *, x: str, y: str) -> _Piece:
    format, type = layer.activation_format, _onnx_type(layer.activation_format, packed=False)
    scale = (layer.activation_scale.reshape(()) * type.step).cpu().numpy()
    tensors = [_tensor(f"{name}.scale", scale), _tensor(f"{name}.zero_point", np.zeros((), type.dtype))]
    operands = [f"{name}.scale", f"{name}.zero_point"]
    limits = np.array([format.min_value, format.max_value], np.float32) / np.float32(type.step)
    nodes = []
    if tuple(limits) != (type.low, type.high):
        # the type reaches further than the format: saturate first (narrow range, or fewer bits)
        ends = [f"{name}.min", f"{name}.max"]
        tensors += [_tensor(end, limit * scale) for end, limit in zip(ends, limits, strict=True)]
        nodes.append(helper.make_node("Clip", [x, *ends], [f"{y}.clipped"], f"{name}/clip"))
        x = f"{y}.clipped"
    nodes += [
        helper.make_node("QuantizeLinear", [x, *operands], [f"{y}.codes"], f"{name}/quantize"),
        helper.make_node("DequantizeLinear", [f"{y}.codes", *operands], [y], f"{name}/dequantize"),
    ]
    return _Piece(nodes=nodes, tensors=tensors)


def _qonnx(layer: QuantisedLayer, name: str, *, x: str, y: str) -> _Piece:
    weights = name.endswith(WEIGHT)
    format = layer.weight_format if weights else layer.activation_format
    scale = layer.weight_scale if weights else layer.activation_scale.reshape(())
    nodes = []
    if isinstance(format, IntegerFormat):
        operator, inputs = "Quant", {"zeropt": 0.0, "bitwidth": float(format.bits)}
        # QONNX's narrow unsigned integers lack the top code, ours do not
        flags = {"signed": int(format.signed), "narrow": int(format.signed and format.narrow)}
    else:
        operator = "FloatQuant"
        inputs = {
            "exponent_bitwidth": float(format.exponent_bits),
            "mantissa_bitwidth": float(format.mantissa_bits),
            "exponent_bias": float(format.exponent_bias),
            "max_val": format.max_value,
        }
        flags = {"has_inf": 0, "has_nan": 0, "has_subnormal": 1, "saturation": 1}
        if not format.signed:
            # FloatQuant knows signed formats only
            nodes.append(helper.make_node("Relu", [x], [f"{y}.unsigned"], f"{name}/relu"))
            x = f"{y}.unsigned"
    names = [f"{name}.scale", *(f"{name}.{key}" for key in inputs)]
    values = [scale.detach().cpu().numpy(), *map(np.float32, inputs.values())]
    nodes.append(
        helper.make_node(
            operator,
            [x, *names],
            [y],
            f"{name}/quantize",
            domain=QONNX_DOMAIN,
            rounding_mode="ROUND",
            **flags,
        )
    )
    return _Piece(nodes=nodes, tensors=list(map(_tensor, names, values)))


def _tensor(name: str, values: np.ndarray) -> TensorProto:
    return numpy_helper.from_array(np.asarray(values), name)


def _model(graph: onnx.GraphProto, form: str) -> onnx.ModelProto:
    """The graph with the operator sets and functions that it needs, checked."""
    float4 = any(tensor.data_type == TensorProto.FLOAT4E2M1 for tensor in graph.initializer)
    opsets = [helper.make_opsetid("", _FLOAT4_OPSET if float4 else _OPSET)]
    functions = []
    if form == "qonnx":
        opsets.append(helper.make_opsetid(QONNX_DOMAIN, 1))
        used = {node.op_type for node in graph.node if node.domain == QONNX_DOMAIN}
        functions = [function for function in map(parser.parse_function, _FUNCTIONS) if function.name in used]
    model = helper.make_model(
        graph, opset_imports=opsets, functions=functions, producer_name="sevenfold",
        ir_version=helper.find_min_ir_version_for(opsets, ignore_unknown=True),
    )  # fmt: skip
    onnx.checker.check_model(model, full_check=True)
    return model
