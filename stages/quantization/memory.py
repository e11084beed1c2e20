"""Bits that a quantised network's weights take: codes and scales."""

from math import ceil

from torch import fx

from stages.quantization.config import Technique
from stages.quantization.network import QuantisedLayer, layers
from stages.quantization.ptq import Plan

SCALE_BITS = 32  # float32
SHARED_EXPONENT_BITS = 8  # E8M0, as MX stores a group's power of two


def weight_bits(prepared: fx.GraphModule, plan: Plan, technique: Technique) -> int:
    """Bits of the weights of the plan's layers in its formats, with their scales, without biases."""
    found = layers(prepared)
    return sum(
        found[name].float_weight.numel() * formats.weight.bits + scale_bits(found[name], technique)
        for name, formats in plan.items()
    )


def scale_bits(layer: QuantisedLayer, technique: Technique) -> int:
    """Bits of a layer's weight scales."""
    weight = layer.float_weight
    if technique.granularity == "per_tensor":
        return SCALE_BITS
    if technique.granularity == "per_channel":
        return len(weight) * SCALE_BITS
    inputs = weight.shape[1]
    # where a filter reads one channel its kernel positions form the group (torch_scales.split_groups)
    channels = inputs if inputs > 1 else weight[0].numel()
    lines = weight.numel() // channels
    bits = SHARED_EXPONENT_BITS if technique.granularity == "mx" else SCALE_BITS
    return lines * ceil(channels / min(technique.group, channels)) * bits
