"""The commands from model folder to measurement, on a small network, and what they say of wrong input."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from stages.lib.core.commands import from_json
from stages.lib.core.errors import InputError
from stages.lib.core.measurements import read_measurements
from stages.lib.core.prepared import ImageSplit, SplitInfo, write_images
from stages.lib.nets.build import build
from stages.lib.nets.model_folder import ModelInfo, write_model
from stages.quantization import (
    findings,
    measure_sweeps,
    plot_format_sweep,
    plot_fronts,
    plot_techniques,
    sweep_formats,
    verify_quantiser,
)
from stages.quantization.config import SweepConfig
from stages.quantization.pareto import integers_on_changing_fronts, on_front
from stages.quantization.results import Results, advantages, read_results
from stages.quantization.sweep import draw_images, selection_size
from workflow.lib.catalogue import Catalogue

SETTINGS = {"calibration_images": 20, "test_images": 60, "calibration_seeds": [0, 1], "selection_images": 20}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A LeNet-5 with random weights, and random images labelled by its own classes."""
    root = tmp_path_factory.mktemp("sweep")
    torch.manual_seed(0)
    model = build("lenet.LeNet5", {"batch_norm": True}).eval()
    with torch.no_grad():
        # centred logits: without it a random network sees one class everywhere
        model.head.bias -= model(torch.randn(80, 1, 28, 28)).mean(0)
    info = ModelInfo(
        net="lenet.LeNet5",
        arguments={"batch_norm": True},
        mean=(0.5,),
        std=(0.289,),
        classes=("a",),
        dataset="noise",
    )
    write_model(root / "model", model, info)
    for split, seed in (("train", 0), ("test", 1)):
        images = np.random.default_rng(seed).integers(0, 256, (80, 28, 28, 1), dtype=np.uint8)
        x = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - 0.5) / 0.289
        with torch.no_grad():
            labels = model(x).argmax(1).numpy()
        info = SplitInfo(
            dataset="noise", split=split, classes=("a",) * 10, mean=(0.5,), std=(0.25,), digest=split * 2, n=80,
            height=28, width=28, channels=1, licence="", citation="", redistribute=True,
        )  # fmt: skip
        write_images(root / split, ImageSplit(images=images, labels=labels, info=info))
    return root


def sweep(root, table, techniques=None, **settings):
    named = {"techniques": list(techniques)} if techniques else {}
    config = json.dumps(SETTINGS | named | settings)
    paths = ["--model", root / "model", "--train", root / "train", "--test", root / "test"]
    paths += ["--table", table, "--outcomes", table.with_suffix(".npz")]
    more = ["--techniques", json.dumps(techniques)] if techniques else []
    sweep_formats.main([*map(str, paths), "--config", config, "--device", "cpu", *more])
    return pd.read_csv(table, keep_default_na=False)


def write_costs(path):
    """Operators with hand-made costs: a minifloat is one and a half times as dear as the integer of its width."""
    rows = []
    for bits in range(3, 9):
        for name in (f"E2M{bits - 3}", f"INT{bits}"):
            for accumulator, more in (("paper", 5), ("exact", 0)):
                lut = 10 * bits * (1 if "INT" in name else 1.5) + more
                rows.append(
                    {
                        "weight_format": name, "activation_format": name, "signed_w": True, "signed_a": True,
                        "microarchitecture": "rows", "accumulator_bits": 20, "lut": lut, "ff": 0, "carry": 0, "dsp": 0,
                        "ecp5_fmax_mhz": np.nan, "tool_version": "", "bits_w": bits, "bits_a": bits, "pipeline": 0,
                        "dsp_allowed": False, "accumulator": accumulator, "convert_lut": 3 * bits,
                    }
                )  # fmt: skip
    pd.DataFrame(rows).to_parquet(path)


def test_a_full_sweep_is_measured_and_drawn(folders, tmp_path):
    table = sweep(folders, tmp_path / "a.csv")
    assert len(table) == 2 * (1 + 27 + 6)
    assert set(table[table.family == "float"].top1) == {1.0}  # the labels are the float network's classes
    np.testing.assert_allclose(table.agreement, table.top1)
    sqnr_db = (
        table.drop_duplicates("format").set_index("format").weight_sqnr_db.replace("", "nan").astype(float)
    )
    assert sqnr_db["INT8"] > sqnr_db["INT6"] > sqnr_db["INT4"]
    again = sweep(folders, tmp_path / "b.csv")
    pd.testing.assert_frame_equal(again, table)
    with np.load(tmp_path / "a.npz") as outcomes:
        np.testing.assert_allclose(outcomes["right"].mean(1), table.top1)

    other = sweep(
        folders,
        tmp_path / "c.csv",
        techniques={
            "abs_max": {"activation_scale": "abs_max"},
            "percentile": {},
            "mx": {"granularity": "mx"},
        },
        formats=["INT4", "E2M1"],
    )
    assert len(other) == 2 * (1 + 2 * 3)
    bits = other.groupby("technique").weight_bits.first()
    assert bits["percentile"] == bits["abs_max"] < bits["mx"]
    write_costs(tmp_path / "costs.parquet")
    tables = ["--tables", str(tmp_path / "a.csv"), str(tmp_path / "c.csv")]
    costs = ["--costs", str(tmp_path / "costs.parquet")]
    measure_sweeps.main([*tables, *costs, "--draws", "5", "--measurements", str(tmp_path / "m.json")])
    measured = {m.claim: m for m in read_measurements(tmp_path / "m.json")}
    assert set(measured) == {"M0", "M7", "M8", "M11", "M13", "M17"}
    for m in measured.values():
        assert [s.seed for s in m.samples] == [0, 1]
        assert len(m.resamples) == 5
        assert m.dataset_digest == {"noise/train": "traintrain", "noise/test": "testtest"}

    for verb, more in ((plot_format_sweep, []), (plot_techniques, []), (plot_fronts, costs)):
        paths = ["--figure", str(tmp_path / "f.svg"), "--drawn", str(tmp_path / "f.csv")]
        verb.main([*tables, *more, *paths])
        assert "<svg" in (tmp_path / "f.svg").read_text()
        drawn = pd.read_csv(tmp_path / "f.csv")
    # 33 plain formats and two more techniques at two formats, each with its costs
    assert len(drawn) == 33 + 4
    assert drawn["exact accumulator"].notna().sum() == 12 + 4


def test_equal_edges_make_e1my_rows_equal_to_integer_rows(folders, tmp_path):
    table = sweep(
        folders,
        tmp_path / "t.csv",
        edge_minifloat="",
        edge_integer="",
        formats=["E1M2", "INT4", "E1M4", "INT6"],
    )
    columns = ["seed", "top1", "agreement", "selection_loss", "weight_bits"]
    for uniform, integer in (("E1M2", "INT4"), ("E1M4", "INT6")):
        rows = (table[table.format == f][columns].reset_index(drop=True) for f in (uniform, integer))
        pd.testing.assert_frame_equal(*rows)


def test_the_largest_exponent_has_no_unsigned_row(folders, tmp_path):
    table = sweep(
        folders,
        tmp_path / "t.csv",
        formats=["E7M0", "E4M3", "INT4"],
        signs=["signed", "unsigned_mantissa", "unsigned_exponent"],
    )
    rows = table[table.family != "float"].groupby("format").signs.unique()
    assert list(rows["E7M0"]) == ["signed", "unsigned_mantissa"]
    assert list(rows["E4M3"]) == ["signed", "unsigned_mantissa", "unsigned_exponent"]
    assert list(rows["INT4"]) == ["signed", "unsigned_mantissa"]  # its sign bit has one place to go


def test_seeds_beyond_the_first_take_the_seeded_formats(folders, tmp_path):
    table = sweep(folders, tmp_path / "t.csv", formats=["INT4", "E2M1", "E3M0xINT8"], seeded_formats=["E2M1"])
    rows = table[table.family != "float"].groupby("seed").format.unique()
    assert set(rows[0]) == {"INT4", "E2M1", "E3M0xINT8"}
    assert list(rows[1]) == ["E2M1"]
    mixed = table[table.format == "E3M0xINT8"].iloc[0]
    assert (mixed.family, mixed.bits, mixed.activation_bits, mixed.edge_format) == (
        "mixed",
        4,
        8,
        "E3M4xINT8",
    )


def test_selection_images_are_never_calibrated_with():
    drawn = [draw_images(90, selection=25, calibration=1000, rng=np.random.default_rng(s)) for s in range(3)]
    for indices in drawn:
        assert indices.min() >= selection_size(90, 25) == 25
        assert len(set(indices)) == 65
    assert selection_size(30, 25) == 10


def by_hand(rows):
    """Results of four test images: (model, net, technique, family, format, bits, signs, seed, loss, outcomes)."""
    columns = [
        "model",
        "net",
        "technique",
        "family",
        "format",
        "bits",
        "signs",
        "seed",
        "selection_loss",
        "outcomes",
    ]
    table = pd.DataFrame(rows, columns=columns)
    outcomes = [np.array(list(map(int, text)), dtype=bool) for text in table.pop("outcomes")]
    names = table["format"]
    table = table.assign(
        dataset="d", weight_format=names, activation_format=names, weight_bits=0, float_top1=1.0, n=4,
        score=[o.mean() for o in outcomes],
    )  # fmt: skip
    return Results(table=table, outcomes=outcomes)


def rows_of(model, net, signs="signed"):
    plain = ("percentile", "minifloat"), ("percentile", "integer")
    return [
        (model, net, *plain[0], "E2M1", 4, signs, 0, 0.2, "1110"),
        (
            model,
            net,
            *plain[0],
            "E3M0",
            4,
            signs,
            0,
            0.3,
            "1111",
        ),  # better on test images, not on training images
        (model, net, *plain[1], "INT4", 4, signs, 0, 0.4, "1000"),
    ]


def test_formats_are_chosen_on_training_images():
    results = by_hand(rows_of("cnn", "vgg.VGG"))
    found = advantages(results.table)
    assert list(found.format) == ["E2M1"]
    assert list(found.advantage) == [0.5]
    assert findings.minifloat_advantage(results.table) == {0: 0.5}
    assert findings.advantage_at_three_bits(results.table) == {}


def test_differences_between_networks_and_signs():
    vit = [r if r[3] == "integer" else (*r[:-1], "1111") for r in rows_of("vit", "vit.ViT")]
    table = by_hand(rows_of("cnn", "vgg.VGG") + vit).table
    assert findings.transformer_advantage(table) == {0: 0.25}  # 0.75 - 0.5
    unsigned = [("cnn", "vgg.VGG", "percentile", "integer", "INT4", 4, "unsigned_mantissa", 0, 0.1, "1100")]
    table = by_hand(rows_of("cnn", "vgg.VGG") + unsigned).table
    assert findings.sign_dependence(table) == {0: 0.25}  # 0.5 - 0.25: the integer gains a quarter


def test_techniques_are_counted_and_best_of_is_inflated():
    rows = []
    for model, gptq in (("a", "1111"), ("b", "1111"), ("c", "0000")):
        for technique, loss, outcomes in (("abs_max", 0.3, "1100"), ("gptq", 0.2, gptq), ("mx", 0.1, "1000")):
            rows.append((model, "vgg.VGG", technique, "integer", "INT4", 4, "signed", 0, loss, outcomes))
    table = by_hand(rows).table
    wins = findings.technique_wins(table).set_index("technique")
    assert dict(wins.share) == pytest.approx({"gptq": 2 / 3, "mx": 0.0})
    assert dict(wins.gain) == pytest.approx({"gptq": 1 / 6, "mx": -0.25})
    assert findings.failing_techniques(table) == {0: 1.0}
    # chosen: mx (0.25 everywhere); best on test images: 1, 1 and 0.5
    assert findings.best_of_inflation(table) == {0: pytest.approx(2.5 / 3 - 0.25)}


def test_points_on_a_front_are_those_that_nothing_beats():
    rng = np.random.default_rng(0)
    cost, score = rng.integers(0, 6, 40), rng.integers(0, 6, 40)
    expected = [
        not any(
            (c <= cost[i] and s >= score[i]) and (c < cost[i] or s > score[i])
            for c, s in zip(cost, score, strict=True)
        )
        for i in range(40)
    ]
    assert list(on_front(cost, score)) == expected


def test_integers_must_be_on_every_front_and_change_between_costs():
    table = by_hand(
        [*rows_of("m", "vgg.VGG")[:1], ("m", "vgg.VGG", "percentile", "integer", "INT4", 4, "signed", 0, 0.1, "1111"),
         ("m", "vgg.VGG", "percentile", "integer", "INT3", 3, "signed", 0, 0.1, "1000")]
    ).table  # fmt: skip
    names = ["E2M1", "INT4", "INT3"]
    costs = pd.DataFrame({"weight_format": names, "activation_format": names})
    for i, cost in enumerate(("paper accumulator", "exact accumulator")):
        costs[cost] = [2, 3, 1]
        # with the way back INT3 is as dear as INT4, which beats it
        costs[f"{cost} + conversion"] = [2, 3, 1] if i else [2, 3, 4]
    assert integers_on_changing_fronts(table, costs) == {0: 1.0}
    costs["paper accumulator + conversion"] = [2, 3, 1]
    assert integers_on_changing_fronts(table, costs) == {0: 0.0}


def test_bootstrap_draws_the_same_images_for_all_rows_of_a_model():
    results = by_hand(rows_of("cnn", "vgg.VGG"))
    draws = [t.score.to_numpy() for t in results.resampled(400, np.random.default_rng(0))]
    assert all(one[1] == 1 and one[2] <= one[0] for one in draws)  # INT4's images are among E2M1's
    assert np.mean(draws, 0) == pytest.approx([0.75, 1, 0.25], abs=0.05)
    assert np.std(draws, 0)[0] == pytest.approx(np.sqrt(0.75 * 0.25 / 4), rel=0.1)


def test_verify_measures_no_mismatch(tmp_path):
    verify_quantiser.main(["--values", "1000", "--measurements", str(tmp_path / "v.json")])
    measured = {m.claim: m for m in read_measurements(tmp_path / "v.json")}
    assert {claim: m.value for claim, m in measured.items()} == {"M1": 0, "M2": 0, "M3": 0, "M4": 0}
    assert measured["M2"].controls["E2My_equal_to_INT"] == 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"formats": ["E9M9"]}, "formats: E9M9 has 19 bits.*2 to 8"),
        ({"bits": [2]}, "3 to 8"),
        ({"calibration_seeds": []}, "calibration_seeds"),
        ({"calibration_seeds": [0, 0]}, "once"),
        ({"percentile": 120.0}, "percentile is 120.0"),
        ({"seeded_formats": ["INT4xE9M9"]}, "seeded_formats: E9M9 has 19 bits"),
        ({"techniques": []}, "techniques is empty"),
        ({"edge_minifloat": "float8"}, "edge_minifloat: .*2 to 8"),
        ({"widths": [3]}, "unknown key 'widths'"),
    ],
)
def test_wrong_settings_are_refused_with_the_key(settings, words):
    with pytest.raises(InputError, match=words):
        from_json(SweepConfig, json.dumps(settings), where="--config")


def test_a_sweep_names_techniques_that_exist():
    overrides = {"quantization": {"sweeps": {"formats": {"techniques": ["gpqt"]}}}}
    with pytest.raises(
        InputError, match=r"quantization.sweeps.formats.techniques has 'gpqt': choose from abs_max"
    ):
        Catalogue.load({"scale": "smoke"} | overrides, preflight=None)
    with pytest.raises(InputError, match="lacks 'gptq'"):
        sweep_formats.parse_techniques("{}", SweepConfig(techniques=("gptq",)))
    with pytest.raises(InputError, match="mine: rounding is 'up'"):
        sweep_formats.parse_techniques('{"mine": {"rounding": "up"}}', SweepConfig(techniques=("mine",)))


def test_outcomes_of_another_table_are_refused(folders, tmp_path):
    sweep(folders, tmp_path / "a.csv", formats=["INT4"])
    table = pd.read_csv(tmp_path / "a.csv")
    table.iloc[:-1].to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(InputError, match="one row a row"):
        read_results([tmp_path / "a.csv"])


def test_a_model_for_colour_refuses_grey_images(folders, tmp_path):
    torch.manual_seed(0)
    info = ModelInfo(
        net="lenet.LeNet5",
        arguments={"channels": 3},
        mean=(0.5,) * 3,
        std=(0.2,) * 3,
        classes=("a",),
        dataset="x",
    )
    write_model(tmp_path / "model", build("lenet.LeNet5", {"channels": 3}), info)
    paths = [
        "--train",
        folders / "train",
        "--test",
        folders / "test",
        "--table",
        tmp_path / "t.csv",
        "--outcomes",
        tmp_path / "t.npz",
    ]
    with pytest.raises(InputError, match="1 channels and the network takes 3"):
        sweep_formats.main(["--model", str(tmp_path / "model"), *map(str, paths)])


def test_rows_that_brevitas_published_are_compared_with_its_top1():
    rows = [
        ("resnet18-imagenet", "resnet.ResNet", technique, "integer", format, 8, signs, 0, 0.1, "1110")
        for technique, format, signs in (
            ("gptq_corrected", "INT8", "unsigned_mantissa"),
            ("gptq_corrected", "INT4xINT8", "unsigned_mantissa"),
            ("gptq_corrected", "INT3", "unsigned_mantissa"),  # not in the file
            ("percentile", "INT8", "unsigned_mantissa"),
            ("gptq_corrected", "INT8", "signed"),
        )
    ]
    table = by_hand(rows).table
    assert findings.gap_to_brevitas(table) == {0: pytest.approx(0.75 - 0.6894)}
    assert len(findings.brevitas_gaps(table)) == 2
    assert findings.gap_to_brevitas(by_hand(rows[2:]).table) == {}
