"""Formats layer by layer under a budget: sensitivities first, then an exact choice, then what it is worth.

The sensitivity of a layer to a pair of formats is the divergence from the float network when this layer alone is
quantised. Sensitivities are taken to add up, which makes the choice a multiple-choice knapsack; it is solved exactly
by integer programming. What the additive assumption is worth is seen from the divergence of the whole network.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from torch import Tensor, fx

from stages.lib.core.errors import InputError
from stages.lib.numerics.formats import Format
from stages.quantization.calibration import output_hooks
from stages.quantization.config import MixedConfig, Technique
from stages.quantization.memory import weight_bits
from stages.quantization.network import QuantisedLayer, float_network_, layers, logits_in_batches
from stages.quantization.ptq import Calibrated, plan_of, quantise_
from stages.quantization.sweep import divergence


@dataclass(frozen=True, kw_only=True)
class Sensitivities:
    """loss (layers, pairs) in nats, rows and columns in the order of the names."""

    layers: tuple[str, ...]
    pairs: tuple[str, ...]
    loss: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One assignment of pairs to layers and what it gives.

    kind            uniform or mixed; cost  what the budget counts ("" for uniform); budget  the uniform pair that sets it
    spent           by kind of cost
    selection_loss  divergence of the whole network on selection images, nats
    classes         (n,) of the test images
    """

    kind: str
    cost: str
    budget: str
    pairs: dict[str, str]
    spent: dict[str, float]
    predicted_loss: float
    selection_loss: float
    classes: np.ndarray


def search(
    calibrated: Calibrated,
    selection: Tensor,
    test: Tensor,
    config: MixedConfig,
    technique: Technique,
    luts: Mapping[str, float],
    *,
    advance: Callable[[str], None],
) -> Iterator[Trial]:
    """Every uniform candidate, then the best mixed formats for every cost and budget.

    selection  images that nothing was calibrated with, and no test images; test  images that decide nothing here
    luts       pair -> look-up tables of its operator
    """
    network, names = calibrated.network, config.candidates
    float_network_(network)
    wanted = logits_in_batches(network, selection, batch=config.batch)
    sensitivity = sensitivities(calibrated, selection, config, technique, advance=advance)
    costs = {"bits": bit_costs(network, names, technique)}
    if "lut" in config.costs:
        costs["lut"] = lut_costs(layer_macs(network, test[:1]), names, luts)
    rows = np.arange(len(sensitivity.layers))

    def trial(kind: str, cost: str, budget: str, taken: np.ndarray) -> Trial:
        pairs = {layer: names[i] for layer, i in zip(sensitivity.layers, taken, strict=True)}
        quantise_(calibrated, plan_of(pairs), technique, signs="signed", rounding_steps=config.rounding_steps)
        advance(f"{kind} {cost} {budget}")
        return Trial(
            kind=kind,
            cost=cost,
            budget=budget,
            pairs=pairs,
            spent={name: float(table[rows, taken].sum()) for name, table in costs.items()},
            predicted_loss=float(sensitivity.loss[rows, taken].sum()),
            selection_loss=divergence(wanted, logits_in_batches(network, selection, batch=config.batch)),
            classes=logits_in_batches(network, test, batch=config.batch).argmax(1).cpu().numpy(),
        )

    for i, name in enumerate(names):
        yield trial("uniform", "", name, np.full(len(rows), i))
    for cost in config.costs:
        for budget in config.budgets:
            allowed = costs[cost][:, names.index(budget)].sum()
            yield trial("mixed", cost, budget, choose_formats(sensitivity, costs[cost], budget=allowed))


@torch.inference_mode()
def sensitivities(
    calibrated: Calibrated,
    selection: Tensor,
    config: MixedConfig,
    technique: Technique,
    *,
    advance: Callable[[str], None],
) -> Sensitivities:
    """Quantise one layer at a time, with each candidate, and compare the logits with the float network's.

    Biases are not corrected: that would spread one layer's error over the others.
    """
    prepared, pairs, batch = calibrated.network, config.candidates, config.batch
    alone = replace(technique, bias_correction=False)
    float_network_(prepared)
    wanted = logits_in_batches(prepared, selection, batch=batch)
    found = layers(prepared)
    loss = np.zeros((len(found), len(pairs)))
    for column, pair in enumerate(pairs):
        plan = plan_of(dict.fromkeys(found, pair))
        quantise_(calibrated, plan, alone, signs="signed", rounding_steps=config.rounding_steps)
        quantised = {
            name: (layer.layer.weight.clone(), layer.activation_format) for name, layer in found.items()
        }
        for layer in found.values():
            _set(layer, layer.float_weight, None)
        for row, (name, layer) in enumerate(found.items()):
            _set(layer, *quantised[name])
            loss[row, column] = divergence(wanted, logits_in_batches(prepared, selection, batch=batch))
            _set(layer, layer.float_weight, None)
        advance(pair)
    float_network_(prepared)
    return Sensitivities(layers=tuple(found), pairs=tuple(pairs), loss=loss)


def choose_formats(sensitivity: Sensitivities, cost: np.ndarray, *, budget: float) -> np.ndarray:
    """(layers,) index of the pair of each layer, of least summed sensitivity at a cost of at most the budget (exact).

    cost  (layers, pairs)
    Raises InputError where even the cheapest pairs cost more.
    """
    n_layers, n_pairs = sensitivity.loss.shape
    least = cost.min(1).sum()
    if least > budget * (1 + 1e-9):
        raise InputError(
            f"the budget is {budget:g}, and the cheapest formats cost {least:g}; raise it or add cheaper formats"
        )
    one_each = np.kron(np.eye(n_layers), np.ones(n_pairs))
    # scaled, since the solver's tolerances are absolute
    scale = max(sensitivity.loss.max(), 1e-12)
    result = milp(
        (sensitivity.loss / scale).ravel(),
        integrality=np.ones(n_layers * n_pairs),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(one_each, 1, 1),
            LinearConstraint(cost.reshape(1, -1) / budget, -np.inf, 1 + 1e-9),
        ],
    )
    assert result.success, result.message  # the cheapest pairs are a solution
    return result.x.reshape(n_layers, n_pairs).argmax(1)


def bit_costs(prepared: fx.GraphModule, pairs: Sequence[str], technique: Technique) -> np.ndarray:
    """(layers, pairs) bits of a layer's weights and scales."""
    found = layers(prepared)
    costs = np.zeros((len(found), len(pairs)))
    for column, pair in enumerate(pairs):
        plan = plan_of(dict.fromkeys(found, pair))
        for row, name in enumerate(found):
            costs[row, column] = weight_bits(prepared, {name: plan[name]}, technique)
    return costs


def lut_costs(macs: Mapping[str, int], pairs: Sequence[str], luts: Mapping[str, float]) -> np.ndarray:
    """(layers, pairs) look-up tables of a layer's operator, weighted by the layer's share of all MACs.

    The sum is the mean cost of a lane in a machine that gives each layer lanes of its own in proportion to its work.

    macs  layer -> multiply-accumulates of one image; luts  pair -> look-up tables of its operator
    """
    if missing := [pair for pair in pairs if pair not in luts]:
        raise InputError(
            f"no operator of {missing[0]} was synthesised; add it to hardware.macs, or leave it out"
        )
    share = np.array(list(macs.values()), dtype=float)
    return np.outer(share / share.sum(), [luts[pair] for pair in pairs])


@torch.inference_mode()
def layer_macs(prepared: fx.GraphModule, image: Tensor) -> dict[str, int]:
    """layer -> multiply-accumulates for one image (1, ...)."""
    macs: dict[str, int] = {}

    def see(name: str, layer: QuantisedLayer, x: Tensor, y: Tensor) -> None:
        macs[name] = macs.get(name, 0) + y.numel() * layer.float_weight[0].numel()

    with output_hooks(prepared, see):
        prepared(image)
    return macs


@torch.no_grad()
def _set(layer: QuantisedLayer, weight: Tensor, activation_format: Format | None) -> None:
    layer.layer.weight.copy_(weight)
    layer.activation_format = activation_format
