"""Layer tables survive a file, and a wrong one is one sentence that names file, layer and remedy."""

import pandas as pd
import pytest

from stages.lib.core.errors import InputError
from stages.lib.costs.layers import LAYER_COLUMNS, check_layers, macs, read_layers, weights, write_layers

TABLE = pd.DataFrame(
    [
        ("conv1", "conv", 196, 27, 64, 1, "conv1.weight"),
        ("depthwise", "conv", 49, 9, 1, 64, "depthwise.weight"),
        ("scores", "attention", 128, 64, 128, 12, ""),
    ],
    columns=list(LAYER_COLUMNS),
)


def test_a_table_comes_back_from_its_file_with_further_columns_behind(tmp_path):
    table = TABLE.copy()
    table.insert(0, "weight_bits", [8, 8, 16])
    write_layers(tmp_path / "layers.csv", table)
    again = read_layers(tmp_path / "layers.csv")
    assert list(again.columns) == [*LAYER_COLUMNS, "weight_bits"]
    assert again.equals(table[again.columns])


def test_macs_and_weights_count_every_group_and_attention_has_no_weights():
    assert macs(TABLE).tolist() == [196 * 27 * 64, 64 * 49 * 9, 12 * 128 * 64 * 128]
    assert weights(TABLE).tolist() == [27 * 64, 64 * 9, 0]


@pytest.mark.parametrize("value", [0, -1, 2.5, float("nan"), float("inf"), 2**31, "", "many", None])
@pytest.mark.parametrize("column", ["m", "k", "n", "groups"])
def test_a_wrong_size_is_one_sentence_and_leaves_the_old_file(tmp_path, column, value):
    path = tmp_path / "layers.csv"
    write_layers(path, TABLE)
    before = path.read_bytes()
    table = TABLE.astype({column: object})
    table.loc[1, column] = value
    with pytest.raises(InputError, match=rf"layers.csv, layer depthwise: {column} is .*correct it"):
        write_layers(path, table)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    table.to_csv(path, index=False)
    with pytest.raises(InputError, match=rf"layers.csv, layer depthwise: {column} is"):
        read_layers(path)


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (TABLE.drop(columns="groups"), "t.csv lacks the column groups"),
        (TABLE[:0], "t.csv holds no layers"),
        (TABLE.assign(name="conv1"), "t.csv: the layer name conv1 comes twice"),
        (TABLE.assign(name=["conv1", " ", "scores"]), "t.csv, row 2: the layer has no name"),
        (TABLE.assign(kind="pool"), "t.csv, layer conv1: the kind 'pool' is unknown"),
    ],
)
def test_a_wrong_table_is_one_sentence(table, sentence):
    with pytest.raises(InputError, match=sentence):
        check_layers(table, where="t.csv")


@pytest.mark.parametrize("content", [b"", b'name,kind\n"a', b"\xff\xfe\x00"])
def test_a_file_that_is_no_table_is_one_sentence(tmp_path, content):
    path = tmp_path / "layers.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"layers\.csv"):
        read_layers(path)
