"""Errors from partial moments against integration by points, the quantiser itself and Max's table."""

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

from stages.lib.nets.model_folder import ModelInfo, write_model
from stages.lib.numerics import quantisers
from stages.lib.numerics.formats import all_formats, parse_format
from stages.quantization import measure_sqnr, plot_sqnr, tabulate_sqnr
from stages.quantization.sqnr import (
    best_scale,
    distributions,
    gaussian,
    mean_squared_error,
    sqnr_db,
    student_t,
    values,
)
from tests.unit.quantization.nets import random_net

DENSITIES = {
    "uniform": stats.uniform(-1, 2),
    "gaussian": stats.norm(),
    "laplace": stats.laplace(),
    "student-t, 5 degrees": stats.t(5),
    "student-t, 3 degrees": stats.t(3),
}


@pytest.mark.parametrize("name", DENSITIES)
def test_moments_are_integrals_of_the_density(name):
    source, density = distributions()[name], DENSITIES[name]
    for t in (0.0, 0.3, 0.99, 4.0):
        for j, moment in enumerate(source.moments(np.array(t))):
            exact, _ = integrate.quad(
                lambda w, j=j: 2 * w**j * density.pdf(w), 0, min(t, density.support()[1])
            )
            assert moment == pytest.approx(exact, abs=1e-9)
    assert source.moments(np.array(np.inf))[0] == pytest.approx(1)
    assert source.rms == pytest.approx(density.std())
    if name != "student-t, 3 degrees":
        assert source.kurtosis == pytest.approx(3 + density.stats("k"))


@pytest.mark.parametrize(
    ("name", "levels", "step", "error"), [("E1M1", 7, 0.6508, 0.04686), ("INT2", 3, 1.224, 0.1902)]
)
def test_the_best_uniform_quantiser_of_a_gaussian_is_that_of_max_1960(name, levels, step, error):
    format = parse_format(name)
    scale, least = best_scale(gaussian(), format)
    assert len(np.unique(quantisers.round_to_format(np.linspace(-9, 9, 999), format))) == levels
    assert scale * format.min_positive == pytest.approx(step, rel=5e-3)
    assert least == pytest.approx(error, rel=1e-3)


@pytest.mark.parametrize("bits", [3, 5, 8])
def test_the_error_of_a_tensor_is_what_the_quantiser_makes(bits):
    w = np.random.default_rng(bits).standard_t(3, size=20_000).astype(np.float32)
    for format in all_formats(bits):
        for scale in (0.01, 0.3):
            found = mean_squared_error(values(w), format, np.array([scale]))[0]
            rounded = quantisers.quantise(w, format, np.float32(scale)).astype(np.float64)
            assert found == pytest.approx(np.square(w - rounded).mean(), rel=1e-4)


def test_the_scale_of_least_error_beats_a_dense_scan():
    rng = np.random.default_rng(1)
    for w in (rng.standard_normal(3000), rng.laplace(size=3000), rng.uniform(-1, 1, 3000)):
        source = values(w)
        for format in all_formats(5):
            scales = np.geomspace(0.01, 2, 20_000) * source.largest / format.max_value
            least = mean_squared_error(source, format, scales).min()
            assert best_scale(source, format)[1] <= 1.005 * least


def test_a_tensor_drawn_from_a_distribution_has_its_ratio():
    w = DENSITIES["laplace"].ppf((np.arange(400_000) + 0.5) / 400_000)
    for format in all_formats(4):
        assert sqnr_db(values(w), format) == pytest.approx(
            sqnr_db(distributions()["laplace"], format), abs=0.02
        )


def test_a_student_without_variance_is_refused():
    with pytest.raises(ValueError, match="choose more than 2"):
        student_t(2)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sqnr")
    model = random_net("lenet.LeNet5", {"batch_norm": True})
    info = ModelInfo(
        net="lenet.LeNet5", arguments={"batch_norm": True}, mean=(0,), std=(1,), classes=(), dataset="digits"
    )
    write_model(folder / "net", model, info)
    tabulate_sqnr.main(["--models", str(folder / "net"), "--table", str(folder / "sqnr.csv")])
    return folder / "sqnr.csv"


def test_the_table_decides_both_claims(table):
    found = pd.read_csv(table)
    tails = measure_sqnr.split_over_tails(found)
    assert (tails.value, tails.n) == (0, 24)
    # light tails in the place of heavy ones break the order at every width
    swapped = found.replace({"source": {"uniform": "laplace", "laplace": "uniform"}})
    assert measure_sqnr.split_over_tails(swapped).value == 6
    kurtosis = measure_sqnr.split_over_kurtosis(found)
    weights = found[(found["kind"] == "weights") & (found["scaling"] == "least_error")]
    weights = weights[weights["granularity"] == "per_tensor"]
    best = weights.sort_values("sqnr_db").drop_duplicates(["tensor", "bits"], keep="last")
    means = best.groupby("tensor")[["exponent_bits", "kurtosis"]].mean()
    assert kurtosis.value == pytest.approx(
        stats.spearmanr(means["exponent_bits"], means["kurtosis"]).statistic
    )
    assert kurtosis.n == 5


def test_the_figure_shows_what_its_table_holds(table, tmp_path):
    plot_sqnr.main(
        ["--table", str(table), "--figure", str(tmp_path / "f.svg"), "--drawn", str(tmp_path / "f.csv")]
    )
    drawn = pd.read_csv(tmp_path / "f.csv")
    assert (drawn.loc[drawn["source"] == "uniform", "gain_db"] == 0).all()
    assert drawn["kind"].value_counts().to_dict() == {"distribution": 30, "weights": 5}
    assert (tmp_path / "f.svg").stat().st_size > 10_000
