"""Quantises with Brevitas: runs in the environment `oracles`, called by test_quantiser_oracles.py.

envs/py oracles tests/oracles/brevitas_judge.py tensors.npz judged.npz

tensors.npz  w (out, in, kh, kw) float32; x (n, in, height, width) float32, signed; b (out,) float32
judged.npz   "weight|activation FORMAT AXIS" -> dequantised tensor, and with " scale" behind it Brevitas' scale;
             unsigned formats see |x|
             "layer FORMAT AXIS" -> a convolution of quantised x (per tensor) with quantised w (by axis)
"""

import sys
import warnings

import numpy as np
import torch

warnings.simplefilter("ignore")

import brevitas.nn as qnn  # noqa: E402
from brevitas.inject.enum import StatsOp  # noqa: E402
from brevitas.quant.float import (  # noqa: E402
    Fp8e4m3ActPerTensorFloat,
    Fp8e4m3WeightPerChannelFloat,
    Fp8e4m3WeightPerTensorFloat,
)
from brevitas.quant.float_quant_ocp import Fp8e4m3OCPWeightPerTensorFloat, Fp8e5m2OCPWeightPerTensorFloat  # noqa: E402
from brevitas.quant.scaled_int import (  # noqa: E402
    Int8ActPerTensorFloat,
    Int8WeightPerChannelFloat,
    Int8WeightPerTensorFloat,
    Uint8ActPerTensorFloat,
)

FLOAT = {"tensor": Fp8e4m3WeightPerTensorFloat, "channel": Fp8e4m3WeightPerChannelFloat}
INTEGER = {"tensor": Int8WeightPerTensorFloat, "channel": Int8WeightPerChannelFloat}
OCP = {"E4M3OCP": Fp8e4m3OCPWeightPerTensorFloat, "E5M2OCP": Fp8e5m2OCPWeightPerTensorFloat}


def main() -> None:
    source, target = sys.argv[1:]
    with np.load(source) as file:
        w, x, b = (torch.from_numpy(file[name]) for name in "wxb")
    judged = {}
    for axis in ("tensor", "channel"):
        for name, weight, act in pairs(axis, channels=x.shape[1]):
            judged |= judge_weight(f"weight {name} {axis}", weight, w)
            judged |= judge_activation(f"activation {name} {axis}", act, x)
            per_tensor = act if axis == "tensor" else next(a for n, _, a in pairs("tensor") if n == name)
            judged[f"layer {name} {axis}"] = layer(weight, per_tensor, w, b, x)
        for bits in range(3, 9):
            act = quantiser(Uint8ActPerTensorFloat, _act_axis(axis, x.shape[1]), bit_width=bits)
            judged |= judge_activation(f"activation UINT{bits} {axis}", act, x.abs())
    for name, kind in OCP.items():
        judged |= judge_weight(f"weight {name} tensor", kind, w)
    np.savez(target, **judged)


def pairs(axis: str, *, channels: int = 0) -> list[tuple[str, type, type]]:
    """(format, quantiser of weights, quantiser of activations) of every signed format that Brevitas has."""
    found = []
    over = _act_axis(axis, channels)
    for bits in range(3, 9):
        for x in range(1, bits - 1):
            y = bits - 1 - x
            widths = {
                "bit_width": bits, "exponent_bit_width": x, "mantissa_bit_width": y, "saturating": True,
            }  # fmt: skip
            act = quantiser(Fp8e4m3ActPerTensorFloat, over, **widths)
            found.append((f"E{x}M{y}", quantiser(FLOAT[axis], {}, **widths), act))
        act = quantiser(Int8ActPerTensorFloat, over, bit_width=bits, narrow_range=True)
        found.append((f"INT{bits}", quantiser(INTEGER[axis], {}, bit_width=bits), act))
    return found


def quantiser(base: type, options: dict[str, object], **settings: object) -> type:
    return type("Quantiser", (base,), options | settings)


def _act_axis(axis: str, channels: int) -> dict[str, object]:
    """Settings of an activation's scale: abs-max over everything, or by channel of (n, c, h, w)."""
    # without the floor of 1e-10 under scales, which a small channel of E6M1 falls below
    settings: dict[str, object] = {"scaling_stats_op": StatsOp.MAX, "scaling_min_val": None}
    if axis == "channel":
        settings |= {
            "scaling_per_output_channel": True,
            "per_channel_broadcastable_shape": (1, channels, 1, 1),
            "scaling_stats_permute_dims": (1, 0, 2, 3),
        }
    return settings


def judge_weight(name: str, kind: type, w: torch.Tensor) -> dict[str, np.ndarray]:
    conv = qnn.QuantConv2d(w.shape[1], w.shape[0], w.shape[2:], weight_quant=kind)
    conv.weight.data.copy_(w)
    with torch.no_grad():
        result = conv.quant_weight()
    return {name: result.value.numpy(), f"{name} scale": np.asarray(result.scale.detach().numpy())}


def judge_activation(name: str, kind: type, x: torch.Tensor) -> dict[str, np.ndarray]:
    """One call in training mode collects the statistics, the next one quantises with them."""
    identity = qnn.QuantIdentity(act_quant=kind, return_quant_tensor=True)
    with torch.no_grad():
        identity.train()(x)
        result = identity.eval()(x)
    return {name: result.value.numpy(), f"{name} scale": np.asarray(result.scale.detach().numpy())}


def layer(weight: type, act: type, w: torch.Tensor, b: torch.Tensor, x: torch.Tensor) -> np.ndarray:
    conv = qnn.QuantConv2d(
        w.shape[1], w.shape[0], w.shape[2:], bias=True, weight_quant=weight, input_quant=act, bias_quant=None
    )
    conv.weight.data.copy_(w)
    conv.bias.data.copy_(b)
    with torch.no_grad():
        conv.train()(x)
        return conv.eval()(x).numpy()


if __name__ == "__main__":
    main()
