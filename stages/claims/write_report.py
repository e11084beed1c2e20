"""Write the report: one HTML page with every verdict and figure, which needs no network and no other file.

python -m stages.claims.write_report --claims claims.json --sections '[{...}]' --results results/laptop
    --run '{"scale": "laptop", ...}' --benchmarks results/laptop/benchmarks data/benchmarks --report report.html

--sections is a JSON list of {paper, title, caption, figure, table}, paths below --results (table may be null); one may
have `notes`, a text file of paragraphs, a line each.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from stages.claims.page import TITLES, Run, Section, render
from stages.lib.core.artifacts import read_json, write_text
from stages.lib.core.commands import from_json
from stages.lib.core.errors import InputError, run


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    claims = read_json(args.claims)
    try:
        wanted = json.loads(args.sections)
    except json.JSONDecodeError as error:
        raise InputError(f"--sections is not JSON: {error}") from error
    sections = [_section(args.results, item) for item in wanted]
    if unknown := [section.paper for section in sections if section.paper not in TITLES]:
        raise InputError(f"a section's paper is {unknown[0]!r}: choose from {', '.join(TITLES)}")
    page = render(claims, sections, from_json(Run, args.run, where="--run"), read_jobs(args.benchmarks))
    write_text(args.report, page)
    print(f"{len(page.encode()) / 1e6:.1f} MB, {len(claims)} claims, {len(sections)} figures")


def read_jobs(folders: Sequence[Path]) -> pd.DataFrame:
    """rule, job, seconds, cpu_seconds, memory_mb of every benchmark file below the folders, longest first.

    What Snakemake could not sample, of jobs that are over at once, counts as 0.
    """
    files = [(folder, file) for folder in folders for file in sorted(folder.rglob("*.tsv"))]
    rows = []
    for folder, file in files:
        rule, *job = file.relative_to(folder).with_suffix("").parts
        row = pd.to_numeric(pd.read_csv(file, sep="\t").iloc[0].drop("h:m:s"), errors="coerce").fillna(0.0)
        rows.append((rule, "/".join(job), row["s"], row["cpu_time"], row["max_rss"]))
    table = pd.DataFrame(rows, columns=["rule", "job", "seconds", "cpu_seconds", "memory_mb"])
    return table.sort_values("seconds", ascending=False, ignore_index=True)


def _section(results: Path, item: dict) -> Section:
    return Section(
        paper=item["paper"],
        title=item["title"],
        caption=item["caption"],
        svg=(results / item["figure"]).read_text(encoding="utf-8"),
        table=pd.read_csv(results / item["table"]) if item["table"] else None,
        table_name=item["table"] or "",
        notes=tuple((results / item["notes"]).read_text(encoding="utf-8").splitlines())
        if item.get("notes")
        else (),
    )


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="write_report", description=__doc__.splitlines()[0])
    parser.add_argument("--claims", type=Path, required=True, help="claims.json")
    parser.add_argument("--sections", required=True, help="JSON list of the figures, in their order")
    parser.add_argument("--results", type=Path, required=True, help="folder of the scale's results")
    parser.add_argument("--run", required=True, help="JSON with the keys of Run")
    parser.add_argument(
        "--benchmarks", type=Path, nargs="+", required=True, help="folders of Snakemake's benchmark files"
    )
    parser.add_argument("--report", type=Path, required=True)
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
