"""All benchmarks of a scale in one table: ours, the peer, their ratio and how far it varies over runs.

python -m workflow.lib.bench_summary --scale laptop

Reads results/SCALE/bench/*.json, writes results/SCALE/bench.md beside that folder, and prints it. Of the run with the
most jobs whose records are here it adds what the workflow itself cost.
"""

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from stages.lib.core.artifacts import read_json, write_text
from stages.lib.core.errors import InputError, run
from workflow.lib.bench_overhead import WholeRun, last_run
from workflow.lib.settings import ROOT


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    folder = ROOT / "results" / args.scale
    files = sorted((folder / "bench").glob("*.json"))
    if not files:
        raise InputError(f"results/{args.scale}/bench holds no benchmark; make them with ./repro bench")
    page = summary([line for file in files for line in read_json(file)], last_run(ROOT, args.scale))
    write_text(folder / "bench.md", page)
    print(page, end="")


def summary(lines: Iterable[dict[str, Any]], whole: WholeRun | None) -> str:
    """Markdown of lines of bench files (stages.lib.core.bench.Comparison), one row each."""
    page = [
        "# Benchmarks",
        "",
        "Ours and the peer timed in turns in one run. A ratio above 1: ours is better.",
        "",
        "| id | ours | peer | ratio | lowest to highest | runs | device |",
        "|---|---|---|---|---|---|---|",
        *(_row(line) for line in lines),
    ]
    if whole is not None:
        page += [
            "",
            f"The workflow itself: {whole.overhead:.1%} of a run of {len(whole.jobs)} jobs on {whole.cores} cores"
            f" ({whole.wall_s:.0f} s), in which no job on the critical path was at work.",
        ]
    return "\n".join(page) + "\n"


def _row(line: dict[str, Any]) -> str:
    low, high = min(line["ratio_runs"]), max(line["ratio_runs"])
    peer = f"{line['peer_name']} {line['peer_version']}".strip()
    device = line["device"]
    cells: Sequence[str] = [
        line["id"],
        f"{line['ours']:.3g} {line['unit']}",
        f"{line['peer']:.3g}, {peer}",
        f"{line['ratio']:.2f}",
        f"{low:.2f} to {high:.2f}",
        str(line["runs"]),
        f"{device['device']}, {device['cpu']}, {device['threads']} threads",
    ]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench_summary", description=__doc__.splitlines()[0])
    parser.add_argument("--scale", default="laptop")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
