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
    """What Brevitas makes of a heavy-tailed weight with a pruned-looking small channel."""
    if not (ROOT / ".venv/oracles/bin/python").exists() and not os.environ.get("CI"):
        pytest.skip("the environment oracles is not there; run ./repro setup oracles")
    folder = tmp_path_factory.mktemp("brevitas")
    w = np.random.default_rng(2).standard_t(4, size=(32, 16, 3, 3)).astype(np.float32)
    w[3] *= 1e-4
    np.savez(folder / "weights.npz", w=w)
    command = [ROOT / "envs/py", "oracles", ROOT / "tests/oracles/brevitas_judge.py"]
    done = subprocess.run(
        [*command, folder / "weights.npz", folder / "judged.npz"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(folder / "judged.npz") as file:
        return w, dict(file)


def test_weights_equal_brevitas_per_tensor_and_per_channel(judged):
    w, values = judged
    names = [key for key in values if not key.endswith("scale")]
    assert (
        len(names) == 2 * (21 + 6) + 2
    )  # 21 minifloats with a mantissa, 6 integers, both axes; 2 OCP formats
    differing = {}
    for name in names:
        text, axis = name.split()
        format = OCP.get(text) or parse_format(text)
        axis = 0 if axis == "channel" else None
        scale = quantisers.abs_max_scale(w, format, axis=axis)
        ours = quantisers.quantise(w, format, scale)
        fast = torch_quantisers.quantise(
            torch.from_numpy(w),
            format,
            torch_quantisers.abs_max_scale(torch.from_numpy(w), format, axis=axis),
        ).numpy()
        # == and not bits: Brevitas keeps the sign of what it rounds to zero
        if not (np.array_equal(ours, values[name]) and np.array_equal(fast, values[name])):
            differing[name] = int((ours != values[name]).sum())
    assert differing == {}
