"""The sweep over formats: calibrate once a seed, round the weights once a format, classify for every pair."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx

from stages.lib.numerics.formats import Format, IntegerFormat, all_formats, parse_format
from stages.quantization.config import SweepConfig
from stages.quantization.ptq import (
    ActivationRange,
    float_weights_,
    layers,
    predict,
    quantise_activations_,
    quantise_weights_,
    without_sign,
)


@dataclass(frozen=True, kw_only=True)
class SweepRow:
    """One format with one draw of calibration images.

    family           minifloat, integer or float (the float32 network)
    edge_format      of the first and last layer ("" for the row's own)
    top1             share of the n test images that are classified rightly, 0..1
    agreement        share with the float network's class, 0..1
    weight_sqnr_db   over all weights of layers in `format`; empty for float
    """

    family: str
    format: str
    bits: int
    exponent_bits: int | None
    mantissa_bits: int | None
    signs: str
    edge_format: str
    seed: int
    top1: float
    float_top1: float
    agreement: float
    n: int
    weight_sqnr_db: float | None


def sweep_formats(
    prepared: fx.GraphModule,
    images: Tensor,
    labels: Tensor,
    ranges: Mapping[int, Mapping[str, ActivationRange]],
    config: SweepConfig,
    *,
    advance: Callable[[str], None],
) -> list[SweepRow]:
    """Rows of the float network, then of every format, sign convention and seed.

    images, labels  the test images, normalised NCHW float32, and their classes
    ranges          seed -> what `calibrate` returned for that seed's calibration images
    advance         called after each row with its text, for progress
    """
    float_weights_(prepared)
    float_classes = predict(prepared, images, batch=config.batch)
    float_top1 = _share(float_classes == labels)
    rows = [_float_row(seed, float_top1, len(labels)) for seed in ranges]
    for format in swept_formats(config):
        edge_format = _edge_format(format, config)
        quantise_weights_(prepared, format, edge_format=edge_format, granularity=config.granularity)
        sqnr_db = weight_sqnr_db(prepared, edges=edge_format is None)
        for signs in _signs(format, config):
            for seed, seen in ranges.items():
                quantise_activations_(prepared, format, seen, edge_format=edge_format, signs=signs)
                classes = predict(prepared, images, batch=config.batch)
                row = SweepRow(
                    **_format_columns(format),
                    signs=signs,
                    edge_format=edge_format.name if edge_format else "",
                    seed=seed,
                    top1=_share(classes == labels),
                    float_top1=float_top1,
                    agreement=_share(classes == float_classes),
                    n=len(labels),
                    weight_sqnr_db=sqnr_db,
                )
                rows.append(row)
                advance(f"{row.format} top-1 {row.top1:.3f}")
    float_weights_(prepared)
    return rows


def swept_formats(config: SweepConfig) -> list[Format]:
    """The formats of a sweep. Raises InputError where a name is not one."""
    named = [parse_format(name) for name in config.formats if name != "all"]
    every = [f for bits in config.bits for f in all_formats(bits)] if "all" in config.formats else []
    return list(dict.fromkeys([*every, *named]))


def sweep_length(config: SweepConfig) -> int:
    """How often `sweep_formats` calls `advance`."""
    return len(config.calibration_seeds) * sum(len(_signs(f, config)) for f in swept_formats(config))


def weight_sqnr_db(prepared: fx.GraphModule, *, edges: bool) -> float | None:
    """Signal to quantisation noise of all weights in dB, with or without the first and last layer; None: no noise."""
    chosen = list(layers(prepared).values())
    chosen = chosen if edges or len(chosen) < 3 else chosen[1:-1]
    signal = sum(layer.float_weight.double().square().sum() for layer in chosen)
    noise = sum((layer.float_weight.double() - layer.layer.weight).square().sum() for layer in chosen)
    return None if noise == 0 else float(10 * torch.log10(signal / noise))


def calibration_indices(n: int, images: int, rng: np.random.Generator) -> np.ndarray:
    """Sorted indices of `images` different ones of n training images (all of them where n is smaller)."""
    return np.sort(rng.permutation(n)[:images])


def _edge_format(format: Format, config: SweepConfig) -> Format | None:
    name = config.edge_integer if isinstance(format, IntegerFormat) else config.edge_minifloat
    return parse_format(name) if name else None


def _signs(format: Format, config: SweepConfig) -> Sequence[str]:
    # UE8M0 reaches 2^128, which float32 does not hold: the largest exponent has no unsigned twin
    largest = torch.finfo(torch.float32).max
    return [s for s in config.signs if without_sign(format, s).max_value <= largest]


def _format_columns(format: Format) -> dict[str, object]:
    if isinstance(format, IntegerFormat):
        family, exponent_bits, mantissa_bits = "integer", None, None
    else:
        family, exponent_bits, mantissa_bits = "minifloat", format.exponent_bits, format.mantissa_bits
    return {
        "family": family,
        "format": format.name,
        "bits": format.bits,
        "exponent_bits": exponent_bits,
        "mantissa_bits": mantissa_bits,
    }


def _float_row(seed: int, top1: float, n: int) -> SweepRow:
    return SweepRow(
        family="float",
        format="float32",
        bits=32,
        exponent_bits=8,
        mantissa_bits=23,
        signs="signed",
        edge_format="",
        seed=seed,
        top1=top1,
        float_top1=top1,
        agreement=1.0,
        n=n,
        weight_sqnr_db=None,
    )


def _share(right: Tensor) -> float:
    return right.double().mean().item()
