"""What the sweeps found: their tables joined, and the accuracies that another draw of test images would give."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from stages.lib.core.errors import InputError

COLUMNS = (
    *(
        "model",
        "net",
        "dataset",
        "technique",
        "family",
        "format",
        "weight_format",
        "activation_format",
        "bits",
    ),
    *(
        "activation_bits",
        "signs",
        "seed",
        "top1",
        "float_top1",
        "agreement",
        "n",
        "selection_loss",
        "weight_bits",
    ),
)
FAMILIES = ("minifloat", "integer")
# the paper's plain quantiser, which the claims on formats compare families with
PLAIN = "percentile"
POINT = ["model", "technique", "format", "signs", "seed"]
# sets whose labels say little: their images were probably trained on, so that the score is the agreement with the
# float network
AGREEMENT_SETS = ("imagenet-sample",)


@dataclass(frozen=True, kw_only=True)
class Results:
    """All points of all sweeps.

    table     one row a point, with `score`: top-1, or the agreement with the float network (AGREEMENT_SETS), 0..1
    outcomes  bool array (n,) of each row of the table: which test images are behind its score
    """

    table: pd.DataFrame
    outcomes: Sequence[np.ndarray]

    def resampled(self, draws: int, rng: np.random.Generator) -> Iterator[pd.DataFrame]:
        """Tables whose scores are those of test images drawn anew with replacement (bootstrap).

        One draw a model serves all of its rows: comparisons within a model are paired.
        """
        rows_of = {model: rows.index for model, rows in self.table.groupby("model")}
        stacked = {model: _stack([self.outcomes[i] for i in rows]) for model, rows in rows_of.items()}
        for _ in range(draws):
            score = np.empty(len(self.table))
            for model, (right, counted) in stacked.items():
                counts = rng.multinomial(right.shape[1], np.full(right.shape[1], 1 / right.shape[1]))
                score[rows_of[model]] = right @ counts / (counted @ counts)
            yield self.table.assign(score=score)


def read_results(tables: Sequence[str | Path]) -> Results:
    """The sweeps of these CSV files, each with its outcomes beside it (.npz). A point that several sweeps have is taken
    from the first. Raises InputError where a file is not one.
    """
    parts, outcomes = [], []
    for path in map(Path, tables):
        table, right = _read_table(path), _read_outcomes(path.with_suffix(".npz"))
        by_agreement = table["dataset"].isin(AGREEMENT_SETS).to_numpy()
        if len(right["right"]) != len(table):
            raise InputError(
                f"{path.with_suffix('.npz')} has not one row a row of {path.name}; make both anew"
            )
        parts.append(table.assign(score=table["agreement"].where(by_agreement, table["top1"])))
        outcomes += [right["agrees" if agreement else "right"][i] for i, agreement in enumerate(by_agreement)]
    joined = pd.concat(parts, ignore_index=True)
    kept = ~joined.duplicated(POINT)
    return Results(
        table=joined[kept].reset_index(drop=True), outcomes=[outcomes[i] for i in np.flatnonzero(kept)]
    )


def quantised(table: pd.DataFrame, *, technique: str | None = None, signs: str | None = None) -> pd.DataFrame:
    """Rows of one family in both operands, of one technique and sign convention where they are given."""
    rows = table[table["family"].isin(FAMILIES)]
    if technique is not None:
        rows = rows[rows["technique"] == technique]
    return rows if signs is None else rows[rows["signs"] == signs]


def seeded(table: pd.DataFrame) -> pd.DataFrame:
    """The rows whose point every calibration seed of the model has."""
    keys = [key for key in POINT if key != "seed"]
    seeds = table.groupby("model")["seed"].transform("nunique")
    return table[table.groupby(keys)["seed"].transform("nunique") == seeds]


def chosen_formats(table: pd.DataFrame) -> pd.DataFrame:
    """Per model, technique, signs, family, width and seed the row of least selection loss.

    The choice is made on images of the training split, so that the test images say what it is worth.
    """
    keys = ["model", "technique", "signs", "family", "bits", "seed"]
    return table.loc[table.groupby(keys)["selection_loss"].idxmin()].reset_index(drop=True)


def advantages(table: pd.DataFrame) -> pd.DataFrame:
    """Score of the chosen minifloat less that of the integer of equal width.

    returns  model, net, dataset, technique, signs, bits, seed, format (the minifloat's), advantage
    """
    best = chosen_formats(seeded(quantised(table)))
    keys = ["model", "net", "dataset", "technique", "signs", "bits", "seed"]
    pair = best[best["family"] == "minifloat"].merge(
        best[best["family"] == "integer"][[*keys, "score"]], on=keys, suffixes=("", "_integer")
    )
    return pair[[*keys, "format"]].assign(advantage=pair["score"] - pair["score_integer"])


def best_formats(table: pd.DataFrame) -> pd.DataFrame:
    """Per model, family and width the format (with its sign convention) of the highest mean score over seeds.

    It is chosen on the images that it is then reported on, alike for both families: for figures, never for claims. The
    more formats a family has at a width, the more this favours it.
    """
    means = format_means(quantised(table))
    best = means.groupby(["model", "family", "bits"])["score"].idxmax()
    return means.loc[best].reset_index(drop=True)


def format_means(table: pd.DataFrame) -> pd.DataFrame:
    """Per model, technique, format and sign convention: mean, smallest and largest score over seeds."""
    keys = [
        *("model", "dataset", "technique", "family", "bits", "format", "weight_format", "activation_format"),
        *("signs", "weight_bits"),
    ]
    return (
        table.groupby(keys, sort=False)
        .agg(
            score=("score", "mean"),
            low=("score", "min"),
            high=("score", "max"),
            float_top1=("float_top1", "mean"),
            seeds=("seed", "nunique"),
            n=("n", "first"),
        )
        .reset_index()
    )


def digests(table: pd.DataFrame) -> dict[str, str]:
    """Content digests of the data behind the rows, by "set/split"."""
    return {
        f"{row.dataset}/{split}": getattr(row, f"{split}_digest")
        for row in table.drop_duplicates("dataset").itertuples()
        for split in ("train", "test")
        if hasattr(row, f"{split}_digest")
    }


def _stack(outcomes: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(rows, n) of what is right and of what was looked at; a sweep that saw fewer images saw the first ones."""
    n = max(map(len, outcomes))
    right = np.array([np.pad(one, (0, n - len(one))) for one in outcomes], dtype=np.float32)
    counted = np.array([np.arange(n) < len(one) for one in outcomes], dtype=np.float32)
    return right, counted


def _read_table(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, keep_default_na=False)
    except (pd.errors.EmptyDataError, pd.errors.ParserError) as error:
        raise InputError(
            f"{path} is not a table ({str(error).strip()}); make it with sweep_formats"
        ) from error
    if missing := [c for c in COLUMNS if c not in table.columns]:
        raise InputError(f"{path} lacks the column {missing[0]}; make it with sweep_formats")
    # rows are taken and grouped thousands of times, which Arrow's strings, meant for long columns, make slow
    return table.astype(dict.fromkeys(table.select_dtypes("str"), object))


def _read_outcomes(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in ("right", "agrees")}
    except (ValueError, KeyError, EOFError) as error:
        raise InputError(f"{path} holds no outcomes ({error}); make it with sweep_formats") from None
