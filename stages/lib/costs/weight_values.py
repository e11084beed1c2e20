"""Delay and energy of each weight value: the table weight_profile.csv, and the sets of fast values drawn from it.

A table holds one or more netlists; a netlist has one row for each value of its weight. All columns that must be there:
netlist, library, weight, delay_ns, energy_fj.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from stages.lib.core.errors import InputError

COLUMNS = ("netlist", "library", "weight", "delay_ns", "energy_fj")
RESOLUTION_NS = 1e-6  # delays closer than this are equal: rounding must not order weights


def read_weight_profile(path: str | Path) -> pd.DataFrame:
    """A checked table, sorted by netlist (in the order of the file), library and weight.

    Raises InputError where a column is missing, a number is not finite or negative, a weight is no int8 value or
    stands twice for a netlist.
    """
    try:
        table = pd.read_csv(path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a CSV table ({error}); make it with profile_weights") from None
    if missing := [column for column in COLUMNS if column not in table]:
        raise InputError(f"{path} lacks the column {missing[0]}; a weight profile has {', '.join(COLUMNS)}")
    for column in ("weight", "delay_ns", "energy_fj"):
        numbers = pd.to_numeric(table[column], errors="coerce")
        low = -128 if column == "weight" else 0
        bad = ~np.isfinite(numbers) | (numbers < low)
        if column == "weight":
            bad |= (numbers > 127) | (numbers % 1 != 0)
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise InputError(
                f"{path}, row {row + 2}: {column} is {table[column].iloc[row]}, which is no {column}"
            )
        table[column] = numbers
    table["weight"] = table["weight"].astype(np.int64)
    if (twice := table.duplicated(["netlist", "library", "weight"])).any():
        row = table[twice].iloc[0]
        raise InputError(
            f"{path}: netlist {row.netlist} on {row.library} has weight {row.weight} twice; keep one row"
        )
    order = {name: i for i, name in enumerate(dict.fromkeys(table["netlist"]))}
    return (
        table.assign(_order=table["netlist"].map(order))
        .sort_values(["_order", "library", "weight"])
        .drop(columns="_order")
        .reset_index(drop=True)
    )


def one_netlist(table: pd.DataFrame, netlist: str, library: str | None = None) -> pd.DataFrame:
    """The rows of one netlist by weight. Raises InputError where it is not there, or there on several libraries."""
    rows = table[(table["netlist"] == netlist) & (library is None or table["library"] == library)]
    if rows.empty:
        known = ", ".join(
            sorted({f"{n} on {b}" for n, b in zip(table["netlist"], table["library"], strict=True)})
        )
        raise InputError(
            f"the weight profile has no netlist {netlist} on {library or 'any library'}; it has {known}"
        )
    if len(libraries := rows["library"].unique()) > 1:
        raise InputError(f"the weight profile has {netlist} on {', '.join(libraries)}; name the library")
    return rows.sort_values("weight").reset_index(drop=True)


def fastest_values(profile: pd.DataFrame, count: int) -> np.ndarray:
    """The `count` weights of one netlist with the shortest delay, fastest first, (count,) int64.

    Equal delays: the smaller magnitude first, then the positive one.
    """
    if not 1 <= count <= len(profile):
        raise InputError(
            f"{count} values are asked of a profile that has {len(profile)}; choose 1 to {len(profile)}"
        )
    weight = profile["weight"].to_numpy(np.int64)
    delay = np.round(profile["delay_ns"].to_numpy(float) / RESOLUTION_NS)
    return weight[np.lexsort((weight < 0, np.abs(weight), delay))][:count]


def class_delay_ns(profile: pd.DataFrame, values: Iterable[int]) -> float:
    """Delay of the slowest of the values: the clock period of a tile that holds them all."""
    return float(_of(profile, values)["delay_ns"].max())


def class_energy_fj(profile: pd.DataFrame, values: Iterable[int]) -> float:
    """Mean energy of the values, each as often as the others."""
    return float(_of(profile, values)["energy_fj"].mean())


def single_bit_values(bits: int = 8) -> np.ndarray:
    """Two's complement values with at most one bit set: for 8 bits the nine 0, 1, 2, 4, ..., 64, -128 (HALO 2.4)."""
    return np.array([0, *(1 << k for k in range(bits - 1)), -(1 << (bits - 1))], dtype=np.int64)


def _of(profile: pd.DataFrame, values: Iterable[int]) -> pd.DataFrame:
    values = list(values)
    rows = profile[profile["weight"].isin(values)]
    if missing := sorted(set(values) - set(rows["weight"])):
        raise InputError(f"the weight profile has no weight {missing[0]}")
    return rows
