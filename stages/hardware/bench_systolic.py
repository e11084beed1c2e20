"""Layers a second of our systolic model against SCALE-Sim 3.0.0, one thread, the same cycles out.

python -m stages.hardware.bench_systolic --bench systolic.json [--runs 3]

Runs in the environment `oracles`. Timed is the work on 76 layers (12 setups of array and dataflow, and 4 more with n:m
sparsity): ours from layer tables to cycles, SCALE-Sim's run from parsed files to written reports; starting Python,
imports and writing or parsing SCALE-Sim's input files are timed for neither. SCALE-Sim simulates every cycle and also
counts memory accesses, on which the cycles compared here, those without stalls, do not depend.
"""

import argparse
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd

from stages.hardware.scale_sim import Setup, judged_layers, prepare, simulate
from stages.lib.core.bench import Comparison, write_bench
from stages.lib.core.errors import InputError, run
from stages.lib.core.measurements import device_record
from stages.lib.core.progress import Progress
from stages.lib.costs.systolic import SystolicArray, compute_cycles

Parts = list[tuple[Setup, pd.DataFrame]]


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    if args.runs < 1:
        raise InputError(f"--runs is {args.runs}; choose 1 or more")
    layers = judged_layers()
    keys = [layers["rows"], layers["columns"], layers["dataflow"], layers["kept"] < layers["of"]]
    parts = [
        (Setup(rows=rows, columns=columns, dataflow=dataflow, sparse=sparse), part)
        for (rows, columns, dataflow, sparse), part in layers.groupby(keys)
    ]
    modelled(parts)  # the first call of either loads what later calls have
    peer_s(parts[:1], modelled(parts[:1]))
    ours_s, peers_s, progress = [], [], Progress(args.runs, "runs")
    for _ in range(args.runs):
        start_s = time.process_time()
        cycles = modelled(parts)
        ours_s.append(time.process_time() - start_s)
        peers_s.append(peer_s(parts, cycles))
        progress.advance()
    comparison = Comparison(
        id="systolic-scalesim",
        ours=len(layers) / median(ours_s),
        peer=len(layers) / median(peers_s),
        peer_name="SCALE-Sim, run_scale on parsed files",
        peer_version=version("scalesim"),
        ratio=median(peer / ours for ours, peer in zip(ours_s, peers_s, strict=True)),
        ratio_runs=[peer / ours for ours, peer in zip(ours_s, peers_s, strict=True)],
        unit="layers/s",
        runs=args.runs,
        device=device_record(threads=1, versions={"numpy": np.__version__, "pandas": pd.__version__}),
    )
    write_bench(args.bench, [comparison])
    print(
        f"{comparison.id}: {len(layers)} layers with equal cycles, {comparison.ours:.0f} {comparison.unit}, "
        f"{comparison.peer_name} {comparison.peer_version} {comparison.peer:.2f}, ratio {comparison.ratio:.0f}"
    )


def modelled(parts: Parts) -> list[np.ndarray]:
    return [
        compute_cycles(
            part,
            SystolicArray(rows=setup.rows, columns=setup.columns),
            dataflow=setup.dataflow,
            kept=part["kept"].to_numpy(),
            of=part["of"].to_numpy(),
        )
        for setup, part in parts
    ]


def peer_s(parts: Parts, cycles: list[np.ndarray]) -> float:
    """CPU seconds of SCALE-Sim, whose last cycle (from 0) must be one less than our count."""
    spent_s = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for i, ((setup, part), ours) in enumerate(zip(parts, cycles, strict=True)):
            place = Path(folder) / str(i)
            simulator = prepare(part, setup, place)
            start_s = time.process_time()
            report = simulate(simulator, place)
            spent_s += time.process_time() - start_s
            if differing := int((report["last_cycle"].to_numpy() != ours - 1).sum()):
                raise AssertionError(f"{differing} layers differ from SCALE-Sim on {setup}")
    return spent_s


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bench", required=True, help="JSON to write")
    parser.add_argument("--runs", type=int, default=3, help="timed runs of each; the medians are written")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
