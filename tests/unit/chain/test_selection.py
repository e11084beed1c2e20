"""The search against trying every route by hand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.chain.config import BudgetConfig
from stages.chain.plot_chain import pooled
from stages.chain.selection import choose
from stages.lib.core.errors import InputError


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    rows = []
    for route in range(draw(st.integers(1, 6))):
        lut = draw(st.one_of(st.none(), st.integers(10, 100)))
        for user in range(draw(st.integers(1, 3))):
            rows.append(
                {
                    "route": f"r{route}",
                    "user": user,
                    "lut_per_lane": np.nan if lut is None else float(lut),
                    "selection_accuracy": draw(st.sampled_from([0.0, 0.5, 0.9, 1.0])),
                    "kept_macs": float(draw(st.integers(1, 5))),
                }
            )
    return pd.DataFrame(rows)


@given(tables(), st.integers(5, 110), st.sampled_from([0.0, 0.7, 1.0]))
def test_the_choice_is_the_cheapest_of_all_that_keep_the_budget(table, lut, accuracy):
    ranked = choose(table, BudgetConfig(lut_per_lane=lut, accuracy=accuracy, objective="kept_macs"))
    cheapest = None
    for route in table["route"].unique():
        own = table[table["route"] == route]
        keeps = own["lut_per_lane"].mean() <= lut and own["selection_accuracy"].mean() >= accuracy
        row = ranked[ranked["route"] == route].iloc[0]
        assert row["fits"] == keeps
        assert bool(row["failed"]) != keeps
        if keeps:
            cost = own["kept_macs"].mean()
            cheapest = cost if cheapest is None else min(cheapest, cost)
    assert ranked["fits"].iloc[0] == (cheapest is not None)
    if cheapest is not None:
        assert ranked["kept_macs"].iloc[0] == cheapest


def test_a_table_without_the_objective_is_named():
    table = pd.DataFrame({"route": ["r"], "lut_per_lane": [1.0], "selection_accuracy": [1.0]})
    with pytest.raises(InputError, match="lacks the column lut_macs"):
        choose(table, BudgetConfig())


def test_intervals_are_wilsons():
    rows = pd.DataFrame({"test_accuracy": [0.9, 0.7], "test_n": [30, 10]})
    found = pooled(rows, "test")
    n, p, z = 40, 34 / 40, 1.959963984540054
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert found["accuracy"] == p
    assert [found["low"], found["high"]] == pytest.approx([centre - half, centre + half])
