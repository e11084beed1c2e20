"""Memory energies are of published size, grow with capacity, and are refused where nothing was modelled."""

import numpy as np
import pytest

from stages.hardware import measure_sram_energy
from stages.lib.core.errors import InputError
from stages.lib.costs.memory import DRAM, dram_energy_fj_per_byte, sram_energy, sram_table


@pytest.mark.parametrize(("kib", "published_pj"), [(8, 10), (32, 20), (1024, 100)])
def test_sram_is_within_a_factor_of_two_of_horowitz(kib, published_pj):
    # Horowitz, ISSCC 2014, figure 1.1.9: caches at 45 nm, 64 bits; two models of two circuits agree no closer
    read_pj = sram_energy(kib * 1024, technology_nm=45, word_bytes=8).read_fj / 1000
    assert 0.5 < read_pj / published_pj < 2


@pytest.mark.parametrize("technology_nm", [22, 45])
@pytest.mark.parametrize("word_bytes", [8, 32])
def test_a_larger_sram_costs_more_and_the_table_comes_back_at_its_points(technology_nm, word_bytes):
    capacities = np.geomspace(4096, 8 << 20, 200).round()
    energies = [sram_energy(c, technology_nm=technology_nm, word_bytes=word_bytes) for c in capacities]
    for column in ("read_fj", "write_fj", "leakage_mw"):
        assert (np.diff([getattr(e, column) for e in energies]) > 0).all(), column
    rows = sram_table().query("technology_nm == @technology_nm and word_bytes == @word_bytes")
    assert len(rows) == 12
    for row in rows.itertuples():
        energy = sram_energy(row.capacity_bytes, technology_nm=technology_nm, word_bytes=word_bytes)
        assert energy.read_fj == pytest.approx(row.read_fj, rel=1e-12)
        assert energy.write_fj_per_byte == pytest.approx(row.write_fj / word_bytes, rel=1e-12)


def test_between_two_points_lies_their_geometric_mean():
    low, middle, high = (sram_energy(c).read_fj for c in (65536, 65536 * 2**0.5, 131072))
    assert middle == pytest.approx((low * high) ** 0.5, rel=1e-12)


def test_a_byte_from_dram_costs_more_than_from_any_sram():
    largest = max(sram_table().read_fj / sram_table().word_bytes)
    assert min(d.energy_fj_per_byte for d in DRAM.values()) > largest
    assert dram_energy_fj_per_byte("HBM2") == pytest.approx(31_360)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: sram_energy(4095), "4095 bytes is outside of the modelled 4096 to 8388608 bytes"),
        (lambda: sram_energy(float("nan")), "nan bytes is outside"),
        (lambda: sram_energy(8192, technology_nm=7), "no SRAM of 7 nm .* 22 nm with 8-byte words"),
        (lambda: sram_energy(8192, word_bytes=16), "16-byte words"),
        (lambda: dram_energy_fj_per_byte("SDRAM"), "'SDRAM'; choose one of HBM2, LPDDR4, DDR4"),
    ],
)
def test_what_was_not_modelled_is_one_sentence(call, sentence):
    with pytest.raises(InputError, match=sentence):
        call()


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        (None, "is not a CACTI program"),
        ("exit 3", "CACTI stopped with code 3 at 4096 bytes"),
        ("echo Access time: fast", 'CACTI did not print "Total dynamic read energy'),
    ],
)
def test_a_wrong_cacti_is_one_sentence_and_keeps_the_old_table(tmp_path, script, sentence):
    table = tmp_path / "sram.csv"
    table.write_text("old")
    (tmp_path / "tech_params").mkdir()
    if script:
        (tmp_path / "cacti").write_text(f"#!/bin/sh\n{script}\n")
    with pytest.raises(InputError, match=sentence):
        measure_sram_energy.main(["--cacti", str(tmp_path / "cacti"), "--table", str(table)])
    assert table.read_text() == "old"
