"""Figures of accuracy: what the study has is drawn, named or not."""

import pandas as pd

from stages.pruning import plot_accuracy


def test_a_new_arm_is_shown_by_its_own_name_until_it_has_another(tmp_path, monkeypatch):
    monkeypatch.setattr(plot_accuracy, "NAMES", {"hybrid": "ours"})
    case = {"model": "net", "classes": 3, "block": 16, "seed": 0}
    rows = [
        case | {"arm": arm, "goal": goal, "accuracy": accuracy}
        for arm, goal, accuracy in (
            ("dense", 0.0, 0.9),
            ("hybrid", 0.75, 0.8),
            ("block", 0.75, 0.7),
            ("hybrid_fisher", 0.75, 0.85),
        )
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "study.csv", index=False)
    files = {flag: str(tmp_path / name) for flag, name in (
        ("--accuracy", "study.csv"), ("--figure", "a.svg"), ("--drawn", "a.csv"),
        ("--parts", "b.svg"), ("--drawn-parts", "b.csv"),
    )}  # fmt: skip
    plot_accuracy.main([word for pair in files.items() for word in pair])
    assert "hybrid_fisher" in (tmp_path / "b.svg").read_text()
    drawn = pd.read_csv(tmp_path / "b.csv")
    assert drawn.loc[drawn["arm"] == "hybrid_fisher", "points"].round(6).tolist() == [5.0]
