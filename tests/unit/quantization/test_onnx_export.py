"""Exported networks, run by onnxruntime: every quantiser gives the same bits as ours, all between them the same sums."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn

from stages.lib.core.errors import InputError
from stages.quantization import quantise_model
from stages.quantization.network import layers
from stages.quantization.onnx_check import FLOAT_ROUNDING, check_onnx, runs_in_onnxruntime, session
from stages.quantization.onnx_export import default_form, to_onnx
from tests.unit.quantization.nets import NETS, name_of, random_net

LENET = ("lenet.LeNet5", {"batch_norm": True}, (1, 28, 28))


def quantised(net, arguments, shape, formats, **options):
    torch.manual_seed(0)
    x = torch.randn(12, *shape)
    return quantise_model(random_net(net, arguments), formats, x, edge_format=None, **options), x


def check(prepared, x, form=None):
    found = check_onnx(prepared, to_onnx(prepared, x[:2], form=form), x)
    assert found.differing == 0
    assert found.between_quantisers < FLOAT_ROUNDING
    assert found.quantisers == 2 * len(layers(prepared))
    return found


@pytest.mark.parametrize(("net", "arguments", "shape"), NETS, ids=name_of)
@pytest.mark.parametrize(("formats", "form"), [("INT8", "qdq"), ("E2M1", "qonnx")])
def test_every_network_runs_in_onnxruntime(net, arguments, shape, formats, form):
    prepared, x = quantised(net, arguments, shape, formats)
    assert default_form(prepared) == form
    found = check(prepared, x)
    # one flipped rounding behind a sum at the middle between two values moves a few logits
    assert found.as_written.same_class >= 0.75


@pytest.mark.parametrize(
    "formats", ["INT3", "INT4", "INT7", "E1M1", "E1M4", "FULLINT8", "UINT6", "INT4xUINT8"]
)
def test_integers_of_every_width_in_the_standard_form(formats):
    weight = formats.replace("UINT6", "INT6xUINT6")
    prepared, x = quantised(*LENET, weight)
    assert default_form(prepared) == "qdq"
    check(prepared, x)


@pytest.mark.parametrize(
    "formats",
    ["E2M0", "E3M0", "E2M1", "E3M2", "E4M3", "E5M2", "E2M5", "E3M4xUE4M4", "INT4xE3M2", "E1M2", "INT5xUINT5"],
)
def test_every_kind_of_format_in_qonnx(formats):
    prepared, x = quantised(*LENET, formats)
    check(prepared, x, form="qonnx")


@pytest.mark.parametrize(
    "technique", ["per_tensor", "per_group", "equalised", "smooth", "bias_corrected", "gptq_all"]
)
def test_every_technique_with_static_scales(technique):
    prepared, x = quantised(
        "mobilenet.MobileNetV2", {"width": 0.25}, (3, 32, 32), "E2M3", technique=technique
    )
    check(prepared, x)


def test_the_check_sees_a_wrong_scale_and_a_wrong_bias():
    prepared, x = quantised(*LENET, "INT8")
    for ending, field in ((".scale", "differing"), (".bias", "between_quantisers")):
        model = to_onnx(prepared, x[:2])
        tensor = next(t for t in model.graph.initializer if t.name.endswith(ending))
        tensor.CopyFrom(
            numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.01), tensor.name)
        )
        assert getattr(check_onnx(prepared, model, x), field) > FLOAT_ROUNDING


def test_weights_take_the_narrowest_type():
    for formats, kind in (("INT4", TensorProto.INT4), ("INT5", TensorProto.INT8), ("E1M2", TensorProto.INT4)):
        prepared, x = quantised(*LENET, formats)
        codes = [t for t in to_onnx(prepared, x[:2]).graph.initializer if t.name.endswith(".weight.codes")]
        assert len(codes) == len(layers(prepared))
        assert {t.data_type for t in codes} == {kind}


def test_e2m1_in_the_standard_form_is_valid_onnx():
    """The reference evaluator of the onnx package runs what onnxruntime's CPU provider cannot."""
    prepared, x = quantised(*LENET, "E2M1")
    model = to_onnx(prepared, x[:2], form="qdq")
    assert not runs_in_onnxruntime(model)
    weights = [t for t in model.graph.initializer if t.name.endswith(".weight.codes")]
    assert {t.data_type for t in weights} == {TensorProto.FLOAT4E2M1}
    for (name, layer), tensor in zip(layers(prepared).items(), weights, strict=True):
        assert tensor.name == f"{name}.weight.codes"
        values = numpy_helper.to_array(tensor).astype(np.float32)
        scale = next(t for t in model.graph.initializer if t.name == f"{name}.weight.scale")
        scale = numpy_helper.to_array(scale).reshape(-1, *[1] * (values.ndim - 1))
        np.testing.assert_array_equal(values * scale, layer.layer.weight.numpy())
    logits = ReferenceEvaluator(model).run(None, {"images": x[:2].numpy()})[0]
    with torch.inference_mode():
        np.testing.assert_allclose(logits, prepared(x[:2]), atol=FLOAT_ROUNDING * np.abs(logits).max())


def test_a_network_of_any_batch_size_and_a_layer_that_serves_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.shared, self.last = nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x):
            return self.last(torch.relu(self.shared(torch.relu(self.shared(x)))))

    torch.manual_seed(1)
    x = torch.randn(20, 6)
    prepared = quantise_model(Twice().eval(), "INT6", x, edge_format=None)
    model = to_onnx(prepared, x[:2])
    found = check_onnx(prepared, model, x)
    assert (found.differing, found.as_written.equal) == (0, 1.0)
    assert [len(session(model).run(None, {"images": x[:n].numpy()})[0]) for n in (1, 7)] == [1, 7]


@pytest.mark.parametrize(
    ("formats", "technique", "form", "message"),
    [
        ("E2M1", "mx", None, "found anew for each image"),
        ("E3M2", "percentile", "qdq", "ONNX has no type for E3M2"),
        ("INT4", "per_group", "qdq", "a scale for each group"),
        ("INT8", "percentile", "onnx", "there is no form 'onnx'"),
    ],
)
def test_what_a_form_cannot_hold_is_said(formats, technique, form, message):
    prepared, x = quantised(
        "resnet.CifarResNet", {"depth": 8, "width": 64}, (3, 32, 32), formats, technique=technique
    )
    with pytest.raises(InputError, match=message):
        to_onnx(prepared, x[:2], form=form)


def test_the_model_passes_the_checker_and_keeps_the_network(tmp_path):
    prepared, x = quantised(*LENET, "E3M2")
    with torch.inference_mode():
        before = prepared(x)
        model = to_onnx(prepared, x[:2])
        assert torch.equal(prepared(x), before)
    onnx.save(model, tmp_path / "m.onnx")
    onnx.checker.check_model(str(tmp_path / "m.onnx"), full_check=True)
