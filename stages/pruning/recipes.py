"""What one arm of the study does: pattern, scores and order. All arms share data, rounds and tuning."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from stages.pruning.config import StudyConfig
from stages.pruning.masks import Pattern

FINE_GROUP = 16  # n:m alone reaches a sparsity of 1 - n/16


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One way to prune.

    kind          "pattern" (n:m and blocks), "unstructured" or "channel" (whole channels, removed)
    pattern       of kind "pattern"; blocks: whether blocks are pruned besides n:m
    score         of weights, see saliency.SCORES; block_score of blocks, by default the same
    order         of block scores: see masks.ORDERS
    layout        of the matrices: see network.LAYOUTS
    regrow        dense weights go on learning behind their masks, which are drawn anew (SR-STE, Zhou et al. 2021)
    other_classes saliency from the classes that the user does not want, as a control
    """

    kind: str = "pattern"
    pattern: Pattern = field(default_factory=Pattern)
    blocks: bool = True
    score: str = "taylor"
    block_score: str = ""
    order: str = "correct"
    layout: str = "channels"
    normalisation: str = "mean"
    floor: float = 0.05
    regrow: bool = False
    other_classes: bool = False


def recipe_of(arm: str, sparsity: float, config: StudyConfig) -> Recipe:
    hybrid = Recipe(
        pattern=Pattern(n=config.n, m=config.m, block=config.block),
        normalisation=config.normalisation,
        floor=config.floor,
    )
    fine = max(1, round(FINE_GROUP * (1 - sparsity)))
    recipes: Mapping[str, Recipe] = {
        "hybrid": hybrid,
        "hybrid_scrambled": replace(hybrid, order="scrambled_as_released"),
        "hybrid_random": replace(hybrid, order="random"),
        "hybrid_magnitude": replace(hybrid, score="magnitude"),
        "hybrid_fisher": replace(hybrid, score="fisher"),
        "hybrid_random_scores": replace(hybrid, score="random"),
        "hybrid_other_classes": replace(hybrid, other_classes=True),
        "hybrid_sr_ste": replace(hybrid, regrow=True),
        "as_released": replace(
            hybrid, order="scrambled_as_released", block_score="released", layout="flat_oihw",
            normalisation="sum", floor=0.0,
        ),
        "n_m": replace(hybrid, pattern=Pattern(n=fine, m=FINE_GROUP, block=config.block), blocks=False),
        "block": replace(hybrid, pattern=Pattern(n=config.m, m=config.m, block=config.block)),
        "unstructured": replace(hybrid, kind="unstructured"),
        "channel": replace(hybrid, kind="channel"),
    }  # fmt: skip
    return recipes[arm]
