"""Verdicts: every case of the judge, intervals against the textbook, and the complete list of claims."""

import json
from collections import Counter

import numpy as np
import pytest

from stages.claims.config import Bound, Claim
from stages.claims.intervals import mean_interval
from stages.claims.judge_claims import main as judge_claims
from stages.claims.verdicts import judge
from stages.lib.core.measurements import Measurement, Sample
from workflow.lib.settings import load_claims


def claim(kind="trend", relation=">", value=0.0, **more):
    bound = Bound(relation=relation, value=value) if relation else None
    return Claim(id="M7", paper="minifloats", kind=kind, statement="s", decided_by="d", bound=bound, **more)


def measured(*values, value=0.0):
    samples = tuple(Sample(seed=i, value=v) for i, v in enumerate(values))
    return Measurement(claim="M7", value=value, unit="points", n=100, samples=samples)


@pytest.mark.parametrize(
    ("claimed", "measurement", "verdict", "word"),
    [
        (claim(), measured(1.0, 1.1, 0.9), "reproduced", "lies within"),
        (claim(), measured(-1.0, -1.1, -0.9), "not reproduced", "lies outside"),
        (claim(), measured(1.0, -1.0, 0.5), "inconclusive", "crosses"),
        (claim(), measured(1.0, 1.1), "not testable at this scale", "2 seeds"),
        (claim(relation="=="), measured(1.0, -1.0, 0.0), "inconclusive", "crosses"),
        (claim(kind="exact", relation="=="), measured(value=0), "reproduced", "100 cases"),
        (claim(kind="exact", relation="=="), measured(value=1), "not reproduced", "wanted == 0"),
        (claim(kind="paper value", relation=">=", value=2), measured(value=3), "reproduced", "wanted >= 2"),
        (claim(relation=None), None, "not testable at this scale", "no value to compare with"),
        (claim(), None, "not testable at this scale", "not measured at this scale"),
        (claim(datasets=("cifar10", "mnist")), None, "data not available", "cifar10"),
    ],
)
def test_every_case_of_the_judge(claimed, measurement, verdict, word):
    found = judge(claimed, measurement, unavailable={"cifar10"}, built={"minifloats"}, confidence=0.95)
    assert (found.verdict, word in found.reason) == (verdict, True), found.reason


def test_a_paper_that_is_not_built_says_so():
    found = judge(claim(), None, unavailable=set(), built=set(), confidence=0.95)
    assert found.reason == "stage not built"


def test_the_interval_covers_the_mean_as_often_as_it_says():
    chance = np.random.default_rng(0)
    inside = 0
    for _ in range(2000):
        low, high = mean_interval(
            [Sample(seed=i, value=v) for i, v in enumerate(chance.normal(3.0, 2.0, 4))], confidence=0.9
        )
        inside += low <= 3.0 <= high
    # binomial: 2000 draws at 0.9 have a standard deviation of 0.0067
    assert inside / 2000 == pytest.approx(0.9, abs=0.025)


def test_equal_samples_have_an_interval_of_no_width():
    assert mean_interval([Sample(seed=i, value=2.5) for i in range(3)], confidence=0.95) == (2.5, 2.5)


def test_every_claim_of_the_papers_is_listed():
    papers = Counter(c.paper for c in load_claims().claims if c.origin == "paper")
    assert papers == {
        "egogestvid": 10,
        "pre_dfkd": 13,
        "condensed_expansion": 12,
        "crisp": 15,
        "minifloats": 16,
        "halo": 16,
        "daop": 19,
    }


def test_a_measurement_without_a_claim_is_refused(tmp_path, capsys):
    measurements = tmp_path / "m.json"
    measurements.write_text(json.dumps([{"claim": "Z9", "value": 1, "unit": "1", "n": 1}]))
    with pytest.raises(ValueError, match="Z9 is measured but not listed"):
        judge_claims(
            ["--claims", '{"claims": []}', "--measurements", str(measurements), "--scale", "smoke",
             "--json", str(tmp_path / "c.json"), "--markdown", str(tmp_path / "c.md"),
             "--metrics", str(tmp_path / "n.json")]
        )  # fmt: skip
    assert not (tmp_path / "c.json").exists()
