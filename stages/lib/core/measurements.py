"""Measurements: what a stage found, in the one form that `stages.claims` judges.

A record holds one value or one sample a seed. Intervals and verdicts are computed by `stages.claims` alone.
"""

import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from stages.lib.core.artifacts import read_json, write_json
from stages.lib.core.errors import InputError

SEED_DRAWS = 400


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One seed's value. Samples of two arms that share `pair` are compared with each other."""

    seed: int
    value: float
    pair: str = ""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What decides a claim.

    value           the statistic over all samples (their mean, a count of mismatches, ...)
    unit            of value: "1" for a share or a count, "points", "ns", "fJ", ...
    samples         one a seed; empty for exact claims
    resamples       the value that other draws of the test images would give (bootstrap); empty where there are none
    n               cases behind value (images, values compared, netlists, ...)
    controls        name -> value of each control that was run beside it
    dataset_digest  content digests of the data it rests on, by "name/split"
    """

    claim: str
    value: float
    unit: str
    n: int
    samples: Sequence[Sample] = ()
    resamples: Sequence[float] = ()
    controls: dict[str, float] = field(default_factory=dict)
    dataset_digest: dict[str, str] = field(default_factory=dict)
    device: dict[str, Any] = field(default_factory=dict)
    recorded: str = ""


def over_seeds(
    claim: str,
    by_seed: Mapping[int, float] | Any,
    unit: str,
    n: int,
    controls: Mapping[str, float],
    *,
    resamples: Sequence[float] = (),
) -> Measurement:
    """The mean of one value a seed; by_seed may be a pandas Series. Seeds and controls without a number are left out."""
    samples = [
        Sample(seed=int(seed), value=float(value)) for seed, value in by_seed.items() if isfinite(value)
    ]
    return Measurement(
        claim=claim,
        value=fmean([sample.value for sample in samples]) if samples else 0.0,
        unit=unit,
        samples=samples,
        resamples=resamples,
        n=n,
        controls=finite(controls),
    )


def over_cases(claim: str, values: Any, *, unit: str, n: int, controls: Mapping[str, float]) -> Measurement:
    """One sample a seed, the mean over its cases (studies, teachers); resamples draw seeds anew, from three on.

    values  a pandas Series of one value a case, with an index level "seed"
    """
    seeds = values.groupby(level="seed").mean() if len(values) else values
    resamples: list[float] = []
    if len(seeds) >= 3:
        drawn = np.random.default_rng(0).integers(len(seeds), size=(SEED_DRAWS, len(seeds)))
        resamples = [float(v) for v in seeds.to_numpy()[drawn].mean(axis=1)]
    return over_seeds(claim, seeds, unit=unit, n=n, controls=controls, resamples=resamples)


def finite(controls: Mapping[str, float]) -> dict[str, float]:
    """Without those that have no number here."""
    return {name: float(value) for name, value in controls.items() if isfinite(value)}


def write_measurements(
    path: str | Path, measurements: Sequence[Measurement], *, device: dict[str, Any]
) -> None:
    """Write measurements.json, stamped with the device and the day."""
    today = datetime.now(UTC).date().isoformat()
    write_json(
        path,
        [asdict(m) | {"device": m.device or device, "recorded": m.recorded or today} for m in measurements],
    )


def read_measurements(path: str | Path) -> list[Measurement]:
    """Measurements of a file, checked for the fields that a claim needs."""
    records = read_json(path)
    if not isinstance(records, list):
        raise InputError(f"{path} is not a list of measurements; rerun the stage that makes it")
    return [_measurement(path, record) for record in records]


def device_record(
    *, threads: int, device: str = "cpu", versions: dict[str, str] | None = None
) -> dict[str, Any]:
    """The machine behind a result: processor, instruction sets that change rounding, threads, versions."""
    return {
        "device": device,
        "cpu": _cpu_field("model name") or platform.machine(),
        "cpu_flags": [flag for flag in _VECTOR_FLAGS if flag in (_cpu_field("flags") or "").split()],
        "threads": threads,
        "versions": {"python": platform.python_version(), **(versions or {})},
    }


# instruction sets that choose another kernel, and with it another order of summation
_VECTOR_FLAGS = ("avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "asimd", "sve")


def _measurement(path: str | Path, record: dict[str, Any]) -> Measurement:
    known = Measurement.__dataclass_fields__
    missing = [key for key in ("claim", "value", "unit", "n") if key not in record]
    if missing:
        raise InputError(f"{path}: a measurement lacks {', '.join(missing)}; rerun the stage that makes it")
    samples = tuple(Sample(**sample) for sample in record.get("samples", ()))
    # more columns are allowed by the contract; they are for readers, not for the judge
    return Measurement(**{k: v for k, v in record.items() if k in known} | {"samples": samples})


def _cpu_field(name: str) -> str | None:
    if not sys.platform.startswith("linux"):
        return None
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None
