"""Pages of results: each claim is told once, a value only where it decides something, and README keeps its own text."""

import json

import pytest

from stages.lib.core.errors import InputError
from workflow.lib.results_pages import BEGIN, END, PAGE, RECORDED, measured_cell, results_page, results_pages

CLAIM = {
    "id": "C1",
    "paper": "crisp",
    "class": "exact",
    "origin": "paper",
    "scale": "laptop",
    "statement": "|w| g ranks weights",
    "decided_by": "mask\ncounts",
    "published": None,
    "evidence": None,
    "measured": 0.0,
    "unit": "1",
    "n": 15,
    "interval": None,
    "seeds": [],
    "bound": {"relation": "==", "value": 0.0},
    "device": {"cpu": "A CPU"},
    "recorded": "2026-11-29",
    "verdict": "reproduced",
    "reason": "0 over 15 cases, wanted == 0",
}
TREND = CLAIM | {
    "id": "G4",
    "paper": "egogestvid",
    "class": "trend",
    "origin": "ours",
    "published": "up to 14x",
    "evidence": "paper abstract",
    "measured": 1.23456,
    "unit": "px",
    "interval": [-0.5, 3.0],
    "seeds": [0, 1, 2],
    "bound": {"relation": ">", "value": 0.0},
    "verdict": "inconclusive",
}
NOT_MEASURED = TREND | {
    "id": "G6",
    "measured": 0.0,
    "interval": None,
    "seeds": [0],
    "device": {},
    "recorded": None,
    "bound": None,
    "verdict": "not testable at this scale",
    "reason": "1 seed, a trend needs 3",
}
CLAIMS = [CLAIM, TREND, NOT_MEASURED]


@pytest.fixture
def checkout(tmp_path):
    """A checkout with a README and a recorded run."""
    (tmp_path / "README.md").write_text(f"# Before\n\n{BEGIN}\nold\n{END}\n\n## After\n")
    (tmp_path / RECORDED).parent.mkdir(parents=True)
    (tmp_path / RECORDED).write_text(json.dumps(CLAIMS))
    return tmp_path


def test_without_a_recorded_run_nothing_is_written(checkout):
    (checkout / RECORDED).unlink()
    assert results_pages(checkout) == {}


def test_the_summary_counts_verdicts_by_paper_and_leaves_the_rest_of_readme(checkout):
    readme = results_pages(checkout)["README.md"]
    assert readme.startswith("# Before\n\n")
    assert readme.endswith("\n\n## After\n")
    assert "old" not in readme
    assert "| paper | claims | reproduced | inconclusive | not testable at this scale |" in readme
    assert f"| [`crisp`]({PAGE}#crisp) | 1 | 1 | 0 | 0 |" in readme
    assert f"| [`egogestvid`]({PAGE}#egogestvid) | 2 | 0 | 1 | 1 |" in readme
    assert "| all | 3 | 1 | 1 | 1 |" in readme


def test_writing_the_summary_again_changes_nothing(checkout):
    first = results_pages(checkout)
    (checkout / "README.md").write_text(first["README.md"])
    assert results_pages(checkout) == first


def test_a_readme_without_markers_is_one_sentence(checkout):
    (checkout / "README.md").write_text("# Mine\n")
    with pytest.raises(InputError, match=r"README\.md lacks the lines <!-- results: begin"):
        results_pages(checkout)


def test_every_claim_has_one_row_of_its_paper():
    page = results_page(CLAIMS)
    rows = [line for line in page.splitlines() if line.startswith(("| C1 ", "| G4 ", "| G6 "))]
    assert rows == [
        "| C1 | exact | \\|w\\| g ranks weights | mask counts |  | 0 over 15 cases, wanted == 0 | reproduced |",
        "| G4 | trend, ours | \\|w\\| g ranks weights | mask counts | up to 14x; paper abstract |"
        " 1.235 [-0.5, 3] px, 3 seeds, wanted > 0 | inconclusive |",
        "| G6 | trend, ours | \\|w\\| g ranks weights | mask counts | up to 14x; paper abstract |"
        " 1 seed, a trend needs 3 | not testable at this scale |",
    ]
    assert page.index("## crisp") < page.index("| C1 ") < page.index("## egogestvid") < page.index("| G4 ")
    assert "of the scale\nlaptop on A CPU,\n2026-11-29." in page


def test_what_was_not_decided_shows_no_value():
    assert measured_cell(NOT_MEASURED) == "1 seed, a trend needs 3"
    assert measured_cell(TREND | {"verdict": "data not available", "reason": "no source"}) == "no source"
