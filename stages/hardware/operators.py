"""Which operators are mapped for a configuration, and what one row of mac_costs.parquet says of each.

The grid of formats follows Shedding the Bits (section 2.5 of its notes): every E/M split and the integer of each width.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from stages.hardware.config import MacConfig, OperatorVariant
from stages.hardware.converter import converter
from stages.hardware.fpga import TOP, Job
from stages.hardware.lut_netlist import CellCounts, count_cells, read_lut_netlist
from stages.hardware.mac import build_mac
from stages.hardware.mac_checks import Check, check_converter, check_mac
from stages.hardware.mac_design import MacDesign, output_shift
from stages.lib.numerics.formats import Format, all_formats, parse_format


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One row of the table: a pair of formats, built in one way."""

    design: MacDesign
    variant: OperatorVariant

    @property
    def name(self) -> str:
        d, v = self.design, self.variant
        dsp = " dsp" if v.dsp else ""
        return (
            f"{d.weight.name} x {d.activation.name} {v.microarchitecture} {v.pipeline} {v.accumulator}{dsp}"
        )

    @property
    def converter_name(self) -> str:
        """Operators with the same accumulator and activation share their converter."""
        d = self.design
        return f"{d.activation.name} from {d.accumulator_bits} bits by {output_shift(d)}"

    def job(self) -> Job:
        v = self.variant
        return Job(rtlil=build_mac(self.design).rtlil(TOP), microarchitecture=v.microarchitecture, dsp=v.dsp)

    def converter_job(self) -> Job:
        d = self.design
        block = converter(d.activation, accumulator_bits=d.accumulator_bits, shift=output_shift(d))
        return Job(rtlil=block.rtlil(TOP))


def operators(config: MacConfig) -> list[Operator]:
    """Every operator of a configuration, in the order of the table.

    The paper has no formula for an integer times a minifloat, so that such pairs have no operator of its width.
    """
    return [
        Operator(
            design=MacDesign(
                weight=weight,
                activation=activation,
                length=config.length,
                microarchitecture=variant.microarchitecture,
                accumulator=variant.accumulator,
                pipeline=variant.pipeline,
            ),
            variant=variant,
        )
        for weight, activation in format_pairs(config)
        for variant in config.variants
        if variant.accumulator != "paper" or type(weight) is type(activation)
    ]


def format_pairs(config: MacConfig) -> Iterator[tuple[Format, Format]]:
    """(weight, activation). Unsigned activations have the width of their signed twin, so that they gain a bit."""
    weights = list(_formats(config, signed=True))
    activations = [*weights, *(_formats(config, signed=False) if config.unsigned_activations else ())]
    for weight in weights:
        for activation in activations:
            if config.pairs == "grid" or _alike(weight, activation):
                yield weight, activation


def _formats(config: MacConfig, *, signed: bool) -> Iterator[Format]:
    for name in config.formats:
        if name == "all":
            for bits in config.bits:
                yield from all_formats(bits, signed=signed)
        elif signed:
            yield parse_format(name)
        else:
            format = parse_format(name)
            yield from (f for f in all_formats(format.bits, signed=False) if _alike(format, f))


def _alike(weight: Format, activation: Format) -> bool:
    """Whether an activation is the weight's own format, or its unsigned twin: the sign bit goes to the mantissa."""
    if type(weight) is not type(activation) or weight.bits != activation.bits:
        return False
    return getattr(weight, "exponent_bits", 0) == getattr(activation, "exponent_bits", 0)


def table_row(
    operator: Operator,
    *,
    mapped: Mapping[str, Any],
    converter_mapped: Mapping[str, Any],
    fmax_mhz: list[float],
    check: Check,
    converter_check: Check,
) -> dict[str, Any]:
    """One row of mac_costs.parquet. Clock rates are missing where the operator was not routed."""
    design, variant = operator.design, operator.variant
    counts, back = count_cells(mapped), count_cells(converter_mapped)
    return {
        "weight_format": design.weight.name,
        "activation_format": design.activation.name,
        "signed_w": design.weight.signed,
        "signed_a": design.activation.signed,
        "bits_w": design.weight.bits,
        "bits_a": design.activation.bits,
        "microarchitecture": variant.microarchitecture,
        "pipeline": variant.pipeline,
        "dsp_allowed": variant.dsp,
        "accumulator": variant.accumulator,
        "length": design.length,
        "accumulator_bits": design.accumulator_bits,
        **_columns(counts),
        **_columns(back, prefix="convert_"),
        "ecp5_fmax_mhz": median(fmax_mhz) if fmax_mhz else np.nan,
        "ecp5_fmax_low_mhz": min(fmax_mhz, default=np.nan),
        "ecp5_fmax_high_mhz": max(fmax_mhz, default=np.nan),
        "ecp5_seeds": len(fmax_mhz),
        "verified_vectors": check.vectors,
        "mismatches": check.mismatches,
        "convert_verified_vectors": converter_check.vectors,
        "convert_mismatches": converter_check.mismatches,
    }


def check_operator(operator: Operator, mapped: Mapping[str, Any], rng: np.random.Generator) -> Check:
    """The mapped operator against exact arithmetic; nothing is compared where DSP blocks were used."""
    if count_cells(mapped).dsp:
        return Check(vectors=0, mismatches=0)
    return check_mac(read_lut_netlist(mapped), operator.design, rng)


def check_converter_of(
    operator: Operator, mapped: Mapping[str, Any], rng: np.random.Generator, count: int
) -> Check:
    """The mapped way back to the activation's format against a search among its decoded values."""
    design = operator.design
    return check_converter(
        read_lut_netlist(mapped),
        design.activation,
        accumulator_bits=design.accumulator_bits,
        shift=output_shift(design),
        rng=rng,
        count=count,
    )


def _columns(counts: CellCounts, prefix: str = "") -> dict[str, int]:
    return {prefix + name: getattr(counts, name) for name in ("lut", "ff", "carry", "dsp", "muxf")}
