"""Runs of distil_student as a table: one row each, with what `stability` says of its curve."""

from collections.abc import Sequence

import pandas as pd

from stages.lib.core.tables import paired_differences, read_tables
from stages.replay.stability import stability

RUN = ["study", "teacher", "method", "seed"]


def read_runs(paths: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All curves under each other, and a row a run: RUN, stability, bytes kept at the end."""
    curves = read_tables(
        paths, *RUN, "iteration", "accuracy", "memory_bytes", "rehearsed_entropy", "dataset_digest"
    )
    rows = []
    for key, curve in curves.groupby(RUN, sort=False):
        ordered = curve.sort_values("iteration")
        rows.append(
            dict(zip(RUN, key, strict=True))
            | stability(ordered["accuracy"])
            | {"memory_bytes": ordered["memory_bytes"].iloc[-1]}
        )
    return curves, pd.DataFrame(rows)


def paired(runs: pd.DataFrame, one: str, other: str, column: str) -> pd.Series:
    """By study, teacher and seed that both methods have: the first's value less the second's."""
    return paired_differences(runs, "method", one, other, value=column, case=["study", "teacher", "seed"])
