"""Quantises weights with Brevitas: runs in the environment `oracles`, called by test_quantiser_oracles.py.

envs/py oracles tests/oracles/brevitas_judge.py weights.npz judged.npz

weights.npz  w (out, in, kh, kw) float32
judged.npz   "FORMAT AXIS" -> dequantised weights, "FORMAT AXIS scale" -> Brevitas' scale
"""

import sys
import warnings

import numpy as np
import torch

warnings.simplefilter("ignore")

import brevitas.nn as qnn  # noqa: E402
from brevitas.quant.float import Fp8e4m3WeightPerChannelFloat, Fp8e4m3WeightPerTensorFloat  # noqa: E402
from brevitas.quant.float_quant_ocp import Fp8e4m3OCPWeightPerTensorFloat, Fp8e5m2OCPWeightPerTensorFloat  # noqa: E402
from brevitas.quant.scaled_int import Int8WeightPerChannelFloat, Int8WeightPerTensorFloat  # noqa: E402

FLOAT = {"tensor": Fp8e4m3WeightPerTensorFloat, "channel": Fp8e4m3WeightPerChannelFloat}
INTEGER = {"tensor": Int8WeightPerTensorFloat, "channel": Int8WeightPerChannelFloat}
OCP = {"E4M3OCP": Fp8e4m3OCPWeightPerTensorFloat, "E5M2OCP": Fp8e5m2OCPWeightPerTensorFloat}


def main() -> None:
    source, target = sys.argv[1:]
    w = torch.from_numpy(np.load(source)["w"])
    judged = {}
    for axis in ("tensor", "channel"):
        for bits in range(3, 9):
            for x in range(1, bits - 1):
                y = bits - 1 - x
                quantiser = type("Quantiser", (FLOAT[axis],), _widths(x, y))
                judged |= judge(f"E{x}M{y} {axis}", quantiser, w)
            judged |= judge(f"INT{bits} {axis}", INTEGER[axis], w, weight_bit_width=bits)
    for name, quantiser in OCP.items():
        judged |= judge(f"{name} tensor", quantiser, w)
    np.savez(target, **judged)


def _widths(x: int, y: int) -> dict[str, object]:
    return {"bit_width": 1 + x + y, "exponent_bit_width": x, "mantissa_bit_width": y, "saturating": True}


def judge(name: str, quantiser: type, w: torch.Tensor, **options: int) -> dict[str, np.ndarray]:
    layer = qnn.QuantConv2d(w.shape[1], w.shape[0], w.shape[2:], weight_quant=quantiser, **options)
    layer.weight.data.copy_(w)
    with torch.no_grad():
        result = layer.quant_weight()
    return {name: result.value.numpy(), f"{name} scale": np.asarray(result.scale.detach().numpy())}


if __name__ == "__main__":
    main()
