"""Benchmarks: ours and a peer timed in turns in one run, so that a busy machine slows both."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from stages.lib.core.artifacts import write_json


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One line of a bench file. ratio > 1: ours is better; `ratio_runs` holds each run's ratio."""

    id: str
    ours: float
    peer: float
    peer_name: str
    peer_version: str
    ratio: float
    ratio_runs: Sequence[float]
    unit: str
    runs: int
    device: dict[str, Any]


def compare_speed(
    id: str,
    ours: Callable[[], object],
    peer: Callable[[], object],
    *,
    work: float,
    unit: str,
    runs: int,
    peer_name: str,
    peer_version: str,
    device: dict[str, Any],
    clock: Callable[[], float] | None = None,
) -> Comparison:
    """Time both, alternating, after one untimed call each.

    work  units of work in one call (`unit` is work per second, for instance "GB/s"): higher is better.
    clock  by default the CPU time of this process: one thread's work is not made longer by a neighbour
    The figures are the medians over `runs`; the ratio is the median of the runs' ratios.
    """
    clock = clock or time.process_time
    ours(), peer()
    pairs = [(_seconds(ours, clock), _seconds(peer, clock)) for _ in range(runs)]
    ratios = [peer_s / ours_s for ours_s, peer_s in pairs]
    return Comparison(
        id=id,
        ours=work / median(ours_s for ours_s, _ in pairs),
        peer=work / median(peer_s for _, peer_s in pairs),
        peer_name=peer_name,
        peer_version=peer_version,
        ratio=median(ratios),
        ratio_runs=ratios,
        unit=unit,
        runs=runs,
        device=device,
    )


def write_bench(path: str | Path, comparisons: Sequence[Comparison]) -> None:
    write_json(path, [asdict(c) for c in comparisons])


def _seconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    start_s = clock()
    work()
    return clock() - start_s
