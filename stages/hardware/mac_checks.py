"""Mapped operators against exact integer arithmetic on the decode tables of lib.numerics.

Every pair of codes is multiplied, and dot products of the full length are accumulated: with the four extreme pairs,
which bring the accumulator to its limits, and with random codes.
"""

from bisect import bisect_right
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import accumulate, pairwise

import numpy as np

from stages.hardware.lut_netlist import LutNetlist, simulate
from stages.hardware.mac_design import MacDesign
from stages.lib.numerics.decode import decode_table
from stages.lib.numerics.formats import Format


@dataclass(frozen=True, kw_only=True)
class Check:
    """Vectors that were compared, and those that differed."""

    vectors: int
    mismatches: int

    def __add__(self, other: "Check") -> "Check":
        return Check(vectors=self.vectors + other.vectors, mismatches=self.mismatches + other.mismatches)


def check_mac(netlist: LutNetlist, design: MacDesign, rng: np.random.Generator) -> Check:
    """All products, and dot products of `design.length` terms. Raises ValueError where the netlist has other ports."""
    return check_products(netlist, design) + check_dot_products(netlist, design, rng)


def check_products(netlist: LutNetlist, design: MacDesign) -> Check:
    """Every code of the weight with every code of the activation, each as a dot product of one term."""
    weights, activations = code_values(design.weight), code_values(design.activation)
    pairs = [(w, a) for w in weights for a in activations]
    want = [weights[w] * activations[a] for w, a in pairs]
    return _compare(netlist, design, pairs, clear=np.ones(len(pairs), dtype=np.uint8), want=want)


def check_dot_products(netlist: LutNetlist, design: MacDesign, rng: np.random.Generator) -> Check:
    """Running sums of five dot products: the four pairs of extreme values, then random codes."""
    weights, activations = code_values(design.weight), code_values(design.activation)
    pairs = [
        (w, a)
        for w in (max(weights, key=weights.get), min(weights, key=weights.get))
        for a in (max(activations, key=activations.get), min(activations, key=activations.get))
        for _ in range(design.length)
    ]
    drawn = zip(
        *(rng.choice(list(codes), design.length).tolist() for codes in (weights, activations)), strict=True
    )
    pairs += drawn
    starts = range(0, len(pairs), design.length)
    clear = np.zeros(len(pairs), dtype=np.uint8)
    clear[list(starts)] = 1
    products = [weights[w] * activations[a] for w, a in pairs]
    want = [total for start in starts for total in accumulate(products[start : start + design.length])]
    return _compare(netlist, design, pairs, clear=clear, want=want)


def check_converter(
    netlist: LutNetlist,
    format: Format,
    *,
    accumulator_bits: int,
    shift: int,
    rng: np.random.Generator,
    count: int,
) -> Check:
    """`count` accumulator values of every size, the limits, and those around the middle of two neighbours."""
    limit = 2 ** (accumulator_bits - 1)
    sizes = rng.integers(1, accumulator_bits, count).tolist()
    drawn = [int.from_bytes(rng.bytes(accumulator_bits // 8 + 1), "little") % 2**size for size in sizes]
    magnitudes = _magnitudes(format, negative=False)
    middles = [((low + high) << shift) // 2 for low, high in pairwise(magnitudes)]
    values = [0, limit - 1, *drawn, *(middle + offset for middle in middles for offset in (-1, 0, 1))]
    values = [signed for v in values if v < limit for signed in (v, -v)] + [-limit]
    want = [nearest_code(value, format, shift=shift) for value in values]
    got = simulate(netlist, {"acc": to_bits(values, accumulator_bits)}, output="code")
    return Check(vectors=len(values), mismatches=_differing(got, to_bits(want, format.bits)))


def nearest_code(total: int, format: Format, *, shift: int) -> int:
    """Code of the value nearest to total * 2^-shift steps, ties to the even multiple of the local step, saturating.

    A search among the decoded values; zero has code 0.
    """
    magnitudes = _magnitudes(format, negative=total < 0)
    wanted = Fraction(abs(total), 2**shift)
    above = bisect_right(magnitudes, wanted)
    nearest = magnitudes[-1]
    if above < len(magnitudes):
        low, high = magnitudes[above - 1], magnitudes[above]
        # between low and high the step is their difference
        tie_goes_up = low // (high - low) % 2 == 1
        middle = Fraction(low + high, 2)
        nearest = high if wanted > middle or (wanted == middle and tie_goes_up) else low
    return _codes_of_values(format)[-nearest if total < 0 else nearest]


@cache
def code_values(format: Format) -> dict[int, int]:
    """Code -> value in units of the smallest positive one, for every code that is a value of the format."""
    step = Fraction(format.min_positive)
    table = decode_table(format).tolist()
    return {code: int(Fraction(value) / step) for code, value in enumerate(table) if value == value}


@cache
def _codes_of_values(format: Format) -> dict[int, int]:
    # the code of -0 comes after that of +0 and must not win
    return {value: code for code, value in reversed(code_values(format).items())}


@cache
def _magnitudes(format: Format, *, negative: bool) -> list[int]:
    return sorted(
        {abs(value) for value in code_values(format).values() if value == 0 or (value < 0) == negative}
    )


def to_bits(values: list[int], width: int) -> np.ndarray:
    """Two's complement of integers of any size: uint8 (values, width), lowest bit first."""
    size = -(-width // 8)
    mask = (1 << width) - 1
    packed = b"".join((value & mask).to_bytes(size, "little") for value in values)
    rows = np.frombuffer(packed, dtype=np.uint8).reshape(len(values), size)
    return np.unpackbits(rows, axis=1, bitorder="little")[:, :width]


def _compare(
    netlist: LutNetlist,
    design: MacDesign,
    pairs: list[tuple[int, int]],
    *,
    clear: np.ndarray,
    want: list[int],
) -> Check:
    drain = design.latency
    codes = np.array(pairs, dtype=np.int64)
    stimuli = {
        "w": to_bits(codes[:, 0].tolist(), design.weight.bits),
        "a": to_bits(codes[:, 1].tolist(), design.activation.bits),
        "clear": clear[:, None],
    }
    stimuli = {name: np.pad(bits, ((0, drain), (0, 0))) for name, bits in stimuli.items()}
    got = simulate(netlist, stimuli, output="acc")[drain:]
    return Check(vectors=len(want), mismatches=_differing(got, to_bits(want, design.accumulator_bits)))


def _differing(got: np.ndarray, want: np.ndarray) -> int:
    return int((got != want).any(axis=1).sum())
