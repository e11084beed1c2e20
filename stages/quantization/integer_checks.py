"""Does the network on codes give the fake-quantised network's logits, and how wide was its accumulator?

Two comparisons, since float32 sums are not exact themselves:

- End to end in float64, against `float64_twin`. Both see the same values of each format; the twin rounds each of
  up to n terms at 2^-53, which for n = 4,608 leaves 5e-13 of a sum's magnitude. A logit that differs by more than
  TOLERANCE of its image's largest logit is one that rounding does not explain.
- Layer by layer in float32, on the same input, within the error bound of float32 sums (`rounding_bound`).

End to end in float32 the two networks may part: where a float32 sum falls on the other side of a tie than the exact
one, the next layer's input differs by a step. That is a property of float32 sums; it is counted apart, as classes
that differ.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from stages.lib.numerics.integer_matmul import OVERFLOWS, Overflow
from stages.quantization.calibration import Statistics, output_hooks
from stages.quantization.config import IntegerInferenceConfig, Technique, parse_pair
from stages.quantization.integer_inference import (
    TwinLayer,
    WidthReport,
    float64_twin,
    integer_network,
)
from stages.quantization.network import QuantisedLayer, logits_in_batches
from stages.quantization.ptq import quantise_activations_, quantise_weights_, uniform_plan

TOLERANCE = 1e-9  # of an image's largest |logit|
_UNIT = 2.0**-24  # half a unit in the last place of float32


@dataclass(frozen=True, kw_only=True)
class NetworkRun:
    """The integer network with one accumulator, over all test images.

    accumulator_bits    of all layers; None: wide enough
    widths              one report a layer
    differing_logits    of the float64 twin's, beyond rounding; logits  how many were compared
    differing_classes   images whose class is not that of the float32 fake-quantised network
    top1                share of the images that are classified rightly, 0..1
    """

    pair: str
    accumulator_bits: int | None
    overflow: Overflow
    widths: tuple[WidthReport, ...]
    logits: int
    differing_logits: int
    differing_classes: int
    top1: float

    @property
    def needed_bits(self) -> int:
        return max(report.needed_bits for report in self.widths)


@dataclass(frozen=True, kw_only=True)
class PairCheck:
    """One pair of formats: the run with a wide accumulator, the narrower ones, and the layers on their own.

    fake_top1         of the float32 fake-quantised network
    layer_outputs     outputs that were compared layer by layer; layer_violations  those beyond the rounding bound
    """

    wide: NetworkRun
    narrower: tuple[NetworkRun, ...]
    fake_top1: float
    layer_outputs: int
    layer_violations: int


def check_pair(
    prepared: fx.GraphModule,
    pair: str,
    statistics: Statistics,
    images: Tensor,
    labels: Tensor,
    config: IntegerInferenceConfig,
    *,
    advance: Callable[[str], None],
) -> PairCheck:
    """Quantise a copy of the network to a pair of formats, in all layers, and run it on codes.

    images, labels  test images, normalised NCHW float32, and their classes
    advance         called after each run with its text, for progress; see runs_of_pair
    """
    network = quantised(prepared, pair, statistics, granularity=config.granularity)
    fake = logits_in_batches(network, images, batch=config.batch).argmax(1)
    twin = logits_in_batches(float64_twin(network), images.double(), batch=config.batch)

    def measure(bits: int | None, overflow: Overflow) -> NetworkRun:
        integer, counters = integer_network(network, accumulator_bits=bits, overflow=overflow)
        logits = logits_in_batches(integer.double(), images.double(), batch=config.batch)
        classes = logits.argmax(1)
        advance(f"{pair} {bits or 'wide'} {overflow}")
        return NetworkRun(
            pair=pair,
            accumulator_bits=bits,
            overflow=overflow,
            widths=tuple(counter.report() for counter in counters.values()),
            logits=logits.numel(),
            differing_logits=differing_logits(logits, twin),
            differing_classes=int((classes != fake).sum()),
            top1=(classes == labels).double().mean().item(),
        )

    wide = measure(None, "wrap")
    outputs, violations = compare_layers(network, images[: config.layer_images], batch=config.batch)
    narrow = [max(wide.needed_bits - less, 2) for less in config.narrower_bits]
    return PairCheck(
        wide=wide,
        narrower=tuple(measure(bits, overflow) for bits in narrow for overflow in OVERFLOWS),
        fake_top1=(fake == labels).double().mean().item(),
        layer_outputs=outputs,
        layer_violations=violations,
    )


def runs_of_pair(config: IntegerInferenceConfig) -> int:
    """How often check_pair calls `advance`."""
    return 1 + len(OVERFLOWS) * len(config.narrower_bits)


def quantised(
    prepared: fx.GraphModule, pair: str, statistics: Statistics, *, granularity: str
) -> fx.GraphModule:
    """A copy with one pair of formats in all layers, rounded to nearest with abs-max weight scales."""
    network, technique = copy.deepcopy(prepared), Technique(granularity=granularity)
    plan = uniform_plan(network, *parse_pair(pair), edge_format=None)
    quantise_weights_(network, plan, technique, {}, rounding_steps=0)
    quantise_activations_(network, plan, technique, statistics, signs="signed")
    return network


def differing_logits(found: Tensor, expected: Tensor) -> int:
    """Logits (n, classes) float64 that differ by more than TOLERANCE of the image's largest |expected logit|."""
    largest = expected.abs().amax(1, keepdim=True)
    return int(((found - expected).abs() > TOLERANCE * largest).sum())


@torch.inference_mode()
def compare_layers(network: fx.GraphModule, images: Tensor, *, batch: int) -> tuple[int, int]:
    """(outputs compared, outputs beyond rounding_bound) over all layers, each on the float32 network's own input."""
    integer, _ = integer_network(network)
    twin = float64_twin(network)
    compared = violations = 0

    def see(name: str, layer: QuantisedLayer, x: Tensor, y: Tensor) -> None:
        nonlocal compared, violations
        reference = twin.get_submodule(name)
        if isinstance(reference, TwinLayer):
            error = (integer.get_submodule(name)(x).double() - y.double()).abs()
            violations += int((error > rounding_bound(reference, x)).sum())
            compared += error.numel()

    with output_hooks(network, see):
        for part in images.split(batch):
            network(part)
    return compared, violations


def rounding_bound(twin: TwinLayer, x: Tensor) -> Tensor:
    """Largest error of a float32 output: gamma_m times the sum of |w||x| and |bias| (Higham 2002, section 3.1).

    A product meets m = n + 4 roundings: of both operands after scaling, of itself, of n additions in any order (the
    bias is one), and of the integer path's output to float32.
    """
    m = twin.operands.length + 4
    return m * _UNIT / (1 - m * _UNIT) * twin.magnitude(x)


def controls(checks: Mapping[str, PairCheck], config: IntegerInferenceConfig) -> dict[str, float]:
    """What stands beside the count of differing logits, over all pairs."""
    found = {
        f"first_overflow_bits_{pair}": float(check.wide.needed_bits - 1) for pair, check in checks.items()
    }
    found["layer_violations"] = float(sum(check.layer_violations for check in checks.values()))
    found["layer_outputs"] = float(sum(check.layer_outputs for check in checks.values()))
    found["classes_unlike_float32"] = float(sum(check.wide.differing_classes for check in checks.values()))
    for i, less in enumerate(config.narrower_bits):
        # the least over the pairs: with too narrow an accumulator every one of them must differ
        runs = [check.narrower[i * len(OVERFLOWS)] for check in checks.values()]
        found[f"least_differing_logits_{less}_bits_narrower"] = float(
            min(run.differing_logits for run in runs)
        )
    return found
