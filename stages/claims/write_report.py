"""Write the report: one HTML page with every verdict and figure, which needs no network and no other file.

python -m stages.claims.write_report --claims claims.json --sections '[{...}]' --results results/laptop
    --report report.html

--sections is a JSON list of {paper, title, caption, figure, table}, paths below --results (table may be null); one may
have `notes`, a text file of paragraphs, a line each.
The cost of the run is read from the benchmark files of the rules below --results.
"""

import argparse
import json
from pathlib import Path

import pandas as pd

from stages.claims.page import Section, render
from stages.lib.core.artifacts import read_json, write_text
from stages.lib.core.errors import InputError, run


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    claims = read_json(args.claims)
    try:
        wanted = json.loads(args.sections)
    except json.JSONDecodeError as error:
        raise InputError(f"--sections is not JSON: {error}") from error
    sections = [_section(args.results, item) for item in wanted]
    page = render(claims, sections, read_costs(args.results / "benchmarks"), scale=args.results.name)
    write_text(args.report, page)


def read_costs(folder: Path) -> pd.DataFrame:
    """rule, job, seconds, memory_mb of every benchmark file below `folder`, longest first."""
    rows = []
    for file in sorted(folder.rglob("*.tsv")):
        row = pd.read_csv(file, sep="\t").iloc[0]
        parts = file.relative_to(folder).with_suffix("").parts
        memory_mb = pd.to_numeric(row["max_rss"], errors="coerce")
        rows.append(
            (parts[0], "/".join(parts[1:]), float(row["s"]), 0.0 if pd.isna(memory_mb) else memory_mb)
        )
    table = pd.DataFrame(rows, columns=["rule", "job", "seconds", "memory_mb"])
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
    parser.add_argument("--report", type=Path, required=True)
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
