"""The sweep over techniques and formats: calibrate once a seed, round the weights, classify for every point."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx

from stages.lib.numerics.formats import Format, IntegerFormat, MinifloatFormat, all_formats, parse_format
from stages.quantization.calibration import Targets
from stages.quantization.config import SweepConfig, Technique, parse_pair
from stages.quantization.memory import weight_bits
from stages.quantization.network import float_network_, layers, logits_in_batches
from stages.quantization.ptq import Calibrated, calibrated, quantise_, uniform_plan, without_sign


@dataclass(frozen=True, kw_only=True)
class SweepRow:
    """One technique, pair of formats and sign convention with one draw of calibration images.

    family           minifloat, integer, mixed (weights of one, activations of the other) or float (the float32 network)
    format           name of the pair: "E2M1", "INT4xE3M2"
    bits             of a weight; exponent_bits, mantissa_bits  of the weight's format, empty for integers
    edge_format      pair of the first and last layer ("" for the row's own)
    top1             share of the n test images that are classified rightly, 0..1
    agreement        share with the float network's class, 0..1
    selection_loss   mean KL divergence in nats from the float network's class probabilities on images of the training
                     split that nothing was calibrated with
    weight_sqnr_db   over all weights of layers in `format`; empty for float
    layer_error      squared error of the layers' outputs on calibration images from rounding their weights, as a share of
                     the output's square, mean over layers; empty where the technique keeps no Gram matrices
    weight_bits      of all weights and their scales
    """

    technique: str
    family: str
    format: str
    weight_format: str
    activation_format: str
    bits: int
    activation_bits: int
    exponent_bits: int | None
    mantissa_bits: int | None
    signs: str
    edge_format: str
    seed: int
    top1: float
    float_top1: float
    agreement: float
    n: int
    selection_loss: float
    weight_sqnr_db: float | None
    layer_error: float | None
    weight_bits: int


@dataclass(frozen=True, kw_only=True)
class SweepImages:
    """Normalised NCHW float32. calibration: seed -> images; selection: never calibrated with; test decides top-1."""

    calibration: Mapping[int, Tensor]
    selection: Tensor
    test: Tensor
    labels: Tensor


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """rows, and for each of them the class of every test image (rows, n)."""

    rows: list[SweepRow]
    classes: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Point:
    """One row to be computed."""

    technique: str
    formats: str
    signs: str
    seed: int


def sweep_formats(
    prepared: fx.GraphModule,
    images: SweepImages,
    config: SweepConfig,
    techniques: Mapping[str, Technique],
    *,
    advance: Callable[[str], None],
) -> SweepResult:
    """The float network, then every technique, seed, pair of formats and sign convention.

    techniques  by the names in config.techniques
    advance     called after each row with its text, for progress
    """
    float_network_(prepared)
    float_classes = logits_in_batches(prepared, images.test, batch=config.batch).argmax(1)
    float_selection = logits_in_batches(prepared, images.selection, batch=config.batch)
    float_top1 = _share(float_classes == images.labels)
    rows = [_float_row(prepared, seed, float_top1, len(images.labels)) for seed in images.calibration]
    classes = [float_classes] * len(rows)
    cache = _CalibrationCache(prepared, images.calibration, config, techniques)
    for technique, seed, points in _by_network(config):
        settings = techniques[technique]
        found = cache.for_technique(settings, seed)
        network = found.network
        for point in points:
            weight, activation = parse_pair(point.formats)
            edge = edge_pair(weight, activation, config)
            plan = uniform_plan(network, weight, activation, edge_format=edge)
            quantise_(found, plan, settings, signs=point.signs, rounding_steps=config.rounding_steps)
            selection = logits_in_batches(network, images.selection, batch=config.batch)
            predicted = logits_in_batches(network, images.test, batch=config.batch).argmax(1)
            row = SweepRow(
                technique=technique,
                **_format_columns(point.formats),
                signs=point.signs,
                edge_format="x".join(f.name for f in edge) if edge else "",
                seed=seed,
                top1=_share(predicted == images.labels),
                float_top1=float_top1,
                agreement=_share(predicted == float_classes),
                n=len(images.labels),
                selection_loss=divergence(float_selection, selection),
                weight_sqnr_db=weight_sqnr_db(network, edges=edge is None),
                layer_error=layer_error(network, found.targets) if settings.needs_gram else None,
                weight_bits=weight_bits(network, plan, settings),
            )
            rows.append(row)
            classes.append(predicted)
            advance(f"{technique} {row.format} top-1 {row.top1:.3f}")
    return SweepResult(rows=rows, classes=torch.stack(classes).cpu().numpy().astype(np.uint16))


def sweep_points(config: SweepConfig) -> list[Point]:
    """All points but the float network's, by seed, then technique."""
    first, *others = config.calibration_seeds
    every = swept_formats(config)
    seeded = [f for f in every if f in config.seeded_formats] if config.seeded_formats else every
    return [
        Point(technique=technique, formats=formats, signs=signs, seed=seed)
        for seed in (first, *others)
        for technique in config.techniques
        for formats in (every if seed == first else seeded)
        for signs in _signs(parse_pair(formats)[1], config)
    ]


def swept_formats(config: SweepConfig) -> list[str]:
    """The names of a sweep's pairs of formats. Raises InputError where a name is not one."""
    named = [name for name in config.formats if name != "all"]
    every = [f.name for bits in config.bits for f in all_formats(bits)] if "all" in config.formats else []
    return list(dict.fromkeys([*every, *named]))


def edge_pair(weight: Format, activation: Format, config: SweepConfig) -> tuple[Format, Format] | None:
    """Formats of the first and last layer, each of the family that it stands in for; None: the row's own."""
    names = [
        config.edge_integer if isinstance(f, IntegerFormat) else config.edge_minifloat
        for f in (weight, activation)
    ]
    return (parse_format(names[0]), parse_format(names[1])) if all(names) else None


def divergence(wanted: Tensor, found: Tensor) -> float:
    """Mean KL divergence in nats of the class probabilities of two (n, classes) logits."""
    wanted, found = wanted.double().log_softmax(1), found.double().log_softmax(1)
    return torch.nn.functional.kl_div(found, wanted, reduction="batchmean", log_target=True).item()


def weight_sqnr_db(prepared: fx.GraphModule, *, edges: bool) -> float | None:
    """Signal to quantisation noise of all weights in dB, with or without the first and last layer; None: no noise."""
    chosen = list(layers(prepared).values())
    chosen = chosen if edges or len(chosen) < 3 else chosen[1:-1]
    signal = sum(layer.float_weight.double().square().sum() for layer in chosen)
    noise = sum((layer.float_weight.double() - layer.layer.weight).square().sum() for layer in chosen)
    return None if noise == 0 else float(10 * torch.log10(signal / noise))


def layer_error(prepared: fx.GraphModule, targets: Targets) -> float:
    """Mean over layers of tr(D G D^T) / tr(W G W^T): D the error of the weight W, G its input's Gram matrix."""
    errors = []
    for name, layer in layers(prepared).items():
        gram = targets[name].gram
        assert gram is not None  # asked for by technique.needs_gram
        weight = layer.float_weight.reshape(len(gram), -1, gram.shape[-1])
        lost = weight - layer.layer.weight.reshape(weight.shape)
        power = ((weight @ gram) * weight).sum()
        errors.append((((lost @ gram) * lost).sum() / power).item() if power > 0 else 0.0)
    return float(np.mean(errors))


def draw_images(n: int, *, selection: int, calibration: int, rng: np.random.Generator) -> np.ndarray:
    """Sorted indices of `calibration` of n training images (all there are where n is smaller).

    The first `selection` images are never drawn: formats and techniques are chosen on them. Rows of a prepared set are
    in the order of their digests, so that they are a random sample. They are at most a third of the images.
    """
    kept = selection_size(n, selection)
    return np.sort(kept + rng.permutation(n - kept)[:calibration])


def selection_size(n: int, wanted: int) -> int:
    """How many of n training images serve for selection."""
    return min(wanted, n // 3)


def _by_network(config: SweepConfig) -> Iterator[tuple[str, int, Sequence[Point]]]:
    groups: dict[tuple[str, int], list[Point]] = {}
    for point in sweep_points(config):
        groups.setdefault((point.technique, point.seed), []).append(point)
    for (technique, seed), points in groups.items():
        yield technique, seed, points


class _CalibrationCache:
    """What calibration sees, found once a seed for all techniques that leave the float network as it is."""

    def __init__(
        self,
        prepared: fx.GraphModule,
        images: Mapping[int, Tensor],
        config: SweepConfig,
        techniques: Mapping[str, Technique],
    ) -> None:
        self._prepared, self._images, self._config = prepared, images, config
        used = [techniques[name] for name in config.techniques]
        # all that any of them needs
        self._shared = Technique(
            rounding="gptq" if any(t.needs_gram for t in used) else "nearest",
            bias_correction=any(t.bias_correction for t in used),
        )
        self._plain: dict[int, Calibrated] = {}

    def for_technique(self, technique: Technique, seed: int) -> Calibrated:
        if technique.equalise or technique.smooth:
            return self._calibrated(technique, seed)
        if seed not in self._plain:
            self._plain = {seed: self._calibrated(self._shared, seed)}
        return self._plain[seed]

    def _calibrated(self, technique: Technique, seed: int) -> Calibrated:
        return calibrated(
            copy.deepcopy(self._prepared),
            self._images[seed],
            technique,
            percentile=self._config.percentile,
            reconstruction_images=self._config.reconstruction_images,
            batch=self._config.batch,
        )


def _signs(format: Format, config: SweepConfig) -> Sequence[str]:
    # UE8M0 reaches 2^128, which float32 does not hold: the largest exponent has no unsigned twin
    largest = torch.finfo(torch.float32).max
    signs = [s for s in config.signs if without_sign(format, s).max_value <= largest]
    if isinstance(format, IntegerFormat) and "unsigned_mantissa" in signs:
        return [s for s in signs if s != "unsigned_exponent"]  # an integer's sign bit has one place to go
    return signs


def _format_columns(formats: str) -> dict[str, object]:
    weight, activation = parse_pair(formats)
    families = {"integer" if isinstance(f, IntegerFormat) else "minifloat" for f in (weight, activation)}
    is_float = isinstance(weight, MinifloatFormat)
    return {
        "family": families.pop() if len(families) == 1 else "mixed",
        "format": formats,
        "weight_format": weight.name,
        "activation_format": activation.name,
        "bits": weight.bits,
        "activation_bits": activation.bits,
        "exponent_bits": weight.exponent_bits if is_float else None,
        "mantissa_bits": weight.mantissa_bits if is_float else None,
    }


def _float_row(prepared: fx.GraphModule, seed: int, top1: float, n: int) -> SweepRow:
    return SweepRow(
        technique="none",
        family="float",
        format="float32",
        weight_format="float32",
        activation_format="float32",
        bits=32,
        activation_bits=32,
        exponent_bits=8,
        mantissa_bits=23,
        signs="signed",
        edge_format="",
        seed=seed,
        top1=top1,
        float_top1=top1,
        agreement=1.0,
        n=n,
        selection_loss=0.0,
        weight_sqnr_db=None,
        layer_error=None,
        weight_bits=32 * sum(layer.float_weight.numel() for layer in layers(prepared).values()),
    )


def _share(right: Tensor) -> float:
    return right.double().mean().item()
