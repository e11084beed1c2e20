"""How figures show the two families of formats, and what a model's score is called."""

import pandas as pd

from stages.lib.core.plots import PALETTE
from stages.quantization.results import AGREEMENT_SETS

COLOURS = {"minifloat": PALETTE[0], "integer": PALETTE[1]}
MARKERS = {"minifloat": "o", "integer": "s"}


def score_label(table: pd.DataFrame) -> tuple[str, float]:
    """Name of one model's score, and the float network's, 0..1."""
    if table["dataset"].iloc[0] in AGREEMENT_SETS:
        return "agreement with float32", 1.0
    return "top-1", float(table["float_top1"].iloc[0])
