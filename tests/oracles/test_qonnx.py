"""Exported networks, run by QONNX' own operators: every rounded value is ours."""

import os
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from stages.lib.nets.build import build
from stages.lib.numerics.torch_quantisers import quantise
from stages.quantization import quantise_model
from stages.quantization.network import layers
from stages.quantization.onnx_check import quantiser_ends
from stages.quantization.onnx_export import WEIGHT, to_onnx

ROOT = Path(__file__).resolve().parents[2]


def judged(model, x, folder):
    """Every tensor of the graph, as QONNX computes it."""
    if not (ROOT / ".venv/oracles/bin/python").exists() and not os.environ.get("CI"):
        pytest.skip("the environment oracles is not there; run ./repro setup oracles")
    onnx.save(model, folder / "model.onnx")
    np.save(folder / "images.npy", x.numpy())
    files = (folder / name for name in ("model.onnx", "images.npy", "judged.npz"))
    command = [ROOT / "envs/py", "oracles", ROOT / "tests/oracles/qonnx_judge.py", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(folder / "judged.npz") as file:
        return {name.replace("\\", "/"): file[name] for name in file}


@pytest.mark.parametrize("formats", ["INT4xUINT5", "E2M1", "E3M2", "E4M3", "E2M0xE5M2"])
def test_qonnx_rounds_as_we_do(formats, tmp_path):
    torch.manual_seed(0)
    x = torch.randn(4, 1, 28, 28)
    prepared = quantise_model(build("lenet.LeNet5", {}).eval(), formats, x, edge_format=None)
    model = to_onnx(prepared, x[:2], form="qonnx")
    theirs, found = judged(model, x, tmp_path), layers(prepared)
    ends = quantiser_ends(model)
    assert len(ends) == 2 * len(found)
    for name, source, target in ends:
        layer = found[name.rpartition(".")[0]]
        if name.endswith(WEIGHT):
            ours = layer.layer.weight
        else:
            ours = quantise(torch.from_numpy(theirs[source]), layer.activation_format, layer.activation_scale)
        np.testing.assert_array_equal(theirs[target], ours.numpy(), err_msg=name)
    with torch.inference_mode():
        np.testing.assert_allclose(
            theirs["logits"], prepared(x), rtol=0, atol=1e-4 * np.abs(theirs["logits"]).max()
        )
