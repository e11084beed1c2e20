"""How good a student is that is stopped at any time, from its accuracy at each evaluation (notes 5)."""

from collections.abc import Sequence

import numpy as np

LAST = 5  # evaluations of the mean of the last


def stability(accuracy: Sequence[float]) -> dict[str, float]:
    """All of accuracy (0..1) over evaluations.

    mean       expected accuracy at an arbitrary stop, mu[S_acc]
    std, variance   its spread over evaluations (sample); what the paper prints as sigma^2 fits standard deviations
    max, last, mean_last   of all, at the end, of the last 5
    drawdown   the largest fall below the best so far
    below_best mean of best so far less accuracy
    ..._second_half   over the second half of the evaluations, the best so far taken in it
    """
    values = np.asarray(accuracy, dtype=float)
    if not len(values):
        raise ValueError("there are no evaluations")
    half = values[len(values) // 2 :]
    found = {"max": values.max(), "last": values[-1], "mean_last": values[-LAST:].mean()}
    for ending, part in (("", values), ("_second_half", half)):
        fall = np.maximum.accumulate(part) - part
        found |= {
            f"mean{ending}": part.mean(),
            f"std{ending}": part.std(ddof=1) if len(part) > 1 else 0.0,
            f"drawdown{ending}": fall.max(),
            f"below_best{ending}": fall.mean(),
        }
    found["variance"] = found["std"] ** 2
    return {name: float(value) for name, value in found.items()}
