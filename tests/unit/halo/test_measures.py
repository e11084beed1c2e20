"""What claims are judged by, on tables whose answer is known."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from stages.halo.measure_array import frequency_bound, needed_share, ratios, transitions
from stages.halo.measure_perplexity import CLAIMS, Losses, main

BITS = {"rtn-w3-g64": 3.25, "rtn-w4-g64": 4.25, "halo-bal": 3.75}
# nats: what is worse than halo-bal by how much
LOSS = {
    "float": 2.0, "rtn-w3-g64": 2.9, "rtn-w4-g64": 2.5, "gptq-w3-g64": 2.7, "gptq-w4-g64": 2.2, "halo-bal": 2.4,
    "halo-acc": 2.3, "halo-perf": 2.6, "halo-bal-random": 2.45, "halo-bal-no-sparse": 2.43, "halo-bal-t32": 2.38,
    "halo-bal-t64": 2.39, "halo-perf-popcount": 2.9, "halo-perf-popcount-signs": 2.7, "halo-perf-signed": 2.8,
    "halo-acc-compensated": 2.25, "halo-bal-compensated": 2.31, "halo-perf-compensated": 2.4, "kmeans-3": 2.5,
    "kmeans-4": 2.2, "halo-bal-inverse": 2.5, "halo-bal-outliers": 2.41, "halo-bal-salient": 2.42,
    "halo-acc-compensated-t32": 2.2,
}  # fmt: skip
WANTED = {
    "H9": 0.05, "H10": 0.03, "H11": 0.1, "H12": 0.2, "H13": 0.09, "H14": 0.02, "H18": math.exp(0.05), "H19": 0.2,
}  # fmt: skip


def write(folder, name, shift=0.0):
    rows = pd.DataFrame({"model": name, "row": list(LOSS), "loss": [loss + shift for loss in LOSS.values()]})
    rows["bits"] = rows["row"].map(BITS).fillna(4.0)
    rows.loc[rows["row"].str.endswith(("w3-g64", "kmeans-3")), "bits"] = 3.25
    rows.to_csv(folder / f"{name}.csv", index=False)
    wave = np.array([-0.1, 0.1])  # windows differ, and rows alike
    np.savez(folder / f"{name}.npz", **{f"{row} losses": loss + shift + wave for row, loss in LOSS.items()})
    return folder / f"{name}.csv", folder / f"{name}.npz"


@pytest.fixture
def measured(tmp_path):
    files = [write(tmp_path, f"toy-s{seed}", seed) for seed in range(3)] + [write(tmp_path, "other")]
    array = tmp_path / "array.csv"
    pd.DataFrame(
        {"netlist": "array", "array": "hbm", "model": "m", "pass": "prompt", "arm": "halo-bal published",
         "parts": [1, 4], "time_ms": [1.2, 1.0]}
    ).to_csv(array, index=False)  # fmt: skip
    out = tmp_path / "m.json"
    main(["--tables", *(str(f) for f, _ in files), "--losses", *(str(f) for _, f in files), "--array", str(array),
          "--netlist", "array", "--measurements", str(out)])  # fmt: skip
    return {m["claim"]: m for m in json.loads(out.read_text())}


def test_every_claim_gets_its_difference(measured):
    assert set(measured) == {*CLAIMS, "H14"}
    for claim, value in WANTED.items():
        assert measured[claim]["value"] == pytest.approx(value), claim
        assert [s["value"] for s in measured[claim]["samples"]] == pytest.approx([value] * 3)
        assert measured[claim]["controls"]["the same, other"] == pytest.approx(value)
        # windows move all rows alike, so that no draw of them changes a difference
        assert measured[claim]["resamples"] == pytest.approx([value] * 400)


def test_the_mix_is_compared_at_equal_bits(measured):
    # RTN loses 2.9 at 3.25 and 2.5 at 4.25 bits: 2.7 at the mix's 3.75
    assert measured["H11"]["controls"]["mixed below RTN at equal bits"] == pytest.approx(0.3)


def test_a_model_without_a_row_has_no_number():
    assert math.isnan(Losses(pd.DataFrame({"row": [], "bits": []}), {}).of("halo-bal", None))


def array_table() -> pd.DataFrame:
    """One model that waits for arithmetic and one that waits for memory, whose clock is of no use to it."""
    rows = []
    speeds = {"FP16": 0.5, "W8A8": 1.0, "W4A8": 1.0, "halo-bal published": 1.4}
    for model, share, gain in (("opt-1.3b", 1.0, 1.9), ("smollm2-135m", 0.5, 1.0)):
        for arm, speed in (speeds | {"W8A8 overclocked": gain, "halo-perf published": gain}).items():
            rows.append(
                {"netlist": "array", "array": "hbm", "model": model, "pass": "prompt", "arm": arm, "parts": 1,
                 "time_ms": 1 / speed, "energy_mj": 2.0 if arm == "W8A8" else 1.0, "compute_share": share,
                 "transitions_by_pass": 2.0, "transition_ms_by_pass": 0.002, "transitions_by_layer": 50.0,
                 "transition_ms_by_layer": 0.05}
            )  # fmt: skip
    return pd.DataFrame(rows)


def test_ratios_are_to_the_baseline_of_the_same_pass():
    found = ratios(array_table()).set_index(["model", "arm"])
    assert found.loc[("opt-1.3b", "halo-bal published"), "speed over FP16"] == pytest.approx(2.8)
    assert found.loc[("smollm2-135m", "halo-perf published"), "saving over W8A8"] == pytest.approx(0.5)


def test_the_bound_counts_passes_that_wait_for_arithmetic():
    found = frequency_bound(ratios(array_table()))
    assert (found.value, found.n) == (pytest.approx(1.9), 2)
    assert found.controls["least gain of the clock in a pass bound by memory"] == 1.0


def test_the_least_share_that_reaches_the_wanted_speed():
    shares = np.linspace(0, 1, 101)
    table = pd.DataFrame(
        {"netlist": "array", "reading": "published", "low_share": shares, "speed": 1 + shares}
    )
    found = needed_share(pd.concat([table, table.assign(reading="iso_voltage", speed=1.0)]))
    assert found.value == pytest.approx(0.87)
    assert found.controls["multipliers that reach it at one voltage"] == 0


def test_three_changes_of_a_short_pass_cost_too_much():
    table = array_table()
    assert transitions(table).value == 0  # 3 us of 0.7 ms
    table["time_ms"] /= 10
    found = transitions(table)
    assert (found.value, found.n) == (1, 1)
    assert found.controls["largest share, layer by layer"] == pytest.approx(0.05 / (0.1 / 1.4))
