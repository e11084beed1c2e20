"""Speed of our static timing against OpenSTA: all 256 weights of each netlist by case analysis, same delays out.

python -m stages.hardware.bench_static_timing --netlist out/array.json out/default.json --bench static_timing.json

Two comparisons a netlist, in sweeps of 256 weights per second: "sweep" times the loop over weights alone (OpenSTA's
inside Tcl, ours warm; wall time), "process" adds what each needs before it: reading library and netlist, linking; for
OpenSTA a whole process (processor time). `compile_s` beside them is what numba's compilation costs once on a
machine; it is cached afterwards.
Runs in the environment `hardware`; NETLIST.v stands beside NETLIST.json.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numba
import numpy as np

from stages.hardware.cell_library import Technology, find_technology, write_working_copy
from stages.hardware.liberty import read_library
from stages.hardware.netlist import read_netlist
from stages.hardware.opensta import opensta_program, opensta_version, run_sweep, sweep_script
from stages.hardware.static_timing import case_delays_ns
from stages.lib.core.artifacts import write_json
from stages.lib.core.bench import Comparison
from stages.lib.core.errors import InputError, run
from stages.lib.core.measurements import device_record

WEIGHTS = np.arange(-128, 128)
AGREEMENT_NS = 1e-5


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    if args.runs < 1:
        raise InputError(f"--runs is {args.runs}; choose 1 or more")
    opensta_program()
    technology = find_technology(args.library)
    device = device_record(threads=1, versions={"numba": numba.__version__, "numpy": np.__version__})
    compile_s = measure_compile_s(args.netlist[0], args.library)
    records: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        copy = write_working_copy(technology, Path(folder))
        for path in map(Path, args.netlist):
            for comparison, differing in compare(path, technology, copy, args.runs, device):
                extra = {"compile_s": compile_s, "weights_that_differ": differing}
                records.append(asdict(comparison) | extra)
    write_json(args.bench, records)


def compare(
    path: Path, technology: Technology, copy: Path, runs: int, device: dict[str, Any]
) -> list[tuple[Comparison, int]]:
    """Both in turns, `runs` times, after one untimed turn; and the weights whose delays differ by more than 1e-5 ns."""
    library = read_library(technology.library)
    netlist = read_netlist(path, library, output_load_ff=technology.output_load_ff)
    script = sweep_script(
        path.with_suffix(".v").resolve(),
        copy,
        top=netlist.name,
        weights=WEIGHTS,
        weight_bits=8,
        capacitance_ff=library.capacitance_ff,
        input_slew_ns=technology.input_slew_ns,
        output_load_ff=technology.output_load_ff,
    )
    ours, peer = ours_once(path, technology), run_sweep(script, copy.parent)
    differing = int((np.abs(ours.delay_ns - peer.delay_ns) > AGREEMENT_NS).sum())
    times: dict[str, list[tuple[float, float]]] = {"sweep": [], "process": []}
    for _ in range(runs):
        ours = ours_once(path, technology)
        before_s = _children_s()
        peer = run_sweep(script, copy.parent)
        times["sweep"].append((ours.sweep_s, peer.sweep_s))
        times["process"].append((ours.process_s, _children_s() - before_s))
    return [
        (_comparison(f"static_timing_{kind}_{path.stem}_{technology.name}", pairs, device), differing)
        for kind, pairs in times.items()
    ]


@dataclass(frozen=True, kw_only=True)
class OurTurn:
    """delay_ns (256,), wall time of the sweep, processor time with reading library and netlist."""

    delay_ns: np.ndarray
    sweep_s: float
    process_s: float


def ours_once(path: Path, technology: Technology) -> OurTurn:
    start_s = time.process_time()
    library = read_library(technology.library)
    netlist = read_netlist(path, library, output_load_ff=technology.output_load_ff)
    sweep_start_s = time.perf_counter()
    delay_ns = case_delays_ns(netlist, {"w": WEIGHTS}, input_slew_ns=technology.input_slew_ns)
    sweep_s = time.perf_counter() - sweep_start_s
    return OurTurn(delay_ns=delay_ns, sweep_s=sweep_s, process_s=time.process_time() - start_s)


def measure_compile_s(netlist: str, library: str) -> float:
    """Seconds of the first sweep less those of the second, in a process that finds no compiled code."""
    code = (
        "import sys; from pathlib import Path\n"
        "from stages.hardware.bench_static_timing import find_technology, ours_once\n"
        "technology = find_technology(sys.argv[2])\n"
        "first, second = (ours_once(Path(sys.argv[1]), technology).sweep_s for _ in range(2))\n"
        "print(first - second)\n"
    )
    with tempfile.TemporaryDirectory() as empty:
        environment = os.environ | {"NUMBA_CACHE_DIR": empty}
        command = [sys.executable, "-c", code, netlist, library]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def _children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _comparison(id: str, pairs: Sequence[tuple[float, float]], device: dict[str, Any]) -> Comparison:
    ratios = [peer_s / ours_s for ours_s, peer_s in pairs]
    return Comparison(
        id=id,
        ours=1 / median(ours_s for ours_s, _ in pairs),
        peer=1 / median(peer_s for _, peer_s in pairs),
        peer_name="OpenSTA",
        peer_version=opensta_version(),
        ratio=median(ratios),
        ratio_runs=ratios,
        unit="sweeps of 256 weights/s",
        runs=len(pairs),
        device=device,
    )


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--netlist", nargs="+", required=True, help="JSON netlists of synthesise_multipliers")
    parser.add_argument("--library", default="nangate45", help="nangate45 or osu018")
    parser.add_argument("--runs", type=int, default=5, help="timed runs of each")
    parser.add_argument("--bench", required=True, help="JSON to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
