"""CSV tables that one verb wrote and another reads."""

from collections.abc import Sequence

import pandas as pd

from stages.lib.core.errors import InputError


def read_tables(paths: Sequence[str], *columns: str) -> pd.DataFrame:
    """The rows of all files. Raises InputError where one lacks a column."""
    tables = []
    for path in paths:
        table = pd.read_csv(path)
        if missing := [c for c in columns if c not in table.columns]:
            raise InputError(f"{path} lacks the column {missing[0]}; make it again")
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def paired_differences(
    rows: pd.DataFrame, column: str, one: str, other: str, *, value: str, case: Sequence[str]
) -> pd.Series:
    """value where column is `one` less value where it is `other`, by each case that has both."""
    case = list(case)
    both = rows[rows[column] == one].merge(rows[rows[column] == other], on=case, suffixes=("", "_other"))
    return (both[value] - both[f"{value}_other"]).set_axis(pd.MultiIndex.from_frame(both[case]))
