"""Give every claim its verdict.

python -m stages.claims.judge_claims --claims '{"claims": [...]}' --settings '{"confidence": 0.95}' --scale laptop
    --measurements minifloats/measurements.json --built minifloats --unavailable= --json claims.json
    --markdown claims.md --metrics metrics.json

metrics.json has of each claim that was measured no more than what two revisions are compared by.

"""

import argparse
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stages.claims.config import PAPERS, Claim, ClaimList, ClaimsConfig
from stages.claims.verdicts import VERDICTS, by_claim, judge
from stages.lib.core.artifacts import write_json, write_text
from stages.lib.core.commands import from_json
from stages.lib.core.errors import InputError, run
from stages.lib.core.measurements import Measurement, read_measurements


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    claims = from_json(ClaimList, args.claims, where="--claims").claims
    settings = from_json(ClaimsConfig, args.settings, where="--settings")
    measured = by_claim([m for file in args.measurements for m in read_measurements(file)])
    if unknown := sorted(set(measured) - {claim.id for claim in claims}):
        raise InputError(f"{unknown[0]} is measured but not listed in config/claims.yaml; add it there")
    records = [
        record_of(
            claim,
            measured.get(claim.id),
            scale=args.scale,
            unavailable=_names(args.unavailable),
            built=_names(args.built),
            confidence=settings.confidence,
        )
        for claim in claims
    ]
    write_json(args.json, records)
    write_text(args.markdown, markdown(records, args.scale))
    write_json(args.metrics, metrics(records))
    print(summary(records))


def record_of(
    claim: Claim,
    measurement: Measurement | None,
    *,
    scale: str,
    unavailable: frozenset[str],
    built: frozenset[str],
    confidence: float,
) -> dict[str, Any]:
    """One entry of claims.json."""
    verdict = judge(claim, measurement, unavailable=unavailable, built=built, confidence=confidence)
    return {
        "id": claim.id,
        "paper": claim.paper,
        "scale": scale,
        "class": claim.kind,
        "origin": claim.origin,
        "statement": claim.statement,
        "decided_by": claim.decided_by,
        "published": claim.published.value if claim.published else None,
        "evidence": claim.published.evidence if claim.published else None,
        "measured": measurement.value if measurement else None,
        "unit": measurement.unit if measurement else None,
        "n": measurement.n if measurement else None,
        "interval": list(verdict.interval) if verdict.interval else None,
        "seeds": sorted({sample.seed for sample in measurement.samples}) if measurement else [],
        "controls": measurement.controls if measurement else {},
        "dataset_digest": measurement.dataset_digest if measurement else {},
        "device": measurement.device if measurement else {},
        "recorded": measurement.recorded if measurement else None,
        "bound": asdict(claim.bound) if claim.bound else None,
        "verdict": verdict.verdict,
        "reason": verdict.reason,
    }


def summary(records: list[dict[str, Any]]) -> str:
    counts = Counter(record["verdict"] for record in records)
    return f"{len(records)} claims: " + ", ".join(f"{counts[v]} {v}" for v in VERDICTS if counts[v])


def metrics(records: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Claim -> measured value, ends of its interval and verdict, of the claims that were measured."""
    return {
        record["id"]: {"measured": record["measured"], "verdict": record["verdict"]}
        | dict(zip(("low", "high"), record["interval"] or (), strict=False))
        for record in records
        if record["measured"] is not None
    }


def markdown(records: list[dict[str, Any]], scale: str) -> str:
    """claims.md: counts, then a table a paper, decided claims first."""
    lines = [f"# Claims at scale {scale}", "", summary(records) + "."]
    for paper in PAPERS:
        rows = [record for record in records if record["paper"] == paper]
        lines += [
            "",
            f"## {paper}",
            "",
            "| claim | class | statement | verdict | reason |",
            "|---|---|---|---|---|",
        ]
        for row in sorted(rows, key=lambda r: VERDICTS.index(r["verdict"])):
            cells = [row["id"], row["class"], row["statement"], row["verdict"], row["reason"]]
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _names(text: str) -> frozenset[str]:
    return frozenset(filter(None, text.split(",")))


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="judge_claims", description=__doc__.splitlines()[0])
    parser.add_argument("--claims", required=True, help="the list of claims as JSON text")
    parser.add_argument("--settings", default="{}", help="JSON with the keys of ClaimsConfig")
    parser.add_argument(
        "--measurements", type=Path, nargs="*", default=[], help="measurements.json, one a paper"
    )
    parser.add_argument("--scale", required=True)
    parser.add_argument("--built", default="", help="papers whose stage is built, with commas")
    parser.add_argument("--unavailable", default="", help="data sets that no source has here, with commas")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--markdown", type=Path, required=True)
    parser.add_argument("--metrics", type=Path, required=True)
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
