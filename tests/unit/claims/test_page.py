"""The report: its parts, its costs, and what a browser makes of it on a phone and on a desk, without a network."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pandas as pd
import pytest

from stages.claims.page import TITLES, Data, Run, Section, inline_svg, number, render
from stages.claims.verdicts import VERDICTS
from stages.claims.write_report import main as write_report
from stages.claims.write_report import read_jobs
from tests.browser import DESKTOP, PHONE, content_widths, run_chromium
from workflow.lib.catalogue import Catalogue
from workflow.lib.settings import ROOT

RUN = Run(
    scale="smoke",
    confidence=0.95,
    data=(
        Data(
            name="digits", title="Optical digits", licence="CC BY 4.0", redistribute=True, available=True,
            digests={"test": "f7" * 32},
        ),
    ),
    versions={"main": {"numpy": "2.4.6"}},
    stages={"distil_student": "replay", "sweep_formats": "quantization", "synthesise_macs": "hardware"},
)  # fmt: skip
JOBS = pd.DataFrame(
    [
        ("distil_student", "a/0", 60.0, 50.0, 300.0),
        ("sweep_formats", "b", 30.0, 20.0, 200.0),
        ("distil_student", "a/1", 20.0, 10.0, 400.0),
        ("synthesise_macs", "", 10.0, 20.0, 100.0),
        ("a_rule_of_old", "", 1000.0, 1000.0, 9999.0),
    ],
    columns=["rule", "job", "seconds", "cpu_seconds", "memory_mb"],
)
# a figure and a table that are wider than a phone and wider than a desk
SVG = (
    '<svg width="1600pt" height="400pt" viewBox="0 0 1600 400"><rect id="r" width="1600" height="400"/></svg>'
)
WIDE = pd.DataFrame(np.zeros((70, 40)), columns=[f"a_column_of_the_table_{i}" for i in range(40)])


def claim(id="M1", paper="minifloats", verdict="reproduced", **more):
    return {
        "id": id, "paper": paper, "class": "trend", "origin": "paper", "statement": "It holds", "decided_by": "counting",
        "published": None, "evidence": None, "measured": 0.25, "unit": "points", "n": 12, "interval": [0.125, 0.5],
        "seeds": [0, 1, 2], "controls": {}, "dataset_digest": {}, "device": {"cpu": "A processor"},
        "bound": {"relation": ">=", "value": 0.0}, "verdict": verdict, "reason": "because",
    } | more  # fmt: skip


def section(paper="minifloats", svg=SVG, table=WIDE):
    return Section(paper=paper, title="A < B", caption="c", svg=svg, table=table, table_name="a/b.csv")


def page_of(claims=(), sections=(), jobs=JOBS):
    return render(claims or [claim()], sections, RUN, jobs)


def test_figures_in_one_page_do_not_share_ids():
    svg = '<?xml version="1.0"?><svg><g id="a" clip-path="url(#a)"/><use xlink:href="#a"/><script>x</script></svg>'
    one, two = inline_svg(svg, "A < B", prefix="f0"), inline_svg(svg, "", prefix="f1")
    assert one == (
        '<svg role="img" aria-label="A &lt; B"><g id="f0-a" clip-path="url(#f0-a)"/><use xlink:href="#f0-a"/></svg>'
    )
    assert "f1-a" in two
    assert "f0-a" not in two


def test_a_claim_is_shown_with_all_that_its_verdict_rests_on():
    page = page_of([claim(published="up to 14x", evidence="paper abstract", controls={"shuffled": 0.5})])
    for text in ("✓ reproduced", "0.25 points", "[0.125, 0.5]", "3 seeds", "12 cases", "≥ 0", "up to 14x",
                 "paper abstract", "Because.", "shuffled: 0.5"):  # fmt: skip
        assert text in page, text


def test_verdicts_are_told_apart_without_colours():
    page = page_of([claim(f"M{i}", verdict=verdict) for i, verdict in enumerate(VERDICTS)])
    badges = [page.partition(f'id="M{i}"')[2].partition("</span></p></header>")[0][-30:] for i in range(5)]
    assert len({badge.partition(">")[2] for badge in badges}) == 5


def test_parts_without_claims_have_their_place_and_papers_without_figures_too():
    page = page_of(sections=[section("teachers"), section("chain")])
    headings = [page.find(f'<h2 id="{name}"') for name in TITLES]
    assert headings == sorted(headings)
    assert headings[0] > page.find('id="cost"') > 0
    assert 'id="chain"' not in page_of()


def test_every_link_leads_somewhere():
    page = page_of([claim(published="14", evidence="abstract")], [section("chain")])
    targets = {part.partition('"')[0] for part in page.split('href="#')[1:]}
    assert targets
    assert not [target for target in targets if f' id="{target}"' not in page]


def test_costs_are_summed_up_by_paper():
    costs = [row.split("<td")[1:] for row in page_of().split('<th scope="row">') if "%</td>" in row]
    shown = [[cell.partition(">")[2].partition("<")[0] for cell in row] for row in costs]
    # 80 s, 30 s and 10 s of 120 s; what no rule of today has run is left out
    assert shown == [
        ["2", "1.3", "67 %", "", "1.0", "60 %", "400"],
        ["1", "0.5", "25 %", "", "0.3", "20 %", "200"],
        ["1", "0.2", "8 %", "", "0.3", "20 %", "100"],
    ]
    assert "No job has left a record" in page_of(jobs=JOBS[:0])


def test_benchmarks_of_jobs_too_short_to_be_sampled_are_read(tmp_path):
    head = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
    (tmp_path / "rule").mkdir()
    (tmp_path / "rule" / "job.tsv").write_text(head + "0.2\t0:00:00" + "\tNA" * 8 + "\n")
    (tmp_path / "other.tsv").write_text(head + "61.5\t0:01:01\t300.5\t1\t1\t1\t1\t1\t95.0\t58.1\n")
    assert read_jobs([tmp_path]).to_numpy().tolist() == [
        ["other", "", 61.5, 58.1, 300.5],
        ["rule", "job", 0.2, 0.0, 0.0],
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (55930.0, "55930"), (12345.6, "12346"), (1 / 3, "0.3333"), (-2.5e-7, "-2.5e-07")],
)
def test_numbers_are_short(value, text):
    assert number(value) == text


@pytest.mark.parametrize("scale", ["smoke", "laptop", "workstation", "paper"])
def test_the_workflow_tells_of_all_data_of_a_scale(scale):
    catalogue = Catalogue.load({"scale": scale}, preflight=None)
    assert {Data(**one).name for one in catalogue.described_data()} == catalogue.wanted()


def report(folder, claims=ROOT / "results/smoke/claims.json", paper="minifloats", name="report.html"):
    """The page that the command writes of the smoke scale's verdicts and a wide figure for each of two parts."""
    (folder / "wide.svg").write_text(SVG)
    WIDE.to_csv(folder / "wide.csv", index=False)
    sections = [
        {"paper": paper, "title": "t", "caption": "c" * 200, "figure": "wide.svg", "table": "wide.csv"}
        for paper in ("chain", paper)
    ]
    write_report(
        ["--claims", str(claims), "--sections", json.dumps(sections), "--results", str(folder),
         "--run", json.dumps({**RUN.__dict__, "data": [one.__dict__ for one in RUN.data]}),
         "--benchmarks", str(folder / "none"), "--report", str(folder / name)]
    )  # fmt: skip
    return folder / name


def test_equal_inputs_give_equal_bytes(tmp_path):
    assert report(tmp_path).read_bytes() == report(tmp_path, name="again.html").read_bytes()


def test_a_figure_of_no_part_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'minifloat': choose from chain, egogestvid"):
        report(tmp_path, paper="minifloat")


def test_nothing_must_be_scrolled_sideways_on_a_phone_or_on_a_desk(tmp_path):
    long = claim(
        statement="w" * 300, published="9" * 200, evidence="e" * 100, controls={"k" * 90: 1.0, "c": 2.0}
    )
    made_up = tmp_path / "made_up.html"
    made_up.write_text(page_of([long], [section("chain"), section()]))
    assert content_widths(tmp_path, made_up, report(tmp_path)) == [(PHONE[0], DESKTOP[0])] * 2


def test_nothing_is_loaded_even_if_a_figure_asks_for_it(tmp_path):
    asked = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        svg = f'<svg><image href="{url}/image"/><style>@import url({url}/style);</style></svg>'
        page = page_of(sections=[section(svg=svg)])
        policy = page.partition("<meta http-equiv")[2].partition(">")[0]
        (tmp_path / "page.html").write_text(page)
        (tmp_path / "open.html").write_text(page.replace(f"<meta http-equiv{policy}>", ""))
        run_chromium(tmp_path, "--dump-dom", (tmp_path / "page.html").as_uri())
        assert asked == []
        # the same without the page's policy: the judge would have seen it
        run_chromium(tmp_path, "--dump-dom", (tmp_path / "open.html").as_uri())
        assert "/image" in asked
    finally:
        server.shutdown()
        server.server_close()
