"""What the sweep tables say: means over calibration seeds, and the best format of each family at each width."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from stages.lib.core.errors import InputError

COLUMNS = ("model", "dataset", "family", "format", "bits", "signs", "seed", "top1", "float_top1", "n")
FAMILIES = ("minifloat", "integer")


def read_sweeps(paths: Sequence[str]) -> pd.DataFrame:
    """The rows of several sweep tables. Raises InputError where a file is not one."""
    tables = []
    for path in paths:
        try:
            table = pd.read_csv(path, keep_default_na=False)
        except (pd.errors.EmptyDataError, pd.errors.ParserError) as error:
            raise InputError(
                f"{path} is not a table ({str(error).strip()}); make it with sweep_formats"
            ) from error
        if missing := [c for c in COLUMNS if c not in table.columns]:
            raise InputError(f"{path} lacks the column {missing[0]}; make it with sweep_formats")
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def best_formats(sweep: pd.DataFrame) -> pd.DataFrame:
    """Per model, family and width the format (with its sign convention) of the highest mean top-1 over seeds.

    It is chosen on the images that it is then reported on, alike for both families; the more formats a family
    has at a width, the more this favours it.
    """
    means = format_means(sweep[sweep.family.isin(FAMILIES)])
    best = means.groupby(["model", "family", "bits"])["top1"].idxmax()
    return means.loc[best].reset_index(drop=True)


def format_means(sweep: pd.DataFrame) -> pd.DataFrame:
    """Per model, format and sign convention: mean, smallest and largest top-1 over seeds."""
    keys = ["model", "dataset", "family", "bits", "format", "signs"]
    grouped = sweep.groupby(keys, sort=False)
    return grouped.agg(
        top1=("top1", "mean"),
        low=("top1", "min"),
        high=("top1", "max"),
        float_top1=("float_top1", "mean"),
        seeds=("seed", "nunique"),
        n=("n", "first"),
    ).reset_index()


def drop_by_seed(sweep: pd.DataFrame) -> dict[int, float]:
    """seed -> top-1 at the largest width less that at the smallest, of the best formats (shares, 0..1).

    The smallest such drop over models and families: the claim is that accuracy falls in each of them.
    """
    best = best_formats(sweep)[["model", "family", "bits", "format", "signs"]]
    rows = sweep.merge(best, on=list(best.columns))
    drops: dict[int, float] = {}
    for (_, _, seed), group in rows.groupby(["model", "family", "seed"]):
        by_bits = group.set_index("bits")["top1"]
        drop = float(by_bits[by_bits.index.max()] - by_bits[by_bits.index.min()])
        drops[int(seed)] = min(drop, drops.get(int(seed), np.inf))
    return drops


def rank_correlations(sweep: pd.DataFrame) -> dict[str, float]:
    """Keyed "MODEL FAMILY": Spearman's correlation of bits with the best formats' mean top-1; 0 if that is constant."""
    best = best_formats(sweep)
    return {
        f"{model} {family}": float(group["bits"].rank().corr(group["top1"].rank()))
        if group["top1"].max() > group["top1"].min()
        else 0.0
        for (model, family), group in best.groupby(["model", "family"])
    }


def largest_rise(sweep: pd.DataFrame) -> float:
    """Largest gain of mean top-1 that one bit less brings in any model and family; 0 or less: it never gains."""
    best = best_formats(sweep).sort_values("bits")
    return max(float((-group["top1"].diff()).max()) for _, group in best.groupby(["model", "family"]))
