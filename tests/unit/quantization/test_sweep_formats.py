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
from stages.quantization import measure_format_sweep, plot_format_sweep, sweep_formats, verify_quantiser
from stages.quantization.config import SweepConfig
from stages.quantization.format_table import best_formats, drop_by_seed

SETTINGS = {"calibration_images": 20, "test_images": 60, "calibration_seeds": [0, 1]}


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


def sweep(root, table, **settings):
    config = json.dumps(SETTINGS | settings)
    paths = ["--model", root / "model", "--train", root / "train", "--test", root / "test", "--table", table]
    sweep_formats.main([*map(str, paths), "--config", config, "--device", "cpu"])
    return pd.read_csv(table)


def test_a_full_sweep_is_measured_and_drawn(folders, tmp_path):
    table = sweep(folders, tmp_path / "a.csv")
    assert len(table) == 2 * (1 + 27 + 6)
    assert set(table[table.family == "float"].top1) == {1.0}  # the labels are the float network's classes
    np.testing.assert_allclose(table.agreement, table.top1)
    sqnr_db = table.drop_duplicates("format").set_index("format").weight_sqnr_db
    assert sqnr_db["INT8"] > sqnr_db["INT6"] > sqnr_db["INT4"]
    again = sweep(folders, tmp_path / "b.csv")
    pd.testing.assert_frame_equal(again, table)

    measure_format_sweep.main(
        ["--tables", str(tmp_path / "a.csv"), "--measurements", str(tmp_path / "m.json")]
    )
    (measured,) = read_measurements(tmp_path / "m.json")
    assert measured.claim == "M0"
    assert [s.seed for s in measured.samples] == [0, 1]
    assert measured.dataset_digest == {"noise/train": "traintrain", "noise/test": "testtest"}

    paths = ["--figure", str(tmp_path / "f.svg"), "--drawn", str(tmp_path / "f.csv")]
    plot_format_sweep.main(["--tables", str(tmp_path / "a.csv"), *paths])
    assert "<svg" in (tmp_path / "f.svg").read_text()
    assert pd.read_csv(tmp_path / "f.csv").best.sum() == 12  # six widths, two families


def test_equal_edges_make_e1my_rows_equal_to_integer_rows(folders, tmp_path):
    table = sweep(
        folders,
        tmp_path / "t.csv",
        edge_minifloat="",
        edge_integer="",
        formats=["E1M2", "INT4", "E1M4", "INT6"],
    )
    columns = ["seed", "top1", "agreement"]
    for uniform, integer in (("E1M2", "INT4"), ("E1M4", "INT6")):
        rows = (table[table.format == f][columns].reset_index(drop=True) for f in (uniform, integer))
        pd.testing.assert_frame_equal(*rows)


def test_the_largest_exponent_has_no_unsigned_row(folders, tmp_path):
    table = sweep(
        folders, tmp_path / "t.csv", formats=["E7M0", "E4M3"], signs=["signed", "unsigned_exponent"]
    )
    rows = table[table.family == "minifloat"].groupby("format").signs.unique()
    assert list(rows["E7M0"]) == ["signed"]
    assert list(rows["E4M3"]) == ["signed", "unsigned_exponent"]


def test_best_formats_and_drops_of_a_table_worked_by_hand():
    rows = [("minifloat", "E2M0", 3, 0, 0.4), ("minifloat", "E2M0", 3, 1, 0.6), ("minifloat", "E1M1", 3, 0, 0.5),
            ("minifloat", "E1M1", 3, 1, 0.3), ("minifloat", "E3M4", 8, 0, 0.9), ("minifloat", "E3M4", 8, 1, 0.8),
            ("integer", "INT3", 3, 0, 0.2), ("integer", "INT3", 3, 1, 0.7), ("integer", "INT8", 8, 0, 0.9),
            ("integer", "INT8", 8, 1, 0.9)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["family", "format", "bits", "seed", "top1"])
    table = table.assign(model="m", dataset="d", signs="signed", float_top1=0.9, n=100)
    assert set(best_formats(table).format) == {"E2M0", "E3M4", "INT3", "INT8"}
    # seed 0: min(0.9 - 0.4, 0.9 - 0.2); seed 1: min(0.8 - 0.6, 0.9 - 0.7)
    assert drop_by_seed(table) == pytest.approx({0: 0.5, 1: 0.2})


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
        ({"granularity": "per_group"}, "per_channel or per_tensor"),
        ({"edge_minifloat": "float8"}, "edge_minifloat: .*2 to 8"),
        ({"widths": [3]}, "unknown key 'widths'"),
    ],
)
def test_wrong_settings_are_refused_with_the_key(settings, words):
    with pytest.raises(InputError, match=words):
        from_json(SweepConfig, json.dumps(settings), where="--config")


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
    paths = ["--train", folders / "train", "--test", folders / "test", "--table", tmp_path / "t.csv"]
    with pytest.raises(InputError, match="1 channels and the network takes 3"):
        sweep_formats.main(["--model", str(tmp_path / "model"), *map(str, paths)])
