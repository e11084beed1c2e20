"""Claims on accuracy compare the cases that both arms have, and no others."""

import pandas as pd
import pytest

from stages.pruning.measure_pruning import of_accuracy, paired_difference


def table() -> pd.DataFrame:
    """Two networks: the easy one has all arms, the hard one, where everything is 0.5 lower, few of them."""
    height = {
        "dense": 0.95, "hybrid": 0.94, "block": 0.9, "channel": 0.88, "hybrid_scrambled": 0.92,
        "hybrid_random": 0.91, "hybrid_magnitude": 0.93, "hybrid_other_classes": 0.89, "hybrid_sr_ste": 0.945,
    }  # fmt: skip
    return pd.DataFrame(
        [
            {"model": model, "block": 16, "classes": 3, "seed": seed, "arm": arm, "goal": 0.0 if arm == "dense" else 0.9,
             "sparsity": 0.9, "accuracy": accuracy - lower}
            for seed in range(3)
            for model, lower in (("easy", 0.0), ("hard", 0.5))
            for arm, accuracy in height.items()
            if model == "easy" or arm in ("dense", "hybrid", "block", "channel")
        ]
    )  # fmt: skip


def test_a_network_without_an_arm_does_not_count_against_it() -> None:
    found = paired_difference(table(), "hybrid", "hybrid_scrambled")
    assert found.tolist() == pytest.approx([0.02] * 3)
    by_claim = {m.claim: m.value for m in of_accuracy(table())}
    assert by_claim == {
        "C8": pytest.approx(0.02), "C9": pytest.approx(0.04), "C10": pytest.approx(0.01),
        "C11": pytest.approx(0.005), "C16": pytest.approx(0.01), "C17": pytest.approx(0.04),
    }  # fmt: skip
