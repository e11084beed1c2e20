"""What a multiply-accumulate operator is to be: formats, accumulator, microarchitecture. No hardware library needed."""

from dataclasses import dataclass
from math import ceil, log2

from stages.lib.core.errors import InputError
from stages.lib.numerics.accumulators import exact_accumulator_bits, paper_accumulator_bits
from stages.lib.numerics.formats import Format, values_in_steps

ACCUMULATORS = {"exact": exact_accumulator_bits, "paper": paper_accumulator_bits}
PIPELINES = (0, 1, 2)
# see multipliers.py
MICROARCHITECTURES = ("default", "rows", "booth", "array", "booth_array", "sign_magnitude")


@dataclass(frozen=True, kw_only=True)
class MacDesign:
    """One operator: acc <- (clear ? 0 : acc) + w * a, in units of the product of the smallest positive values.

    length           products in the longest dot product, which the accumulator must hold
    accumulator      "exact": the least sufficient width, by the same rule for every format; "paper": the paper's
    microarchitecture of the significands' multiplier, see multipliers.py
    pipeline         registers between the input registers and the accumulator: 0, 1 (before the adder) or 2 (one
                     more before the shift)
    """

    weight: Format
    activation: Format
    length: int
    microarchitecture: str = "default"
    accumulator: str = "exact"
    pipeline: int = 0

    def __post_init__(self) -> None:
        if self.length < 1:
            raise InputError(f"the length of the dot product is {self.length}; choose 1 or more")
        if self.microarchitecture not in MICROARCHITECTURES:
            raise InputError(
                f"there is no multiplier {self.microarchitecture!r}; choose one of {', '.join(MICROARCHITECTURES)}"
            )
        if self.accumulator not in ACCUMULATORS:
            raise InputError(f"there is no accumulator {self.accumulator!r}; choose exact or paper")
        if self.pipeline not in PIPELINES:
            raise InputError(f"pipeline is {self.pipeline}; choose 0, 1 or 2 registers")

    @property
    def accumulator_bits(self) -> int:
        return ACCUMULATORS[self.accumulator](self.weight, self.activation, length=self.length)

    @property
    def latency(self) -> int:
        """Clock edges from an operand at the input to the accumulator that holds its product."""
        return 2 + self.pipeline


def output_shift(design: MacDesign) -> int:
    """The power of two by which a dot product is scaled down on its way into the activation's format.

    Products add up like a random walk, so that sqrt(length) of the largest products fill the format; more saturates.
    """
    _, largest_weight = values_in_steps(design.weight)
    return max(0, ceil(log2(largest_weight) + log2(design.length) / 2))
