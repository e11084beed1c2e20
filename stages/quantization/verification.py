"""Exact checks of the quantiser by second roads: enumeration, search over all codes, ml_dtypes and gfloat.

Each check returns a count of mismatches and how many cases it compared.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import gfloat
import gfloat.formats
import ml_dtypes
import numpy as np
import torch
from torch import nn

from stages.lib.numerics import quantisers, torch_quantisers
from stages.lib.numerics.accumulators import exact_accumulator_bits, paper_accumulator_bits
from stages.lib.numerics.decode import decode_table
from stages.lib.numerics.formats import Format, IntegerFormat, MinifloatFormat, all_formats, minifloats
from stages.quantization.ptq import quantise_model

WIDTHS = range(3, 9)
LENGTH = 4608  # products in ResNet-18's longest dot product: 512 channels x 3 x 3

UNIFORM_TECHNIQUES = ("percentile", "mse", "exponent_bias", "mx", "learned", "gptq_all")


@dataclass(frozen=True)
class Count:
    mismatches: int = 0
    compared: int = 0

    def __add__(self, other: "Count") -> "Count":
        return Count(self.mismatches + other.mismatches, self.compared + other.compared)


def float32_formats() -> list[Format]:
    """All formats of 3 to 8 bits, signed and unsigned, that float32 holds (UE8M0 reaches 2^128)."""
    every = [f for signed in (True, False) for bits in WIDTHS for f in all_formats(bits, signed=signed)]
    return [f for f in every if f.max_value <= float(np.finfo(np.float32).max)]


def check_tables() -> Count:
    """M1: decode tables against a second enumeration in exact fractions, and the closed forms of max and min."""
    wrong = [f for f in _all_minifloats() if not _table_is_right(f)]
    return Count(len(wrong), len(list(_all_minifloats())))


def _all_minifloats() -> Iterator[MinifloatFormat]:
    for signed in (True, False):
        for bits in WIDTHS:
            yield from minifloats(bits, signed=signed)


def _table_is_right(f: MinifloatFormat) -> bool:
    x, y, b = f.exponent_bits, f.mantissa_bits, 2 ** (f.exponent_bits - 1) - 1
    positive = {Fraction(0)}
    for exponent in range(1 - b, 2**x - b):
        # one binade: 2^y values from 2^exponent; the sub-normals fill the gap to zero with the first one's step
        positive |= {Fraction(2) ** exponent * (1 + Fraction(k, 2**y)) for k in range(2**y)}
    positive |= {Fraction(2) ** (1 - b) * Fraction(k, 2**y) for k in range(2**y)}
    values = positive | ({-v for v in positive} if f.signed else set())
    largest = (2 - Fraction(1, 2**y)) * Fraction(2) ** (2**x - 1 - b)
    smallest = Fraction(2) ** (1 - b - y)
    table = {Fraction(v) for v in decode_table(f).tolist()}
    return (
        table == values
        and len(values) == (2**f.bits - 1 if f.signed else 2**f.bits)
        and max(values) == largest == Fraction(f.max_value)
        and min(v for v in values if v > 0) == smallest == Fraction(f.min_positive)
    )


def compare_uniform(values: int, rng: np.random.Generator) -> tuple[Count, int]:
    """M2: E1My against narrow INT(y+2) on per-channel quantised random tensors: counts of differing bits.

    The second figure is the control: of how many E2My, compared with the integer of their width, no value differs.
    """
    count, equal = Count(), 0
    w = rng.standard_t(4, size=(16, max(values // 16, 1))).astype(np.float32)
    for bits in WIDTHS:
        integer = IntegerFormat(bits=bits)
        uniform, other = minifloats(bits)[0], minifloats(bits)[1]
        reference = _quantised(w, integer)
        differing = int((_quantised(w, uniform).view(np.int32) != reference.view(np.int32)).sum())
        count += Count(differing, w.size)
        equal += bool(np.array_equal(_quantised(w, other), reference))
    return count, equal


def compare_uniform_networks(seed: int) -> tuple[Count, int]:
    """M2 for PTQ outputs: logits of a small network under E1My and INT(y+2), every technique of UNIFORM_TECHNIQUES.

    The control as above, with E2My.
    """
    torch_rng = torch.Generator().manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 10),
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch_rng) * 0.2)
    images = torch.randn((64, 3, 8, 8), generator=torch_rng)

    def logits(format: Format, technique: str) -> np.ndarray:
        quantised = quantise_model(
            model, format.name, images, technique=technique, edge_format=None, rounding_steps=100
        )
        return quantised(images).numpy()

    count, equal = Count(), 0
    for technique in UNIFORM_TECHNIQUES:
        for bits in WIDTHS:
            reference = logits(IntegerFormat(bits=bits), technique)
            found = logits(minifloats(bits)[0], technique)
            differing = int((found.view(np.int32) != reference.view(np.int32)).sum())
            count += Count(differing, reference.size)
            equal += bool(np.array_equal(logits(minifloats(bits)[1], technique), reference))
    return count, equal


def _quantised(w: np.ndarray, format: Format) -> np.ndarray:
    return quantisers.quantise(w, format, quantisers.abs_max_scale(w, format, axis=0))


def check_nearest(format: Format, values: int, rng: np.random.Generator) -> Count:
    """M3: both quantisers against a search over all codes, on boundary, tie and random values (bits compared)."""
    x = hard_values(format, values, rng)
    return compare_both(x, nearest_by_search(x, format), format)


def compare_both(x: np.ndarray, expected: np.ndarray, format: Format) -> Count:
    """Numpy's and torch's results against the expected ones: bits, where +0 is the only zero."""
    expected = (expected.astype(np.float32) + np.float32(0)).view(np.int32)
    ours = quantisers.round_to_format(x, format).view(np.int32)
    fast = torch_quantisers.round_to_format(torch.from_numpy(x), format).numpy().view(np.int32)
    return Count(int(((ours != expected) | (fast != expected)).sum()), x.size)


def nearest_by_search(x: np.ndarray, format: Format) -> np.ndarray:
    """float64: the nearest value of the decode table, found by looking at all of them; ties as the formula has them.

    A tie goes to the even multiple of the local step: the even code, or with no mantissa bits the upper value
    (2^(e+1) is twice 2^e), except beside zero.
    """
    table = np.unique(decode_table(format)[~np.isnan(decode_table(format))])  # unique: one zero
    result = np.empty(x.shape)
    for start in range(0, x.size, 4096):
        part = np.clip(x[start : start + 4096].astype(np.float64), table[0], table[-1])
        distance = np.abs(part[:, None] - table)
        below = distance.argmin(1)  # the first of two equally near ones
        above = np.minimum(below + 1, len(table) - 1)
        tie = distance[np.arange(len(part)), above] == distance[np.arange(len(part)), below]
        choose_above = tie & (above != below) & ~_is_even(table[below], table[above], format)
        result[start : start + 4096] = table[np.where(choose_above, above, below)]
    return result


def _is_even(low: np.ndarray, high: np.ndarray, format: Format) -> np.ndarray:
    """Whether of two neighbours the lower one is the even multiple of their distance."""
    step = high - low
    return np.divide(low, step, out=np.zeros_like(low), where=step > 0) % 2 == 0


def hard_values(format: Format, random: int, rng: np.random.Generator) -> np.ndarray:
    """float32: every code, every tie, their float neighbours, extremes, zeros, and `random` random values.

    Half of the random values are log-uniform over the format's range and beyond it, half are normal.
    """
    table = np.unique(decode_table(format)[~np.isnan(decode_table(format))])
    points = np.concatenate([table, (table[1:] + table[:-1]) / 2]).astype(np.float32)
    up, down = np.float32(np.inf), np.float32(-np.inf)
    extremes = np.array([0.0, -0.0, 1e-45, -1e-45, 3.4e38, -3.4e38, np.inf, -np.inf], np.float32)
    low, high = np.log2(format.min_positive) - 3, np.log2(format.max_value) + 1
    wide = np.exp2(rng.uniform(low, high, random // 2)) * rng.choice([-1.0, 1.0], random // 2)
    normal = rng.standard_normal(random - random // 2) * format.max_value / 3
    parts = [points, -points, np.nextafter(points, up), np.nextafter(points, down), extremes, wide, normal]
    return np.concatenate([p.astype(np.float32) for p in parts])


# ml_dtypes' formats of at most 8 bits; float8_e8m0fnu is left out: it has no zero and no sign, a scale's format
ML_DTYPES: dict[str, MinifloatFormat] = {
    "float4_e2m1fn": MinifloatFormat(exponent_bits=2, mantissa_bits=1),
    "float6_e2m3fn": MinifloatFormat(exponent_bits=2, mantissa_bits=3),
    "float6_e3m2fn": MinifloatFormat(exponent_bits=3, mantissa_bits=2),
    "float8_e3m4": MinifloatFormat(exponent_bits=3, mantissa_bits=4, largest=15.5),
    "float8_e4m3": MinifloatFormat(exponent_bits=4, mantissa_bits=3, largest=240),
    "float8_e4m3fn": MinifloatFormat(exponent_bits=4, mantissa_bits=3, largest=448),
    "float8_e4m3fnuz": MinifloatFormat(exponent_bits=4, mantissa_bits=3, bias=8),
    "float8_e4m3b11fnuz": MinifloatFormat(exponent_bits=4, mantissa_bits=3, bias=11),
    "float8_e5m2": MinifloatFormat(exponent_bits=5, mantissa_bits=2, largest=57344),
    "float8_e5m2fnuz": MinifloatFormat(exponent_bits=5, mantissa_bits=2, bias=16),
}

# gfloat's named formats of at most 8 bits with a sign and a zero
GFLOAT_NAMED: dict[str, MinifloatFormat] = {
    "format_info_ocp_e2m1": MinifloatFormat(exponent_bits=2, mantissa_bits=1),
    "format_info_ocp_e2m3": MinifloatFormat(exponent_bits=2, mantissa_bits=3),
    "format_info_ocp_e3m2": MinifloatFormat(exponent_bits=3, mantissa_bits=2),
    "format_info_ocp_e4m3": MinifloatFormat(exponent_bits=4, mantissa_bits=3, largest=448),
    "format_info_ocp_e5m2": MinifloatFormat(exponent_bits=5, mantissa_bits=2, largest=57344),
}


def check_ml_dtypes(values: int, rng: np.random.Generator) -> Count:
    """M3: every format of ml_dtypes. Its conversions do not saturate, so that values are clipped for it first."""
    total = Count()
    for name, format in ML_DTYPES.items():
        x = hard_values(format, values, rng)
        clipped = np.clip(x, format.min_value, format.max_value).astype(np.float32)
        expected = clipped.astype(getattr(ml_dtypes, name)).astype(np.float32)
        total += compare_both(x, expected, format)
    return total


def check_gfloat(values: int, rng: np.random.Generator) -> Count:
    """M3: gfloat's named formats, and every ExMy described to gfloat, saturating.

    Without mantissa bits gfloat sends ties to the even code and the paper's formula sends them up: ties are
    left out there.
    """
    infos = [(getattr(gfloat.formats, name), format) for name, format in GFLOAT_NAMED.items()]
    infos += [(_gfloat_info(f), f) for f in float32_formats() if isinstance(f, MinifloatFormat)]
    total = Count()
    for info, format in infos:
        x = hard_values(format, values, rng)
        if not format.signed:
            x = np.abs(x)  # gfloat has no saturation of negative values to zero
        if format.mantissa_bits == 0:
            x = x[np.frexp(np.abs(x))[0] != 0.75]  # 1.5 * 2^e lies between 2^e and 2^(e+1)
        expected = gfloat.round_ndarray(info, x.astype(np.float64), gfloat.RoundMode.TiesToEven, sat=True)
        total += compare_both(x, expected, format)
    return total


def _gfloat_info(format: MinifloatFormat) -> gfloat.FormatInfo:
    return gfloat.FormatInfo(
        format.name,
        k=format.bits,
        precision=format.mantissa_bits + 1,
        bias=format.exponent_bias,
        is_signed=format.signed,
        domain=gfloat.Domain.Finite,
        has_nz=format.signed,
        num_high_nans=0,
        has_subnormals=True,
        is_twos_complement=False,
    )


def check_accumulators(length: int) -> Count:
    """M4: how far the paper's formulas exceed the exact need, against the stated excess of each kind of format.

    Stated: 0 or 1 bit (y >= 1), 2 bits (y = 0), 2 bits (full-range integers), 3 bits (narrow INT4).
    """
    stated: list[tuple[Format, Callable[[int], bool]]] = []
    for bits in WIDTHS:
        for f in minifloats(bits):
            stated.append((f, (0, 1).__contains__ if f.mantissa_bits else (2).__eq__))
        stated.append((IntegerFormat(bits=bits, narrow=False), (2).__eq__))
    stated.append((IntegerFormat(bits=4), (3).__eq__))
    wrong = 0
    for format, holds in stated:
        exact = accumulator_bits_by_search(format, format, length=length)
        wrong += exact != exact_accumulator_bits(format, format, length=length)
        wrong += not holds(paper_accumulator_bits(format, format, length=length) - exact)
    return Count(wrong, len(stated))


def accumulator_bits_by_search(a: Format, b: Format, *, length: int) -> int:
    """The first width whose range holds both extreme sums, from the products of all pairs of codes."""
    va, vb = (
        [int(Fraction(v) / Fraction(f.min_positive)) for v in decode_table(f).tolist() if v == v]
        for f in (a, b)
    )
    products = {x * y for x in va for y in vb}
    low, high = length * min(products), length * max(products)
    bits = 1
    while not -(2 ** (bits - 1)) <= low <= high < 2 ** (bits - 1):
        bits += 1
    return bits
