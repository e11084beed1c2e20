"""What the float network's layers see on calibration images: ranges, samples, Gram matrices, output means."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, fx, nn

from stages.lib.core.errors import InputError
from stages.lib.nets.graph import pad_input
from stages.quantization.network import QuantisedLayer, float_network_, im2col, layers

# values of a layer's input that its least-squares scale is found on, and columns behind its Gram matrix
SAMPLE = 2**16
COLUMNS = 2**15


@dataclass(frozen=True, kw_only=True)
class InputStatistics:
    """What calibration saw at a layer's input.

    maximum, threshold  the largest |x| and the percentile of |x|
    negative            whether any value was below zero
    channel_maximum     (in,) largest |x| of each channel
    sample              (about SAMPLE,) values spread evenly over images and positions
    """

    maximum: float
    threshold: float
    negative: bool
    channel_maximum: Tensor
    sample: Tensor


@dataclass(frozen=True, kw_only=True)
class ReconstructionTarget:
    """What a layer should give back after rounding.

    gram         (groups, K, K) sum of x x^T over about COLUMNS columns of the layer's im2col input; None: not asked for
    output_mean  (out,) mean of the layer's output over images and positions
    """

    gram: Tensor | None
    output_mean: Tensor


@torch.inference_mode()
def calibrate(
    prepared: fx.GraphModule, images: Tensor, *, percentile: float, batch: int
) -> dict[str, InputStatistics]:
    """Statistics of the inputs of all layers over these images (NCHW, normalised); puts the network back to float."""
    float_network_(prepared)
    observers = {name: _InputObserver(percentile, images=len(images)) for name in layers(prepared)}

    def see(name: str, layer: QuantisedLayer, x: Tensor) -> None:
        observers[name].see(layer.smoothed(x), layer.channel_dim)

    with _input_hooks(prepared, see):
        for part in images.split(batch):
            prepared(part)
    return {name: observer.statistics() for name, observer in observers.items()}


@torch.inference_mode()
def reconstruction_targets(
    prepared: fx.GraphModule, images: Tensor, *, batch: int, gram: bool
) -> dict[str, ReconstructionTarget]:
    """What each layer computes on these images in the float network; puts the network back to float."""
    float_network_(prepared)
    found = layers(prepared)
    grams: dict[str, Tensor] = {}
    sums: dict[str, Tensor] = {}
    counts = dict.fromkeys(found, 0)

    def see_output(name: str, layer: QuantisedLayer, x: Tensor, y: Tensor) -> None:
        over = [d for d in range(y.dim()) if d != layer.channel_dim % y.dim()]
        sums[name] = sums.get(name, 0) + y.double().sum(over)
        counts[name] += y.numel() // y.shape[layer.channel_dim]
        if gram:
            part, _ = input_gram(layer.layer, layer.smoothed(x), columns=COLUMNS * len(x) // len(images))
            grams[name] = part + grams.get(name, 0)

    with output_hooks(prepared, see_output):
        for part in images.split(batch):
            prepared(part)
    return {
        name: ReconstructionTarget(gram=grams.get(name), output_mean=(sums[name] / counts[name]).float())
        for name in found
    }


def input_gram(layer: nn.Conv2d | nn.Linear, x: Tensor, *, columns: int) -> tuple[Tensor, int]:
    """(groups, K, K) Gram matrix of the layer's im2col input and the number of columns in it.

    columns  about how many of them are taken, evenly; K = in / groups * kernel height * kernel width, as in the
             flattened weight
    """
    if isinstance(layer, nn.Linear):
        rows = x.reshape(-1, x.shape[-1])
        rows = rows[:: max(1, len(rows) // max(columns, 1))]
        return (rows.T @ rows)[None], len(rows)
    total, n = torch.zeros(()), 0
    for image in x.split(1):  # one at a time: im2col of a whole batch can take gigabytes
        unfolded = im2col(layer, pad_input(layer, image))
        step = max(1, unfolded.shape[-1] * len(x) // max(columns, 1))
        part = unfolded[..., n % step :: step]
        total = total + part @ part.mT
        n += part.shape[-1]
    return total, n


@contextmanager
def output_hooks(
    prepared: fx.GraphModule, see: Callable[[str, QuantisedLayer, Tensor, Tensor], Tensor | None]
) -> Iterator[None]:
    """Call `see(name, layer, input, output)` at each layer; what it returns replaces the output."""

    def hook(name: str, layer: QuantisedLayer, inputs: tuple[Tensor], output: Tensor) -> Tensor | None:
        return see(name, layer, inputs[0], output)

    handles = [layer.register_forward_hook(partial(hook, name)) for name, layer in layers(prepared).items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _input_hooks(
    prepared: fx.GraphModule, see: Callable[[str, QuantisedLayer, Tensor], None]
) -> Iterator[None]:
    def hook(name: str, layer: QuantisedLayer, inputs: tuple[Tensor]) -> None:
        see(name, layer, inputs[0])

    handles = [
        layer.register_forward_pre_hook(partial(hook, name)) for name, layer in layers(prepared).items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _InputObserver:
    """InputStatistics over all images; the percentile exactly, keeping only the largest values.

    The percentile lies between two order statistics near the top (linear interpolation, as in numpy), so the
    values below the running cut are never stored.
    """

    def __init__(self, percentile: float, *, images: int) -> None:
        self._percentile, self._images = percentile, images
        self._kept: Tensor | None = None
        self._total = self._keep = 0
        self._negative = False
        self._channel_maximum: Tensor | None = None
        self._samples: list[Tensor] = []

    def see(self, x: Tensor, channel_dim: int) -> None:
        magnitude = x.abs()
        over = [d for d in range(x.dim()) if d != channel_dim % x.dim()]
        largest = magnitude.amax(over)
        seen = self._channel_maximum
        self._channel_maximum = largest if seen is None else torch.maximum(seen, largest)
        self._negative = self._negative or bool(x.min() < 0)
        self._sample(x)
        self._keep_largest(magnitude.flatten(), per_image=x[0].numel())

    def statistics(self) -> InputStatistics:
        if self._kept is None or self._channel_maximum is None:
            raise InputError("there are no calibration images; set calibration_images to 1 or more")
        rank = self._rank()
        # _kept is sorted downwards: its last element has rank int(rank), the one before it the next
        low, high = self._kept[-1].item(), self._kept[max(len(self._kept) - 2, 0)].item()
        return InputStatistics(
            maximum=self._channel_maximum.max().item(),
            threshold=low + (high - low) * (rank - int(rank)),
            negative=self._negative,
            channel_maximum=self._channel_maximum,
            sample=torch.cat(self._samples),
        )

    def _keep_largest(self, magnitude: Tensor, *, per_image: int) -> None:
        if self._kept is None:
            self._total = per_image * self._images
            self._keep = self._total - int(self._rank())
            self._kept = magnitude[:0]
        if len(self._kept) == self._keep:
            magnitude = magnitude[magnitude > self._kept[-1]]
        merged = torch.cat([self._kept, magnitude])
        self._kept = merged.topk(min(self._keep, len(merged))).values

    def _sample(self, x: Tensor) -> None:
        values = x.reshape(-1)
        wanted = max(1, SAMPLE * len(x) // self._images)
        # an odd step does not keep meeting the same channel
        step = max(1, len(values) // wanted) | 1
        self._samples.append(values[::step].clone())

    def _rank(self) -> float:
        return self._percentile / 100 * (self._total - 1)


Statistics = Mapping[str, InputStatistics]
Targets = Mapping[str, ReconstructionTarget]
