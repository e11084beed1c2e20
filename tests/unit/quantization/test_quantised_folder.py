"""Quantised model folders: what is read computes bit for bit what was written; damage is told in one sentence."""

import json
import struct

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.lib.core.artifacts import file_digest
from stages.lib.core.errors import InputError
from stages.lib.nets.model_folder import ModelInfo
from stages.lib.numerics.formats import MinifloatFormat
from stages.quantization import quantise_model
from stages.quantization.network import layers
from stages.quantization.ptq import technique_of
from stages.quantization.quantised_folder import read_quantised, write_quantised
from tests.unit.quantization.nets import NETS, name_of, random_net


def write(folder, net, arguments, x, formats="E2M1", technique="percentile", **options):
    prepared = quantise_model(random_net(net, arguments), formats, x, technique=technique, **options)
    info = ModelInfo(
        net=net, arguments=arguments, mean=(0.5,), std=(0.5,), classes=("a", "b"), dataset="digits"
    )
    write_quantised(folder, prepared, info, technique=technique_of(technique), recipe={"formats": formats})
    return prepared


@pytest.mark.parametrize(("net", "arguments", "shape"), NETS, ids=name_of)
@pytest.mark.parametrize(
    ("technique", "formats"),
    [("percentile", "INT4xE3M2"), ("smooth", "E5M2"), ("mx", "E2M1"), ("gptq_all", "INT3")],
)
def test_what_is_read_computes_the_same_bits(net, arguments, shape, technique, formats, tmp_path):
    torch.manual_seed(0)
    x = torch.randn(6, *shape)
    written = write(tmp_path / "m", net, arguments, x, formats, technique)
    read, info = read_quantised(tmp_path / "m")
    with torch.inference_mode():
        assert torch.equal(read(x), written(x))
    assert info.recipe == {"formats": formats}
    before, after = layers(written), layers(read)
    assert [(n, a.weight_format, a.activation_format) for n, a in after.items()] == [
        (n, b.weight_format, b.activation_format) for n, b in before.items()
    ]
    assert all(torch.equal(after[n].weight_scale.expand_as(b.layer.weight), b.weight_scale.expand_as(b.layer.weight))
               for n, b in before.items())  # fmt: skip


def test_codes_are_what_another_reader_would_decode(tmp_path):
    """E2M1 codes as OCP defines them: sign, two exponent bits, one mantissa bit."""
    x = torch.randn(4, 1, 28, 28)
    written = write(tmp_path, "lenet.LeNet5", {}, x, edge_format=None)
    table = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
    table = np.concatenate([table, -table])
    state = load_file(tmp_path / "weights.safetensors")
    bits = 0
    for name, layer in layers(written).items():
        codes, scale = state[f"{name}.codes"].numpy(), state[f"{name}.weight_scale"].numpy()
        np.testing.assert_array_equal(table[codes] * scale, layer.layer.weight.numpy())
        bits += 4 * codes.size + 32 * scale.size
    assert json.loads((tmp_path / "formats.json").read_text())["packed_bits"] == bits


def test_the_folder_is_smaller_than_the_float_one(tmp_path):
    write(tmp_path, "lenet.LeNet5", {}, torch.randn(4, 1, 28, 28))
    floats = 4 * sum(p.numel() for p in random_net("lenet.LeNet5", {}).parameters())
    assert (tmp_path / "weights.safetensors").stat().st_size < 0.3 * floats


def test_a_format_without_a_name_is_refused(tmp_path):
    prepared = quantise_model(random_net("lenet.LeNet5", {}), "E4M3", torch.randn(2, 1, 28, 28))
    layer = next(iter(layers(prepared).values()))
    layer.weight_format = MinifloatFormat(exponent_bits=4, mantissa_bits=3, largest=448)
    info = ModelInfo(net="lenet.LeNet5", arguments={}, mean=(0,), std=(1,), classes=(), dataset="digits")
    with pytest.raises(InputError, match="largest value of its own"):
        write_quantised(tmp_path, prepared, info, technique=technique_of("percentile"), recipe={})
    assert not list(tmp_path.iterdir())


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, "lenet.LeNet5", {}, torch.randn(4, 1, 28, 28))
    return tmp_path


def _rewrite(path, change):
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def _replace_weights(folder, change):
    state = load_file(folder / "weights.safetensors")
    change(state)
    save_file(state, folder / "weights.safetensors")
    digest = file_digest(folder / "weights.safetensors")
    for file in ("model.json", "formats.json"):
        _rewrite(folder / file, lambda record: record.update(weights_digest=digest))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "formats.json").unlink(), "it has no formats.json"),
        (lambda f: _rewrite(f / "formats.json", lambda r: r.update(layout=99)), "not of layout 1"),
        (lambda f: _rewrite(f / "formats.json", lambda r: r.update(weights_digest="0")), "different networks"),
        (lambda f: _rewrite(f / "formats.json", lambda r: r["layers"].popitem()), "its layers are"),
        (lambda f: _rewrite(f / "model.json", lambda r: r.pop("classes")), "incomplete"),
        (lambda f: (f / "weights.safetensors").write_bytes(struct.pack("<Q", 2**40)), "not the file that"),
        (lambda f: _replace_weights(f, lambda s: s.pop("body.3.codes")), "body.3.codes"),
        (lambda f: _replace_weights(f, lambda s: s["body.3.codes"].fill_(255)), "none of E2M1"),
    ],
)  # fmt: skip
def test_damage_is_named(folder, damage, message):
    damage(folder)
    with pytest.raises(InputError, match=message):
        read_quantised(folder)


def test_the_same_state_in_another_dtype_is_refused(folder):
    _replace_weights(folder, lambda s: s.update({"body.3.codes": s["body.3.codes"].int()}))
    with pytest.raises(InputError, match="none of E2M1"):
        read_quantised(folder)
