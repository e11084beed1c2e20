"""OpenSTA as a judge: a Tcl script that sweeps a weight port by case analysis, and the reader of its answer."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.lib.core.errors import InputError


@dataclass(frozen=True, kw_only=True)
class OpenstaSweep:
    """delay_ns by weight, nan where no path is left; sweep_s is the loop alone, without loading and linking."""

    weights: np.ndarray
    delay_ns: np.ndarray
    unconstrained_delay_ns: float
    sweep_s: float


def opensta_program() -> str:
    program = shutil.which("sta")
    if program is None:
        raise InputError("OpenSTA (sta) is not installed; on Debian: apt-get install opensta")
    return program


def opensta_version() -> str:
    done = subprocess.run([opensta_program(), "-version"], capture_output=True, text=True, check=True)
    return done.stdout.split()[0]


def sweep_script(
    verilog: Path,
    library: Path,
    *,
    top: str,
    weights: np.ndarray,
    weight_bits: int,
    capacitance_ff: float,
    input_slew_ns: float,
    output_load_ff: float,
    weight_port: str = "w",
) -> str:
    """Tcl text. Time unit of the library: ns.

    library         without a default wire load, or OpenSTA adds wires
    capacitance_ff  of the library's capacitance unit
    """
    # OpenSTA compares slacks with a relative tolerance, in single precision: a period near the delays keeps them small
    return f"""
read_liberty {library}
read_verilog {verilog}
link_design {top}
create_clock -name virtual -period 1
set_input_delay 0 -clock virtual [all_inputs]
set_output_delay 0 -clock virtual [all_outputs]
set_load {output_load_ff / capacitance_ff} [all_outputs]
set_input_transition {input_slew_ns} [all_inputs]
# by default a delay that changes by less than 1 % keeps what follows it from being computed again
sta::set_delay_calc_incremental_tolerance 0.0
puts "DELAY all [expr 1.0 - [worst_slack]]"
set start [clock microseconds]
foreach w {{{" ".join(map(str, weights))}}} {{
  for {{set b 0}} {{$b < {weight_bits}}} {{incr b}} {{
    set_case_analysis [expr ($w >> $b) & 1] [get_ports "{weight_port}\\[$b\\]"]
  }}
  puts "DELAY $w [expr 1.0 - [worst_slack]]"
}}
puts "SWEEP_US [expr [clock microseconds] - $start]"
"""


def run_sweep(script: str, folder: Path) -> OpenstaSweep:
    file = folder / "sweep.tcl"
    file.write_text(script, encoding="utf-8")
    done = subprocess.run(
        [opensta_program(), "-no_splash", "-exit", str(file)], capture_output=True, text=True, check=False
    )
    found = dict(re.findall(r"^DELAY (\S+) (\S+)$", done.stdout, flags=re.MULTILINE))
    microseconds = re.search(r"^SWEEP_US (\d+)$", done.stdout, flags=re.MULTILINE)
    if microseconds is None:
        raise InputError(f"OpenSTA stopped: {(done.stdout + done.stderr).strip()[-300:]}")
    everything = float(found.pop("all"))
    delay_ns = np.array([float(text) for text in found.values()])
    # without a path the slack is a huge number
    return OpenstaSweep(
        weights=np.array([int(w) for w in found]),
        delay_ns=np.where(np.abs(delay_ns) < 1e6, delay_ns, np.nan),
        unconstrained_delay_ns=everything,
        sweep_s=int(microseconds[1]) / 1e6,
    )
