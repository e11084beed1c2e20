"""Energy of memory accesses: SRAM by capacity (modelled by CACTI 7) and DRAM per byte (published constants).

`sram_cacti.csv` beside this file is made by stages.hardware.measure_sram_energy; its header says from what. Energies are
those of a model of the hardware, never measured here. For scale, at 45 nm with 8-byte words they are 0.53, 0.75 and 0.68
of the 10, 20 and 100 pJ that Horowitz (ISSCC 2014, figure 1.1.9) gives for caches of 8 KiB, 32 KiB and 1 MiB, with tags.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from stages.lib.core.errors import InputError

SRAM_TABLE = Path(__file__).with_name("sram_cacti.csv")


@dataclass(frozen=True, kw_only=True)
class SramEnergy:
    """One SRAM bank with a single port; read_fj and write_fj are for one access of word_bytes."""

    capacity_bytes: int
    word_bytes: int
    technology_nm: int
    read_fj: float
    write_fj: float
    leakage_mw: float

    @property
    def read_fj_per_byte(self) -> float:
        return self.read_fj / self.word_bytes

    @property
    def write_fj_per_byte(self) -> float:
        return self.write_fj / self.word_bytes


@dataclass(frozen=True, kw_only=True)
class DramEnergy:
    """A published constant: energy of moving one byte, read or write alike, device and interface together."""

    energy_fj_per_byte: float
    source: str


# Constants differ in what they hold (device, I/O, activation at which locality): compare orders of magnitude, not digits.
DRAM = {
    "HBM2": DramEnergy(
        energy_fj_per_byte=3.92e3 * 8,
        source="3.92 pJ/bit with activation and ECC: O'Connor et al., Fine-Grained DRAM, MICRO 2017, section 2",
    ),
    "LPDDR4": DramEnergy(
        energy_fj_per_byte=8e3 * 8,
        source="8 pJ/bit: CACTI plug-in of Accelergy (the energy model behind Sparseloop, MICRO 2022), LPDDR4",
    ),
    "DDR4": DramEnergy(
        energy_fj_per_byte=1.3e6 / 8,
        source="1.3 nJ for 64 bits, lower end of 1.3-2.6 nJ for commodity DDR: Horowitz, ISSCC 2014, figure 1.1.9",
    ),
}


def sram_energy(capacity_bytes: float, *, technology_nm: int = 45, word_bytes: int = 32) -> SramEnergy:
    """The modelled energies of an SRAM, interpolated in between the table's capacities on log-log axes.

    Raises InputError where the technology or word is not in the table, or the capacity lies outside it.
    """
    table = sram_table()
    choices = sorted(set(zip(table.technology_nm, table.word_bytes, strict=True)))
    if (technology_nm, word_bytes) not in choices:
        words = ", ".join(f"{nm} nm with {word}-byte words" for nm, word in choices)
        raise InputError(
            f"no SRAM of {technology_nm} nm with {word_bytes}-byte words is in {SRAM_TABLE.name}; choose one of {words}"
        )
    rows = table[(table.technology_nm == technology_nm) & (table.word_bytes == word_bytes)]
    low, high = int(rows.capacity_bytes.iloc[0]), int(rows.capacity_bytes.iloc[-1])
    if not low <= capacity_bytes <= high:
        raise InputError(
            f"an SRAM of {capacity_bytes} bytes is outside of the modelled {low} to {high} bytes; choose a capacity"
            " in between, or build a larger memory of several banks"
        )

    def at(column: str) -> float:
        values = np.interp(np.log(capacity_bytes), np.log(rows.capacity_bytes), np.log(rows[column]))
        return float(np.exp(values))

    return SramEnergy(
        capacity_bytes=int(capacity_bytes),
        word_bytes=word_bytes,
        technology_nm=technology_nm,
        read_fj=at("read_fj"),
        write_fj=at("write_fj"),
        leakage_mw=at("leakage_mw"),
    )


def dram_energy_fj_per_byte(kind: str) -> float:
    """Energy of moving one byte to or from DRAM. Raises InputError for a kind that has no constant."""
    if kind not in DRAM:
        raise InputError(f"there is no energy for the DRAM {kind!r}; choose one of {', '.join(DRAM)}")
    return DRAM[kind].energy_fj_per_byte


@cache
def sram_table() -> pd.DataFrame:
    """All modelled points, capacities rising within each technology and word."""
    table = pd.read_csv(SRAM_TABLE, comment="#")
    return table.sort_values(["technology_nm", "word_bytes", "capacity_bytes"], ignore_index=True)
