"""The report's page: claims, figures and the cost of the run, as one HTML text that needs nothing else."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from stages.claims.config import PAPERS
from stages.claims.verdicts import VERDICTS

TITLES = {
    "egogestvid": "EgoGestVid: synthetic egocentric gesture video",
    "pre_dfkd": "PRE-DFKD: data-free distillation with pseudo replay",
    "condensed_expansion": "Condensed data expansion by model inversion",
    "crisp": "CRISP: class-aware N:M and block pruning",
    "minifloats": "Shedding the Bits: minifloat quantisation",
    "halo": "HALO: delay-aware quantisation of language models",
    "daop": "DAOP: mixture-of-experts inference with offloading",
    "teachers": "Teachers",
}


@dataclass(frozen=True, kw_only=True)
class Section:
    """A figure of the report: its SVG text and the table behind it."""

    paper: str
    title: str
    caption: str
    svg: str
    table: pd.DataFrame | None
    table_name: str
    notes: tuple[str, ...] = ()  # paragraphs that the stage wrote beside the figure


def render(
    claims: Sequence[dict[str, Any]], sections: Sequence[Section], costs: pd.DataFrame, *, scale: str
) -> str:
    """The page. costs: rule, job, seconds, memory_mb."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    papers = [p for p in ("teachers", *PAPERS) if any(s.paper == p for s in sections) or p in PAPERS]
    return environment.get_template("report.html.j2").render(
        scale=scale,
        counts=[(v, n) for v in VERDICTS if (n := Counter(c["verdict"] for c in claims)[v])],
        papers=[
            {
                "name": paper,
                "title": TITLES[paper],
                "claims": sorted(
                    (c for c in claims if c["paper"] == paper), key=lambda c: VERDICTS.index(c["verdict"])
                ),
                "sections": [
                    {
                        "title": s.title,
                        "caption": s.caption,
                        "svg": inline_svg(s.svg, prefix=f"f{i}"),
                        "table": table_html(s.table),
                        "table_name": s.table_name,
                        "notes": s.notes,
                    }
                    for i, s in enumerate(sections)
                    if s.paper == paper
                ],
            }
            for paper in sorted(papers, key=lambda p: not any(s.paper == p for s in sections))
        ],
        digests=sorted({item for c in claims for item in c["dataset_digest"].items()}),
        devices=_devices(claims),
        costs=costs.to_dict("records"),
        total_s=float(costs["seconds"].sum()) if len(costs) else 0.0,
    )


def inline_svg(svg: str, *, prefix: str) -> Markup:
    """A figure's SVG for use inside a page: without its XML head, with ids that no other figure has.

    Figures are our own; what could run or load something is taken out all the same.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<script.*?</script>", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{prefix}-', body)
    body = re.sub(r'((?:xlink:)?href)="#', rf'\1="#{prefix}-', body)
    return Markup(re.sub(r"url\(#", f"url(#{prefix}-", body))


def table_html(table: pd.DataFrame | None, *, rows: int = 60) -> Markup:
    if table is None:
        return Markup("")
    return Markup(table.head(rows).to_html(index=False, border=0, float_format="%.4g", na_rep=""))


def _devices(claims: Sequence[dict[str, Any]]) -> list[str]:
    found = set()
    for device in (c["device"] for c in claims if c["device"]):
        versions = ", ".join(
            f"{name} {version}" for name, version in sorted(device.get("versions", {}).items())
        )
        found.add(f"{device.get('cpu', '')}, {device.get('threads', '?')} thread(s) a job, {versions}")
    return sorted(found)
