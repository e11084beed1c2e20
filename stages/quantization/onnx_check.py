"""Whether onnxruntime computes with an exported model what the quantised network computes.

Float32 sums depend on their order, and a sum that falls next to the middle between two values of a format may be
rounded to the other one; behind such a layer the logits of two right implementations differ by whole steps. So each
layer is judged by itself, with what onnxruntime feeds it: its quantiser must agree bit for bit, and what lies between
the quantisers to float32 rounding. The logits of the two networks running freely are reported beside.
"""

import copy
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper
from torch import Tensor, fx, nn

from stages.lib.numerics.torch_quantisers import quantise
from stages.quantization.network import QuantisedLayer, layers
from stages.quantization.onnx_export import INPUT, WEIGHT


@dataclass(frozen=True, kw_only=True)
class OnnxCheck:
    """Differences between onnxruntime and the quantised network.

    quantisers           quantised tensors (weights and inputs) that were compared, each on all images
    differing            of these, how many differ anywhere in the rounded values
    between_quantisers   largest difference of what lies between quantisers (logits included), as a share of the tensor's
                         largest magnitude, where both networks get the same quantised inputs
    as_written           logits with the networks running freely
    optimised            the same with onnxruntime's default optimisation, which may use integer kernels
    """

    quantisers: int
    differing: int
    between_quantisers: float
    as_written: "LogitDifference"
    optimised: "LogitDifference"


@dataclass(frozen=True, kw_only=True)
class LogitDifference:
    """largest, and shares of images (0..1): with logits equal to float32 rounding, and with the same class."""

    largest: float
    equal: float
    same_class: float


# float32 sums in another order, over the longest stretch between two quantisers (a whole attention); share of the
# largest magnitude
FLOAT_ROUNDING = 1e-4


def runs_in_onnxruntime(model: onnx.ModelProto) -> bool:
    """Whether the CPU provider has every operator of the model; FLOAT4E2M1 is what it lacks in 1.32."""
    return not any(tensor.data_type == TensorProto.FLOAT4E2M1 for tensor in model.graph.initializer)


def check_onnx(
    prepared: fx.GraphModule, model: onnx.ModelProto, images: Tensor, *, batch: int = 8
) -> OnnxCheck:
    """Compare on images (n, ...) float32. The network is not changed."""
    network = copy.deepcopy(prepared).cpu().to(memory_format=torch.contiguous_format)
    images = images.cpu().contiguous()
    ends = quantiser_ends(model)
    judge = _Judge(network, ends)
    exposed = session(_with_outputs(model, {tensor for _, x, y in ends for tensor in (x, y)}))
    names = [output.name for output in exposed.get_outputs()]
    with judge.attached(), torch.inference_mode():
        for part in images.split(batch):
            given = {"images": part.numpy()}
            judge.feed(given | dict(zip(names, exposed.run(None, given), strict=True)))
            judge.compare_logits(network(part).numpy())
    return OnnxCheck(
        quantisers=len(ends),
        differing=len(judge.differing),
        between_quantisers=judge.between,
        as_written=_logit_difference(network, session(model), images, batch=batch),
        optimised=_logit_difference(network, session(model, optimise=True), images, batch=batch),
    )


def _logit_difference(
    network: fx.GraphModule, theirs: onnxruntime.InferenceSession, images: Tensor, *, batch: int
) -> LogitDifference:
    with torch.inference_mode():
        ours = np.concatenate([network(part).numpy() for part in images.split(batch)])
    others = np.concatenate([theirs.run(None, {"images": part.numpy()})[0] for part in images.split(batch)])
    difference = np.abs(others - ours).max(1)
    return LogitDifference(
        largest=float(difference.max()),
        equal=float((difference <= FLOAT_ROUNDING * np.abs(ours).max()).mean()),
        same_class=float((others.argmax(1) == ours.argmax(1)).mean()),
    )


def session(model: onnx.ModelProto, *, optimise: bool = False) -> onnxruntime.InferenceSession:
    """A session on the CPU, in one thread. optimise: False computes what the model says.

    By default onnxruntime turns what lies between DequantizeLinear and QuantizeLinear into integer kernels, which
    round biases, and multiplies matrices of 4-bit weights with inputs that it rounds to 8 bits.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if not optimise:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def quantiser_ends(model: onnx.ModelProto) -> list[tuple[str, str, str]]:
    """(name, tensor in, tensor out) of each quantiser in the order of the graph."""
    ends = []
    for name, group in groupby(model.graph.node, key=lambda node: node.name.partition("/")[0]):
        nodes = list(group)
        if name.endswith((INPUT, WEIGHT)):
            ends.append((name, nodes[0].input[0], nodes[-1].output[0]))
    return ends


class _Judge:
    """Compares each layer with onnxruntime's tensors and feeds it onnxruntime's quantised input."""

    def __init__(self, network: fx.GraphModule, ends: list[tuple[str, str, str]]) -> None:
        self.layers, self.ends = layers(network), ends
        self.differing: set[str] = set()
        self.between = 0.0
        self.tensors: dict[str, np.ndarray] = {}
        self.inputs: dict[str, list[tuple[str, str]]] = {}

    def feed(self, tensors: dict[str, np.ndarray]) -> None:
        """Take onnxruntime's tensors of one batch."""
        self.tensors, self.inputs = tensors, defaultdict(list)
        for name, x, y in self.ends:
            if name.endswith(INPUT):
                # more than one where a layer serves twice
                self.inputs[name.removesuffix(INPUT)].append((x, y))
            else:
                weight = self.layers[name.removesuffix(WEIGHT)].layer.weight
                self._must_equal(name, tensors[y], weight)

    @contextmanager
    def attached(self) -> Iterator[None]:
        handles = []
        for name, layer in self.layers.items():
            handles.append(layer.register_forward_pre_hook(self._compare_input(name, layer)))
            handles.append(layer.layer.register_forward_pre_hook(self._replace_input(name)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def compare_logits(self, logits: np.ndarray) -> None:
        self._near(self.tensors["logits"], logits)

    def _compare_input(self, name: str, layer: QuantisedLayer) -> Callable[[nn.Module, tuple[Tensor]], None]:
        def compare(_: nn.Module, inputs: tuple[Tensor]) -> None:
            if layer.activation_format is None:
                return
            x, y = self.inputs[name][0]
            theirs = torch.from_numpy(self.tensors[x])
            self._near(self.tensors[x], layer.smoothed(inputs[0]).numpy())
            self._must_equal(
                name + INPUT,
                self.tensors[y],
                quantise(theirs, layer.activation_format, layer.activation_scale),
            )

        return compare

    def _replace_input(self, name: str) -> Callable[[nn.Module, tuple[Tensor]], tuple[Tensor]]:
        def replace(_: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
            if not self.inputs[name]:
                return inputs
            _, y = self.inputs[name].pop(0)
            return (torch.from_numpy(self.tensors[y]),)

        return replace

    def _must_equal(self, name: str, theirs: np.ndarray, ours: Tensor) -> None:
        if not np.array_equal(theirs, ours.numpy()):
            self.differing.add(name)

    def _near(self, theirs: np.ndarray, ours: np.ndarray) -> None:
        largest = max(float(np.abs(ours).max()), np.finfo(np.float32).tiny)
        self.between = max(self.between, float(np.abs(theirs - ours).max()) / largest)


def _with_outputs(model: onnx.ModelProto, tensors: set[str]) -> onnx.ModelProto:
    model = copy.deepcopy(model)
    given = {i.name for i in (*model.graph.input, *model.graph.initializer)}
    made = {tensor for node in model.graph.node for tensor in node.output}
    model.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        for name in sorted(tensors & made - given)
    )
    return model
