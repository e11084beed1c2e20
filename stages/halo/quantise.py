"""Quantise the linear layers of a language model as a row says, and count what is stored."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.halo.rows import Row
from stages.halo.sensitivity import Sensitivity, exceptional_mask, linear_layers
from stages.lib.core.seeds import derive_seed
from stages.lib.nets.graph import set_module_
from stages.lib.numerics.bit_packing import bits_for
from stages.lib.numerics.codebooks import (
    code_book,
    fitted_scales,
    nearest,
    weighted_centroids,
)
from stages.lib.numerics.gptq import gptq
from stages.lib.numerics.tiles import spread, to_tiles

SCALE_BITS = 16
SPARSE_BITS = 8
PACKED_BITS = {9: 10 / 3}  # three indices of nine values in ten bits


@dataclass(kw_only=True)
class Matrix:
    """What stands for one weight (outputs, inputs).

    values      (outputs, inputs) float32 that the layer multiplies by, the exceptional weights included
    codes       (outputs, inputs) int8 that the array multiplies by; none for floats and k-means
    scales      (R, C) of the tiles of a code book, low (R, C) whether a tile takes the low book; none for other methods
    sparse      boolean (outputs, inputs) of exceptional weights, sparse_codes (n,) int8 of them, in the order of rows,
                and sparse_scales (outputs,)
    multiplier  (inputs,) by which inputs are multiplied first, or none (SmoothQuant)
    bits        that all of it takes
    """

    values: Tensor
    bits: float
    codes: Tensor | None = None
    scales: Tensor | None = None
    low: Tensor | None = None
    sparse: Tensor | None = None
    sparse_codes: Tensor | None = None
    sparse_scales: Tensor | None = None
    multiplier: Tensor | None = None


@dataclass(kw_only=True)
class Quantised:
    """A model whose linear layers are QuantisedLinear, what stands for each, and the books by class (low, high)."""

    model: Any
    matrices: dict[str, Matrix]
    books: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def weights(self) -> int:
        return sum(m.values.numel() for m in self.matrices.values())

    @property
    def bits_per_weight(self) -> float:
        """With scales, indices, classes and the sparse part."""
        return sum(m.bits for m in self.matrices.values()) / self.weights

    @property
    def sparse_share(self) -> float:
        return sum(int(m.sparse.sum()) for m in self.matrices.values() if m.sparse is not None) / self.weights

    def code_counts(self, tile: int) -> dict[str, Tensor]:
        """How often each int8 code, from -128 on, stands in low tiles and elsewhere, (256,) each."""
        found = torch.zeros(512, dtype=torch.int64)
        for m in self.matrices.values():
            if m.codes is not None:
                at = m.codes.long() + 128
                at += 256 if m.low is None else 256 * (~spread(m.low, tile, m.codes.shape)).long()
                found += torch.bincount(at.flatten(), minlength=512).cpu()
        return {"low": found[:256], "high": found[256:]}

    @property
    def low_share(self) -> float:
        """Of tiles."""
        classes = [m.low.flatten() for m in self.matrices.values() if m.low is not None]
        return float(torch.cat(classes).float().mean()) if classes else 0.0


def on_cpu(matrix: Matrix) -> Matrix:
    return Matrix(**{k: v.cpu() if isinstance(v, Tensor) else v for k, v in vars(matrix).items()})


class QuantisedLinear(nn.Module):
    """Inputs rounded to so many bits with a scale for each token, times quantised weights.

    The product is taken of the inputs' integer codes, which bfloat16 holds exactly, and scaled afterwards.
    """

    def __init__(self, layer: nn.Linear, matrix: Matrix, activations: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(matrix.values, requires_grad=False)
        self.bias, self.multiplier = layer.bias, matrix.multiplier
        self.largest = 2 ** (activations - 1) - 1 if activations else 0

    def forward(self, x: Tensor) -> Tensor:
        if self.multiplier is not None:
            x = x * self.multiplier
        if not self.largest:
            return F.linear(x, self.weight, self.bias)
        scale = x.detach().float().abs().amax(-1, keepdim=True).clamp(min=1e-12) / self.largest
        y = F.linear((x / scale).round(), self.weight) * scale
        return y if self.bias is None else y + self.bias


def quantise_language_model(
    model: Any,
    sensitivity: Mapping[str, Sensitivity],
    row: Row,
    sets: Mapping[str, tuple[int, ...]],
    *,
    seed: int = 0,
) -> Quantised:
    """Put quantised layers in the place of the model's linear layers (the model is changed; restore puts them back).

    sensitivity  of `gather`;  sets  of `rows.value_sets`
    """
    layers = linear_layers(model)
    weights = {name: _weight(layer) for name, layer in layers.items()}
    if row.method == "float":
        return Quantised(
            model=model,
            matrices={n: Matrix(values=w, bits=32.0 * w.numel()) for n, w in weights.items()},
        )
    classes = low_tiles(sensitivity, row, seed) if row.method == "code_book" else {}
    books = {"low": sets[row.low], "high": sets[row.high]} if row.method == "code_book" else {}
    matrices = {}
    for name, layer in layers.items():
        matrices[name] = quantise_matrix(weights[name], sensitivity[name], row, books, classes.get(name))
        set_module_(model, name, QuantisedLinear(layer, matrices[name], row.activations))
    return Quantised(model=model, matrices=matrices, books=books)


def restore(model: Any, layers: Mapping[str, nn.Linear]) -> None:
    """The layers that `linear_layers` named before."""
    for name, layer in layers.items():
        set_module_(model, name, layer)


def low_tiles(sensitivity: Mapping[str, Sensitivity], row: Row, seed: int) -> dict[str, Tensor]:
    """Name -> boolean (R, C): the `low_share` of all tiles of the model that are ranked as the least sensitive.

    A tile's sensitivity is its mean squared gradient (HALO, notes 2.2).
    """
    means = {}
    for name, found in sensitivity.items():
        inside = to_tiles(torch.ones_like(found.fisher), row.tile).sum((2, 3))
        means[name] = to_tiles(found.fisher, row.tile).sum((2, 3)) / inside
    flat = torch.cat([m.flatten() for m in means.values()])
    if row.ranking == "random":
        chance = torch.Generator().manual_seed(derive_seed(seed, "random tiles") % 2**31)
        order = torch.randperm(len(flat), generator=chance)
    else:
        order = flat.argsort(descending=row.ranking == "inverse", stable=True)
    low = torch.zeros_like(flat, dtype=torch.bool)
    low[order[: round(row.low_share * len(flat))].to(flat.device)] = True
    parts = low.split([m.numel() for m in means.values()])
    return {name: part.view(mean.shape) for (name, mean), part in zip(means.items(), parts, strict=True)}


def quantise_matrix(
    weight: Tensor,
    found: Sensitivity,
    row: Row,
    books: Mapping[str, tuple[int, ...]],
    low: Tensor | None,
) -> Matrix:
    if row.method == "uniform":
        return _uniform(weight, found, row)
    apart = exceptional_mask(weight, found.fisher, row.exceptional)
    dense = weight.masked_fill(apart, 0)
    codes, scales = _sparse_codes(weight, apart)
    kept = {"sparse": apart, "sparse_codes": codes[apart], "sparse_scales": scales[:, 0]}
    bits = sparse_bits(apart)
    if row.method == "kmeans":
        centroids = weighted_centroids(dense, found.fisher.masked_fill(apart, 0), 2**row.bits).half().float()
        at = torch.searchsorted((centroids[:, 1:] + centroids[:, :-1]) / 2, dense)
        values = torch.where(apart, codes * scales, centroids.gather(1, at))
        bits += row.bits * weight.numel() + SCALE_BITS * centroids.numel()
        return Matrix(values=values, bits=bits, **kept)
    assert low is not None  # code_book has tiles
    tile_scales = _tile_scales(dense, row, books, low)
    scale = spread(tile_scales, row.tile, weight.shape)
    is_low = spread(low, row.tile, weight.shape)
    low_book, high_book = (code_book(books[key]).to(weight.device) for key in ("low", "high"))

    one_book = {True: low_book, False: high_book}.get(bool(low.all()) if low.all() or not low.any() else None)

    def on_book(x: Tensor, scale: Tensor, is_low: Tensor) -> Tensor:
        z = x / scale
        if one_book is not None:
            return one_book[nearest(z, one_book)]
        return torch.where(is_low, low_book[nearest(z, low_book)], high_book[nearest(z, high_book)])

    if row.compensated:
        exact = codes * scales

        def round_columns(x: Tensor, columns: Tensor) -> Tensor:
            values = on_book(x, scale[:, columns], is_low[:, columns]) * scale[:, columns]
            # exceptional weights are there already: what the dense part would be is no question
            return torch.where(apart[:, columns], exact[:, columns], values)

        values = gptq(weight, found.gram, round_columns, factor=found.inverse_factor())
        integers = torch.where(apart, 0, values / scale).round()
    else:
        integers = on_book(dense, scale, is_low).masked_fill(apart, 0)
    bits += index_bits(books, is_low) + low.numel() * (SCALE_BITS + 1)
    return Matrix(
        values=torch.where(apart, codes * scales, integers * scale),
        codes=integers.to(torch.int8),
        scales=tile_scales,
        low=low,
        bits=bits,
        **kept,
    )


def _tile_scales(dense: Tensor, row: Row, books: Mapping[str, tuple[int, ...]], low: Tensor) -> Tensor:
    """(R, C) scale of each tile for the book of its class."""
    tiles = to_tiles(dense, row.tile)
    flat = tiles.reshape(-1, row.tile**2)
    scales = torch.ones(len(flat), device=flat.device)
    for name, chosen in (("low", low.flatten()), ("high", ~low.flatten())):
        if chosen.any():
            scales[chosen] = fitted_scales(
                flat[chosen], code_book(books[name]).to(flat.device), signs=row.signs
            )
    return stored(scales).view(low.shape)


def _uniform(weight: Tensor, found: Sensitivity, row: Row) -> Matrix:
    """Symmetric integers, a scale for each output or group of inputs; with smoothing, and GPTQ where asked."""
    multiplier, gram = None, found.gram
    if row.smooth:
        # inputs are divided by what the weights are multiplied by
        factor = found.input_range.clamp(min=1e-5) ** row.smooth
        factor /= weight.abs().amax(0).clamp(min=1e-5) ** (1 - row.smooth)
        factor = factor.clamp(min=1e-5)
        weight, multiplier = weight * factor, 1 / factor
        gram = gram * multiplier[:, None] * multiplier
    inputs = weight.shape[1]
    group = row.group or inputs
    largest = 2 ** (row.bits - 1) - 1
    padded = F.pad(weight, (0, -inputs % group)).view(len(weight), -1, group)
    scales = stored(padded.abs().amax(-1) / largest)
    scale = scales.repeat_interleave(group, 1)[:, :inputs]

    def round_columns(x: Tensor, columns: Tensor) -> Tensor:
        at = scale[:, columns]
        return (x / at).round().clamp(-largest, largest) * at

    if row.compensated:
        # smoothing changes what the layer reads
        factor = None if row.smooth else found.inverse_factor()
        values = gptq(weight, gram, round_columns, factor=factor)
    else:
        values = round_columns(weight, torch.arange(inputs))
    bits = row.bits * weight.numel() + SCALE_BITS * scales.numel()
    codes = (values / scale).round().to(torch.int8)
    return Matrix(values=values, bits=bits, codes=codes, multiplier=multiplier)


def _sparse_codes(weight: Tensor, apart: Tensor) -> tuple[Tensor, Tensor]:
    """Codes (outputs, inputs) of exceptional weights at 8 bits, 0 elsewhere, and scales (outputs, 1)."""
    kept = weight.masked_fill(~apart, 0)
    scales = kept.abs().amax(1, keepdim=True) / 127
    scales = stored(torch.where(scales > 0, scales, torch.ones_like(scales)))
    return (kept / scales).round().clamp(-127, 127).to(torch.int8), scales


def sparse_bits(apart: Tensor) -> float:
    """CSR: value and column of each weight, row pointers, a scale for each output."""
    outputs, inputs = apart.shape
    n = int(apart.sum())
    if not n:
        return 0.0
    return n * (SPARSE_BITS + bits_for(inputs)) + (outputs + 1) * bits_for(n + 1) + outputs * SCALE_BITS


def index_bits(books: Mapping[str, tuple[int, ...]], is_low: Tensor) -> float:
    """Of all weights; nine values are packed three to ten bits, others take whole bits."""
    n_low = int(is_low.sum())
    found = 0.0
    for name, n in (("low", n_low), ("high", is_low.numel() - n_low)):
        size = len(books[name])
        found += n * PACKED_BITS.get(size, bits_for(size))
    return found


def stored(scales: Tensor) -> Tensor:
    """Scales as they are kept, in half precision, and not 0."""
    half = scales.half()
    smallest = torch.full_like(half, torch.finfo(torch.float16).smallest_normal)
    return torch.where(half == 0, smallest, half).float()


def _weight(layer: nn.Linear) -> Tensor:
    return layer.weight.detach().float()
