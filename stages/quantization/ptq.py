"""Post-training quantisation: a technique, formats and calibration images turn a network into a quantised one."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, fx, nn

from stages.lib.core.errors import InputError
from stages.lib.numerics.formats import Format, IntegerFormat
from stages.lib.numerics.gptq import gptq
from stages.lib.numerics.learned_rounding import learn_rounding
from stages.lib.numerics.torch_quantisers import quantise, round_to_format, threshold_scale
from stages.lib.numerics.torch_scales import exponent_bias_scale, mse_scale, weight_scale
from stages.quantization.calibration import (
    Statistics,
    Targets,
    calibrate,
    output_hooks,
    reconstruction_targets,
)
from stages.quantization.config import TECHNIQUES, Technique, parse_pair
from stages.quantization.equalisation import equalise_, smooth_
from stages.quantization.network import QuantisedLayer, along_channels, layers, prepare


@dataclass(frozen=True, kw_only=True)
class LayerFormats:
    """Formats of one layer's weight and input."""

    weight: Format
    activation: Format


Plan = Mapping[str, LayerFormats]


def quantise_model(
    model: nn.Module,
    formats: str,
    calibration_images: Tensor,
    *,
    technique: str | Technique = "percentile",
    edge_format: str | None = "E3M4",
    layer_formats: Mapping[str, str] | None = None,
    percentile: float = 99.999,
    signs: str = "signed",
    reconstruction_images: int = 128,
    rounding_steps: int = 1000,
    batch: int = 25,
) -> fx.GraphModule:
    """A copy of the network that computes with quantised weights and activations (minifloats notes, 2.1 to 2.3).

    model                  a network of images or features that torch.fx can trace; it is not changed
    formats                of weights and activations: "E2M1", or "INT4xE3M2" for weights x activations
    calibration_images     (n, ...) float32, normalised as for the network, never test images
    edge_format            of the first and last layer; None: as the others
    technique              a name in config.TECHNIQUES ("gptq", "mx", ...) or settings of your own
    layer_formats          formats of single layers by name, in place of those
    percentile, signs, reconstruction_images, rounding_steps  see SweepConfig
    """
    technique = technique_of(technique)
    found = calibrated(
        prepare(model),
        calibration_images,
        technique,
        percentile=percentile,
        reconstruction_images=reconstruction_images,
        batch=batch,
    )
    plan = uniform_plan(
        found.network, *parse_pair(formats), edge_format=parse_pair(edge_format) if edge_format else None
    )
    plan |= named_plan(found.network, layer_formats or {})
    quantise_(found, plan, technique, signs=signs, rounding_steps=rounding_steps)
    return found.network


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """A float network, changed as a technique wants it, and what calibration saw in it.

    few  the images behind the targets (n, ...)
    """

    network: fx.GraphModule
    statistics: Statistics
    targets: Targets
    few: Tensor


def calibrated(
    network: fx.GraphModule,
    images: Tensor,
    technique: Technique,
    *,
    percentile: float,
    reconstruction_images: int,
    batch: int,
) -> Calibrated:
    """Calibrate, equalise and smooth a prepared network, which is changed, for one technique."""
    statistics = calibrate(network, images, percentile=percentile, batch=batch)
    if transform_(network, technique, statistics):
        statistics = calibrate(network, images, percentile=percentile, batch=batch)
    few = images[:reconstruction_images]
    wanted = technique.needs_gram or technique.bias_correction
    targets = reconstruction_targets(network, few, batch=batch, gram=technique.needs_gram) if wanted else {}
    return Calibrated(network=network, statistics=statistics, targets=targets, few=few)


def quantise_(
    calibrated: Calibrated, plan: Plan, technique: Technique, *, signs: str, rounding_steps: int
) -> None:
    """Round weights and activations of the network to the plan's formats, and correct biases."""
    network = calibrated.network
    quantise_weights_(network, plan, technique, calibrated.targets, rounding_steps=rounding_steps)
    quantise_activations_(network, plan, technique, calibrated.statistics, signs=signs)
    if technique.bias_correction:
        correct_biases_(network, calibrated.few, calibrated.targets)


def technique_of(technique: str | Technique) -> Technique:
    """The technique of a name. Raises InputError where there is none."""
    if isinstance(technique, Technique):
        return technique
    if technique not in TECHNIQUES:
        raise InputError(f"there is no technique {technique!r}; choose from {', '.join(TECHNIQUES)}")
    return TECHNIQUES[technique]


def uniform_plan(
    prepared: fx.GraphModule, weight: Format, activation: Format, *, edge_format: tuple[Format, Format] | None
) -> dict[str, LayerFormats]:
    """One pair of formats for all layers but the first and the last, which take edge_format unless it is None.

    First and last by position in the graph: Brevitas looks for 3 inputs and 1000 outputs, which small sets lack.
    """
    names = list(layers(prepared))
    edges = {names[0], names[-1]} if edge_format is not None else set()
    inner = LayerFormats(weight=weight, activation=activation)
    edge = LayerFormats(weight=edge_format[0], activation=edge_format[1]) if edge_format else inner
    return {name: edge if name in edges else inner for name in names}


def plan_of(pairs: Mapping[str, str]) -> dict[str, LayerFormats]:
    """Formats from the names of pairs by layer."""
    parsed = {name: parse_pair(formats) for name, formats in pairs.items()}
    return {name: LayerFormats(weight=w, activation=a) for name, (w, a) in parsed.items()}


def named_plan(prepared: fx.GraphModule, layer_formats: Mapping[str, str]) -> dict[str, LayerFormats]:
    """plan_of for layers of a network. Raises InputError where there is no such layer."""
    known = layers(prepared)
    if unknown := [name for name in layer_formats if name not in known]:
        raise InputError(f"there is no layer {unknown[0]!r} to quantise; there are {', '.join(known)}")
    return plan_of(layer_formats)


def transform_(prepared: fx.GraphModule, technique: Technique, statistics: Statistics) -> bool:
    """Equalise and smooth the float network, which keeps its function; True: its layers' inputs are others now."""
    if technique.equalise:
        equalise_(prepared)
    if technique.smooth:
        smooth_(prepared, statistics, alpha=technique.smooth)
    return technique.equalise or technique.smooth > 0


@torch.no_grad()
def quantise_weights_(
    prepared: fx.GraphModule,
    plan: Plan,
    technique: Technique,
    targets: Targets,
    *,
    rounding_steps: int,
) -> None:
    """Round all weights to their formats, from the float weights and biases."""
    for name, layer in layers(prepared).items():
        layer.restore_()
        format = plan[name].weight
        method = "power_of_two" if technique.granularity == "mx" else technique.weight_scale
        granularity = "per_group" if technique.granularity == "mx" else technique.granularity
        scale = weight_scale(
            layer.float_weight, format, method=method, granularity=granularity, group=technique.group
        )
        layer.weight_format, layer.weight_scale = format, scale
        if technique.rounding == "nearest":
            layer.layer.weight.copy_(quantise(layer.float_weight, format, scale))
        else:
            target = targets[name]
            assert target.gram is not None  # asked for by technique.needs_gram
            layer.layer.weight.copy_(_rounded(layer, format, technique.rounding, target.gram, rounding_steps))


def _rounded(layer: QuantisedLayer, format: Format, rounding: str, gram: Tensor, steps: int) -> Tensor:
    """The weight rounded for a small output error over the calibration set, group by group of a convolution."""
    weight = layer.float_weight
    groups = len(gram)
    matrices = weight.reshape(groups, len(weight) // groups, -1)
    scales = layer.weight_scale.expand_as(weight).reshape(matrices.shape)
    rounded = torch.empty_like(matrices)
    for matrix, scale, of_group, out in zip(matrices, scales, gram, rounded, strict=True):
        if rounding == "gptq":
            out.copy_(
                gptq(
                    matrix,
                    of_group,
                    lambda values, at, s=scale: round_to_format(values / s[:, at], format) * s[:, at],
                )
            )
        else:
            initial = "integer_ulp" if rounding == "learned_integer_ulp" else "per_binade"
            out.copy_(learn_rounding(matrix, of_group, format, scale, iterations=steps, initial=initial))
    return rounded.reshape(weight.shape)


def quantise_activations_(
    prepared: fx.GraphModule, plan: Plan, technique: Technique, statistics: Statistics, *, signs: str
) -> None:
    """Set the format and scale of every layer's input."""
    for name, layer in layers(prepared).items():
        seen = statistics[name]
        own = plan[name].activation
        own = own if seen.negative else without_sign(own, signs)
        layer.activation_format = own
        layer.activation_group = technique.group if technique.granularity == "mx" else 0
        if technique.activation_scale in ("mse", "exponent_bias"):
            choose = mse_scale if technique.activation_scale == "mse" else exponent_bias_scale
            layer.activation_scale = choose(seen.sample[None], own).reshape(())
        else:
            threshold = seen.maximum if technique.activation_scale == "abs_max" else seen.threshold
            limit = torch.tensor(threshold, dtype=torch.float32, device=layer.activation_scale.device)
            layer.activation_scale = threshold_scale(limit, own)


@torch.inference_mode()
def correct_biases_(prepared: fx.GraphModule, images: Tensor, targets: Targets) -> None:
    """Give each layer's output the mean that it has in the float network, one layer after the other.

    All images go through in one batch, so that a layer sees what the corrected layers before it give.
    """

    def correct(name: str, layer: QuantisedLayer, x: Tensor, y: Tensor) -> Tensor:
        over = [d for d in range(y.dim()) if d != layer.channel_dim % y.dim()]
        missing = targets[name].output_mean - y.mean(over)
        layer.add_to_bias_(missing)
        return y + along_channels(missing, y.dim(), layer.channel_dim)

    with output_hooks(prepared, correct):
        prepared(images)


def without_sign(format: Format, signs: str) -> Format:
    """The format of equal width for inputs that are never negative.

    signs  "signed": keeps it; "unsigned_mantissa" and "unsigned_exponent": where a minifloat's sign bit goes
    (an integer becomes unsigned in both).
    """
    if signs == "signed":
        return format
    if isinstance(format, IntegerFormat):
        return IntegerFormat(bits=format.bits, signed=False)
    if signs == "unsigned_mantissa":
        return replace(format, signed=False, mantissa_bits=format.mantissa_bits + 1)
    return replace(format, signed=False, exponent_bits=format.exponent_bits + 1)
