"""What the claims on formats and techniques ask of the results: one number a calibration seed.

Each function takes the table of results.Results and returns seed -> value; scores are shares, 0..1. Formats are
chosen on images of the training split (results.chosen_formats), never on those that the score is of.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from stages.quantization.results import PLAIN, advantages, best_formats, quantised, seeded

BySeed = dict[int, float]
# a technique that leaves the weights' accuracy as it is, less noise: half a point
TIE = 0.005
# scales coarser than the plain ones, and the re-created defect, are controls and no techniques
NOT_TECHNIQUES = ("abs_max", "per_tensor", "learned_integer_ulp")
MINIFLOAT_WIDTHS = (4, 5, 6, 7, 8)
# the width at which techniques matter most, and which they are compared at
LOW_WIDTH = 4
# the technique and signs of Brevitas' published torchvision file, and its top-1 (the paper's notes, 6)
BREVITAS_TECHNIQUE, BREVITAS_SIGNS = "gptq_corrected", "unsigned_mantissa"
BREVITAS_TOP1 = {
    ("resnet18-imagenet", "INT8"): 0.69698,
    ("resnet18-imagenet", "INT6xINT8"): 0.69728,
    ("resnet18-imagenet", "INT4xINT8"): 0.68940,
    ("mobilenetv2-imagenet", "INT8"): 0.71536,
    ("mobilenetv2-imagenet", "INT6xINT8"): 0.70228,
    ("mobilenetv2-imagenet", "INT4xINT8"): 0.46204,
    ("vit-b-32-imagenet", "INT8"): 0.75890,
    ("vit-b-32-imagenet", "INT6xINT8"): 0.75930,
    ("vit-b-32-imagenet", "INT4xINT8"): 0.75528,
}


def drop_with_bits(table: pd.DataFrame) -> BySeed:
    """M0: score at the largest width less that at the smallest (best formats); the least over models and families."""
    rows = quantised(table, technique=PLAIN, signs="signed")
    rows = seeded(rows)
    # a model that further seeds see at one width only says nothing here
    rows = rows[rows.groupby(["model", "family"])["bits"].transform("nunique") > 1]
    best = best_formats(rows)[["model", "family", "bits", "format"]]
    drops: BySeed = {}
    for (_, _, seed), group in rows.merge(best).groupby(["model", "family", "seed"]):
        by_bits = group.set_index("bits")["score"]
        drop = float(by_bits[by_bits.index.max()] - by_bits[by_bits.index.min()])
        drops[int(seed)] = min(drop, drops.get(int(seed), np.inf))
    return drops


def minifloat_advantage(table: pd.DataFrame, *, signs: str = "signed", technique: str = PLAIN) -> BySeed:
    """M7: advantage of the chosen minifloat over the integer at 4 to 8 bits, mean over widths and models.

    A model that was run at fewer of these widths than others would count them alone: it is left to the controls.
    """
    rows = advantages(quantised(table, technique=technique, signs=signs))
    rows = rows[rows["bits"].isin(MINIFLOAT_WIDTHS)]
    widths = rows.groupby("model")["bits"].transform("nunique")
    return _by_seed(rows[widths == widths.max()])


def advantage_at_three_bits(table: pd.DataFrame) -> BySeed:
    """M8: the same at 3 bits, mean over models."""
    rows = advantages(quantised(table, technique=PLAIN, signs="signed"))
    return _by_seed(rows[rows["bits"] == 3])


def transformer_advantage(table: pd.DataFrame) -> BySeed:
    """M9: advantage at 4 to 8 bits on transformers less that on convolutional networks of the same data set."""
    rows = advantages(quantised(table, technique=PLAIN, signs="signed"))
    rows = rows[rows["bits"].isin(MINIFLOAT_WIDTHS)]
    is_vit = rows["net"].str.startswith("vit.")
    rest = rows[~is_vit & rows["dataset"].isin(rows[is_vit]["dataset"])]
    return _difference(_by_seed(rows[is_vit]), _by_seed(rest))


def sign_dependence(table: pd.DataFrame, *, transformers: bool = False) -> BySeed:
    """M10: advantage at 4 bits with signs on both sides, less that of a signed minifloat over the integer that drops
    its sign behind ReLU (the public library's present convention), mean over the convolutional networks.
    """
    rows = quantised(table, technique=PLAIN)
    rows = rows[(rows["bits"] == LOW_WIDTH) & (rows["net"].str.startswith("vit.") == transformers)]
    signed = rows[rows["signs"] == "signed"]
    public = pd.concat(
        [
            signed[signed["family"] == "minifloat"],
            rows[(rows["family"] == "integer") & (rows["signs"] == "unsigned_mantissa")].assign(
                signs="signed"
            ),
        ]
    )
    swept = rows[rows["signs"] == "unsigned_mantissa"]["model"].unique()
    both = [_by_seed(advantages(part[part["model"].isin(swept)])) for part in (signed, public)]
    return _difference(*both)


def best_of_inflation(table: pd.DataFrame) -> BySeed:
    """M13: score of the technique that is best on the test images less that of the one chosen on training images.

    At 4 bits, mean over models and formats, the smaller of the two families.
    """
    rows = _techniques_at_low_width(table)
    keys = ["family", "model", "format", "seed"]
    chosen = rows.loc[rows.groupby(keys)["selection_loss"].idxmin()].set_index(keys)["score"]
    gain = (rows.groupby(keys)["score"].max() - chosen).groupby(["family", "seed"]).mean()
    return {int(s): float(v) for s, v in gain.groupby("seed").min().items()}


def binade_gain(table: pd.DataFrame, *, family: str = "minifloat", column: str = "layer_error") -> BySeed:
    """M14: share by which learned rounding's layer error is smaller from the start of each binade than from the public
    code's, mean over models and formats; with another column the plain difference (ours less theirs).
    """
    rows = quantised(table[table["family"] == family])
    keys = ["model", "format", "seed"]
    ours, theirs = (
        rows[rows["technique"] == name].set_index(keys)[column].astype(float)
        for name in ("learned", "learned_integer_ulp")
    )
    ours = ours.reindex(theirs.index)
    gain = 1 - ours / theirs if column == "layer_error" else ours - theirs
    return {int(s): float(v) for s, v in gain.groupby("seed").mean().items()}


def failing_techniques(table: pd.DataFrame) -> BySeed:
    """M17: techniques that fall more than TIE behind plain abs-max at 4 bits on two models of three or more."""
    wins = technique_wins(table)
    return {int(seed): float((group["share"] < 2 / 3 - 1e-9).sum()) for seed, group in wins.groupby("seed")}


def technique_wins(table: pd.DataFrame) -> pd.DataFrame:
    """technique, seed, share (of models on which it beats or ties abs-max at 4 bits, mean over formats), gain (mean)."""
    rows = _techniques_at_low_width(table)
    scores = rows.groupby(["technique", "seed", "model"])["score"].mean().reset_index()
    plain = scores[scores["technique"] == "abs_max"][["seed", "model", "score"]]
    joined = scores.merge(plain, on=["seed", "model"], suffixes=("", "_plain"))
    joined = joined.assign(gain=joined["score"] - joined["score_plain"])
    joined = joined.assign(holds=(joined["gain"] >= -TIE).astype(float))
    joined = joined[~joined["technique"].isin(NOT_TECHNIQUES)]
    return (
        joined.groupby(["technique", "seed"])
        .agg(share=("holds", "mean"), gain=("gain", "mean"))
        .reset_index()
    )


def gap_to_brevitas(table: pd.DataFrame) -> BySeed:
    """M19: largest difference in top-1 from Brevitas' integer rows, either way."""
    return {int(seed): float(rows["gap"].abs().max()) for seed, rows in brevitas_gaps(table).groupby("seed")}


def brevitas_gaps(table: pd.DataFrame) -> pd.DataFrame:
    """model, format, seed, gap: our top-1 less Brevitas', for the rows that its file has."""
    rows = quantised(table, technique=BREVITAS_TECHNIQUE, signs=BREVITAS_SIGNS)
    theirs = [BREVITAS_TOP1.get(key, np.nan) for key in zip(rows["model"], rows["format"], strict=True)]
    return rows.assign(gap=rows["score"] - theirs).dropna(subset=["gap"])[["model", "format", "seed", "gap"]]


def resampled(
    statistic: Callable[[pd.DataFrame], Mapping[int, float]], tables: list[pd.DataFrame]
) -> list[float]:
    """The statistic's mean over seeds for each table of a bootstrap."""
    return [float(np.mean(list(statistic(table).values()))) for table in tables]


def _techniques_at_low_width(table: pd.DataFrame) -> pd.DataFrame:
    """Rows at 4 bits of the models and formats that plain abs-max and other techniques were run with."""
    rows = seeded(quantised(table, signs="signed"))
    rows = rows[rows["bits"] == LOW_WIDTH]
    plain = rows[rows["technique"] == "abs_max"][["model", "format"]].drop_duplicates()
    return rows.merge(plain, on=["model", "format"])


def _by_seed(rows: pd.DataFrame) -> BySeed:
    """Mean over widths within a model, then over models."""
    by_model = rows.groupby(["seed", "model"])["advantage"].mean()
    return {int(s): float(v) for s, v in by_model.groupby("seed").mean().items()}


def _difference(ours: BySeed, theirs: BySeed) -> BySeed:
    return {seed: ours[seed] - theirs[seed] for seed in ours if seed in theirs}
