"""Runs the GPU kernel under Triton's interpreter: in the environment `oracles`, called by test_gpu_kernel.py.

TRITON_INTERPRET=1 envs/py oracles -m tests.oracles.interpreted_triton cases.npz products.npz

cases.npz  `NAME weight`, `NAME x`, `NAME pattern` (block, n, m); products.npz  `NAME float32`, `NAME float16`
"""

import sys

import numpy as np
import torch

from stages.lib.sparse.gpu import GpuPlan, gpu_matmul
from stages.lib.sparse.packed import pack


def main() -> None:
    source, target = sys.argv[1:]
    cases = np.load(source)
    products = {}
    for name in sorted({key.split()[0] for key in cases}):
        block, n, m = (int(v) for v in cases[f"{name} pattern"])
        packed = pack(cases[f"{name} weight"], block=block, n=n, m=m)
        for dtype in (torch.float32, torch.float16):
            x = torch.from_numpy(cases[f"{name} x"]).to(dtype)
            product = gpu_matmul(GpuPlan(packed, device="cpu", dtype=dtype), x)
            products[f"{name} {str(dtype).removeprefix('torch.')}"] = product.float().numpy()
    np.savez(target, **products)


if __name__ == "__main__":
    main()
