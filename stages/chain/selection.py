"""The cheapest route that keeps a budget, chosen on selection images alone."""

import pandas as pd

from stages.chain.config import BudgetConfig
from stages.lib.core.errors import InputError

SELECTION = "selection_accuracy"


def choose(routes: pd.DataFrame, budget: BudgetConfig) -> pd.DataFrame:
    """Routes by what they cost, the best first: those that keep the budget, then the others.

    routes   a row a route, seed and user: route, lut_per_lane, selection_accuracy and the objective's column
    returns  a row a route: means over seeds and users, `fits`, and `failed`, the bounds that are broken, in words

    A route without look-up tables (it is not quantised, so that no operator of the library computes it) does not fit.
    Raises InputError where a column is missing.
    """
    columns = ["lut_per_lane", SELECTION, budget.objective]
    if missing := [name for name in ("route", *columns) if name not in routes]:
        raise InputError(f"the table of routes lacks the column {missing[0]}; make it with measure_routes")
    means = routes.groupby("route", sort=False)[list(dict.fromkeys(columns))].mean().reset_index()
    too_large = ~(means["lut_per_lane"] <= budget.lut_per_lane)
    too_wrong = ~(means[SELECTION] >= budget.accuracy)
    words = {
        "no operator of this format": means["lut_per_lane"].isna(),
        f"more than {budget.lut_per_lane:g} look-up tables a lane": too_large & means["lut_per_lane"].notna(),
        f"less than {budget.accuracy:.0%} of selection images right": too_wrong,
    }
    failed = ["; ".join(word for word, rows in words.items() if rows[i]) for i in means.index]
    ranked = means.assign(fits=~(too_large | too_wrong), failed=failed)
    return ranked.sort_values(
        ["fits", budget.objective], ascending=[False, True], kind="stable", ignore_index=True
    )
