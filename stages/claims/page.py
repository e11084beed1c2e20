"""The report's page: what was run and on what, verdicts, figures and costs, as one HTML text that needs nothing else."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from stages.claims.config import CLASSES, PAPERS
from stages.claims.verdicts import VERDICTS

# part of the page -> short name and title, in the page's order
TITLES = {
    "chain": ("Chain", "One recogniser through every paper"),
    "egogestvid": ("EgoGestVid", "Synthetic egocentric gesture video"),
    "pre_dfkd": ("PRE-DFKD", "Data-free distillation with pseudo replay"),
    "condensed_expansion": ("Condensed Data Expansion", "Condensed sets, expanded by model inversion"),
    "crisp": ("CRISP", "Class-aware N:M and block pruning"),
    "minifloats": ("Shedding the Bits", "Minifloat quantisation"),
    "halo": ("HALO", "Delay-aware quantisation of language models"),
    "daop": ("DAOP", "Mixture-of-experts inference with offloading"),
    "teachers": ("Teachers", "The networks that the others start from"),
}
# file of rules -> part of the page, where its name is another
PART_OF = {
    "hands": "egogestvid",
    "planar": "egogestvid",
    "replay": "pre_dfkd",
    "expansion": "condensed_expansion",
    "pruning": "crisp",
    "quantization": "minifloats",
    "offload": "daop",
}
# what has a cost and no part of the page
OTHER_COSTS = {
    "hardware": "Hardware models",
    "datasets": "Data sets",
    "claims": "Claims and report",
}
MARKS = dict(zip(VERDICTS, "✓✗?–∅", strict=True))  # so that verdicts are told apart without colours
RELATIONS = {"==": "=", ">=": "≥", "<=": "≤"}
ROWS = 60  # of a figure's table that the page holds


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


@dataclass(frozen=True, kw_only=True)
class Data:
    """A data set or a pretrained model that the scale names."""

    name: str
    title: str
    licence: str
    redistribute: bool
    available: bool  # whether some source has it here
    digests: dict[str, str]  # of each split, or of each source's file


@dataclass(frozen=True, kw_only=True)
class Run:
    """What the page says of a run besides its claims and figures."""

    scale: str
    confidence: float  # of the claims' intervals, 0..1
    data: tuple[Data, ...]
    versions: dict[str, dict[str, str]]  # environment -> package -> locked version
    stages: dict[str, str]  # rule -> the file that it stands in, one a stage


def render(
    claims: Sequence[dict[str, Any]], sections: Sequence[Section], run: Run, jobs: pd.DataFrame
) -> str:
    """The page. Each part has claims, sections or both.

    jobs  rule, job, seconds, cpu_seconds, memory_mb; what rules of today did not run is left out
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    jobs = jobs.assign(stage=jobs["rule"].map(run.stages)).dropna(subset="stage")
    listed = {data.name for data in run.data}
    digests = {item for claim in claims for item in claim["dataset_digest"].items()}
    return environment.get_template("report.html.j2").render(
        run=run,
        marks=MARKS,
        relations=RELATIONS,
        rows=ROWS,
        counts=Counter(claim["verdict"] for claim in claims),
        classes=[(name, _verdicts(claims, "class", name)) for name in CLASSES],
        parts=[
            {
                "name": name,
                "short": short,
                "title": title,
                "verdicts": _verdicts(claims, "paper", name),
                "claims": sorted(
                    (claim for claim in claims if claim["paper"] == name),
                    key=lambda claim: VERDICTS.index(claim["verdict"]),
                ),
                "sections": [
                    {"section": section, "svg": inline_svg(section.svg, section.title, prefix=f"f{i}")}
                    for i, section in enumerate(sections)
                    if section.paper == name
                ],
            }
            for name, (short, title) in TITLES.items()
            if name in PAPERS or any(section.paper == name for section in sections)
        ],
        machines=_machines(claims),
        recorded=_recorded_versions(claims),
        # splits of sets have their digests in the list of data
        made=sorted((name, digest) for name, digest in digests if name.partition("/")[0] not in listed),
        jobs=jobs,
        costs=costs_by_part(jobs),
        table_html=table_html,
    )


def costs_by_part(jobs: pd.DataFrame) -> list[dict[str, Any]]:
    """Of each part of the page, in its order, and of what serves several: number, times, their shares, memory.

    jobs  stage, seconds, cpu_seconds, memory_mb
    """
    names = jobs["stage"].replace(PART_OF)
    total = jobs[["seconds", "cpu_seconds"]].sum().clip(lower=1e-9)
    labels = {name: short for name, (short, _) in TITLES.items()} | OTHER_COSTS
    return [
        {
            "name": name,
            "label": label,
            "jobs": len(own),
            "seconds": own["seconds"].sum(),
            "share": own["seconds"].sum() / total["seconds"],
            "cpu_seconds": own["cpu_seconds"].sum(),
            "cpu_share": own["cpu_seconds"].sum() / total["cpu_seconds"],
            "memory_mb": own["memory_mb"].max(),
        }
        for name, label in labels.items()
        if len(own := jobs[names == name])
    ]


def inline_svg(svg: str, title: str, *, prefix: str) -> Markup:
    """A figure's SVG for use inside a page: without its XML head, with a name, and ids that no other figure has.

    Figures are our own; what could run or load something is taken out all the same.
    """
    body = svg[svg.index("<svg") + len("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<script.*?</script>", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{prefix}-', body)
    body = re.sub(r'((?:xlink:)?href)="#', rf'\1="#{prefix}-', body)
    body = re.sub(r"url\(#", f"url(#{prefix}-", body)
    return Markup(f'<svg role="img" aria-label="{escape(title)}"{body}')


def table_html(table: pd.DataFrame) -> Markup:
    return Markup(table.head(ROWS).to_html(index=False, border=0, float_format="%.4g", na_rep=""))


def number(value: float) -> str:
    """Four digits, and whole numbers whole."""
    whole = abs(value) >= 1e4 or value == round(value)
    return f"{value:.0f}" if whole and abs(value) < 1e9 else f"{value:.4g}"


def _verdicts(claims: Sequence[dict[str, Any]], key: str, name: str) -> list[int]:
    counts = Counter(claim["verdict"] for claim in claims if claim[key] == name)
    return [counts[verdict] for verdict in VERDICTS]


def _machines(claims: Sequence[dict[str, Any]]) -> list[tuple[str, int]]:
    """What computed the measurements, and how many of them."""
    found = Counter(
        f"{device.get('cpu') or 'a processor that was not recorded'} ({', '.join(device.get('cpu_flags', ()))}),"
        f" device {device.get('device', '?')}, {device.get('threads', '?')} thread(s) a job"
        for device in (claim["device"] for claim in claims)
        if device
    )
    return sorted(found.items())


def _recorded_versions(claims: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """Package -> versions that stand beside the measurements."""
    found: dict[str, set[str]] = {}
    for claim in claims:
        for package, version in claim["device"].get("versions", {}).items():
            found.setdefault(package, set()).add(version)
    return [(package, ", ".join(sorted(versions))) for package, versions in sorted(found.items())]
