"""The quantisers against ml_dtypes, gfloat and Brevitas: no value differs.

Both the numpy reference and the torch version are compared, by bits where +0 is the only zero.
"""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.lib.numerics import quantisers, torch_quantisers
from stages.lib.numerics.formats import MinifloatFormat, parse_format
from stages.quantization import quantise_model
from stages.quantization.config import Technique
from stages.quantization.verification import check_gfloat, check_ml_dtypes, compare_uniform_networks

ROOT = Path(__file__).resolve().parents[2]
OCP = {
    "E4M3OCP": MinifloatFormat(exponent_bits=4, mantissa_bits=3, largest=448),
    "E5M2OCP": MinifloatFormat(exponent_bits=5, mantissa_bits=2, largest=57344),
}


def test_no_mismatch_with_ml_dtypes_and_gfloat_on_ten_million_values():
    ml_dtypes = check_ml_dtypes(800_000, np.random.default_rng(0))
    gfloat = check_gfloat(60_000, np.random.default_rng(1))
    assert (ml_dtypes.mismatches, gfloat.mismatches) == (0, 0)
    assert ml_dtypes.compared + gfloat.compared >= 10_000_000


def test_e1my_networks_give_the_logits_of_integer_networks():
    count, control_equal = compare_uniform_networks(seed=0)
    assert count.mismatches == 0
    assert count.compared == 6 * 6 * 64 * 10
    assert control_equal == 0  # E2My must differ


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """Tensors with heavy tails and a pruned-looking small channel, and what Brevitas makes of them."""
    if not (ROOT / ".venv/oracles/bin/python").exists() and not os.environ.get("CI"):
        pytest.skip("the environment oracles is not there; run ./repro setup oracles")
    folder, rng = tmp_path_factory.mktemp("brevitas"), np.random.default_rng(2)
    tensors = {
        "w": rng.standard_t(4, size=(32, 16, 3, 3)),
        "x": rng.standard_t(4, size=(8, 16, 9, 9)),
        "b": rng.standard_normal(32),
    }
    tensors = {name: tensor.astype(np.float32) for name, tensor in tensors.items()}
    tensors["w"][3] *= 1e-4
    tensors["x"][:, 5] *= 1e-4
    np.savez(folder / "tensors.npz", **tensors)
    command = [ROOT / "envs/py", "oracles", ROOT / "tests/oracles/brevitas_judge.py"]
    done = subprocess.run(
        [*command, folder / "tensors.npz", folder / "judged.npz"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(folder / "judged.npz") as file:
        return tensors, dict(file)


@pytest.mark.parametrize(
    # 21 minifloats with a mantissa and 6 integers on both axes; 2 OCP formats; unsigned integers of activations
    ("kind", "tensor", "axis", "count"),
    [("weight", "w", 0, 2 * (21 + 6) + 2), ("activation", "x", 1, 2 * (21 + 6 + 6))],
)
def test_values_equal_brevitas_per_tensor_and_per_channel(judged, kind, tensor, axis, count):
    tensors, values = judged
    names = [key for key in values if key.startswith(f"{kind} ") and not key.endswith("scale")]
    assert len(names) == count
    differing = {}
    for name in names:
        _, text, over = name.split()
        format, along = OCP.get(text) or parse_format(text), axis if over == "channel" else None
        x = np.abs(tensors[tensor]) if text.startswith("UINT") else tensors[tensor]
        ours = quantisers.quantise(x, format, quantisers.abs_max_scale(x, format, axis=along))
        x = torch.from_numpy(x)
        scale = torch_quantisers.abs_max_scale(x, format, axis=along)
        fast = torch_quantisers.quantise(x, format, scale).numpy()
        np.testing.assert_array_equal(
            np.squeeze(values[f"{name} scale"]), np.squeeze(scale.numpy()), err_msg=name
        )
        # == and not bits: Brevitas keeps the sign of what it rounds to zero
        if not (np.array_equal(ours, values[name]) and np.array_equal(fast, values[name])):
            differing[name] = int((ours != values[name]).sum())
    assert differing == {}


def test_a_layer_of_quantise_model_equals_a_layer_of_brevitas(judged):
    tensors, values = judged
    conv = torch.nn.Conv2d(16, 32, 3)
    conv.weight.data.copy_(torch.from_numpy(tensors["w"]))
    conv.bias.data.copy_(torch.from_numpy(tensors["b"]))
    x = torch.from_numpy(tensors["x"])
    granularity = {"tensor": "per_tensor", "channel": "per_channel"}
    names = [key for key in values if key.startswith("layer ")]
    assert len(names) == 2 * (21 + 6)
    for name in names:
        _, text, axis = name.split()
        technique = Technique(activation_scale="abs_max", granularity=granularity[axis])
        ours = quantise_model(torch.nn.Sequential(conv), text, x, technique=technique, edge_format=None)
        with torch.inference_mode():
            np.testing.assert_array_equal(ours(x).numpy(), values[name], err_msg=name)
