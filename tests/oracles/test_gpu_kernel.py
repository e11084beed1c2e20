"""The Triton kernel's products, by Triton's own interpreter on the CPU, against NumPy in float64."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_products_on_a_gpu_equal_those_of_dense_matrices(tmp_path):
    """Blocks of every size and three patterns, shapes that end inside a block, columns beyond one program's share."""
    if not (ROOT / ".venv/oracles/bin/python").exists() and not os.environ.get("CI"):
        pytest.skip("the environment oracles is not there; run ./repro setup oracles")
    rng = np.random.default_rng(0)
    cases, wanted = {}, {}
    for block, n, m, rows, columns, width in (
        (16, 2, 4, 100, 200, 77),
        (32, 1, 4, 64, 96, 64),
        (64, 3, 4, 70, 190, 1),
    ):
        shape = (-(-rows // block) * block, -(-columns // block) * block)
        groups = rng.random((shape[0], shape[1] // m, m)).argsort(-1).argsort(-1) < n
        blocks = np.kron(
            rng.random((shape[0] // block, shape[1] // block)) < 0.6, np.ones((block, block), bool)
        )
        weight = (rng.standard_normal(shape) * groups.reshape(shape) * blocks).astype(np.float32)
        weight, x = weight[:rows, :columns], rng.standard_normal((columns, width)).astype(np.float32)
        cases |= {f"{block} weight": weight, f"{block} x": x, f"{block} pattern": np.array([block, n, m])}
        wanted[str(block)] = weight.astype(np.float64) @ x
    np.savez(tmp_path / "cases.npz", **cases)
    command = [ROOT / "envs/py", "oracles", "-m", "tests.oracles.interpreted_triton"]
    subprocess.run(
        [*command, tmp_path / "cases.npz", tmp_path / "products.npz"],
        check=True, cwd=ROOT, env={**os.environ, "TRITON_INTERPRET": "1"},
    )  # fmt: skip
    found = np.load(tmp_path / "products.npz")
    for name, product in wanted.items():
        np.testing.assert_allclose(found[f"{name} float32"], product, atol=1e-4)
        np.testing.assert_allclose(found[f"{name} float16"], product, atol=0.05)
