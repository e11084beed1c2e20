"""Layer tables (layers.csv): the shapes of a network as matrix products, the form in which every cost model reads it.

A row is one layer, `groups` independent products of A (m, k) with B (k, n):

    convolution  im2col: m = batch * out_height * out_width, k = in_channels / groups * kernel_height * kernel_width,
                 n = out_channels / groups; a depthwise layer has groups = in_channels and often n = 1
    linear       m = rows (images, or texts * tokens), k = inputs, n = outputs, groups = 1
    attention    scores and values of a transformer: one group a text and key-value head, in which the query heads that
                 share it stack their rows; B is no weight but keys or values

All sizes count elements, so that a layer costs groups * m * k * n multiply-accumulates (`macs`). Bits and bytes are a
matter of the cost model. `weight_name` is the tensor that holds B in the model folder, "" where B is no weight.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from stages.lib.core.artifacts import atomic_path
from stages.lib.core.errors import InputError

LAYER_COLUMNS = ("name", "kind", "m", "k", "n", "groups", "weight_name")
SIZES = ("m", "k", "n", "groups")
KINDS = ("conv", "linear", "attention")
MAX_SIZE = 2**31 - 1


def read_layers(path: str | Path) -> pd.DataFrame:
    """The checked layer table of a CSV file; other columns are kept behind those of the contract."""
    text = {column: str for column in ("name", "kind", "weight_name")}
    try:
        table = pd.read_csv(path, dtype=text, keep_default_na=False)
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} is not a layer table ({str(error).strip()}); make it with tabulate_layers"
        ) from error
    return check_layers(table, where=str(path))


def write_layers(path: str | Path, table: pd.DataFrame) -> None:
    """Check and write a layer table. Raises InputError, with nothing written, where a row is wrong."""
    table = check_layers(table, where=str(path))
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)


def check_layers(table: pd.DataFrame, *, where: str) -> pd.DataFrame:
    """The table with the contract's columns first and sizes as int64.

    where   the file, or another word for the table, as errors shall name it
    Raises InputError where a column is missing, the table is empty, a name comes twice or is empty, a kind is unknown,
    or a size is not a whole number of 1 to 2**31 - 1.
    """
    if missing := [column for column in LAYER_COLUMNS if column not in table.columns]:
        raise InputError(
            f"{where} lacks the column {missing[0]}; a layer table has {', '.join(LAYER_COLUMNS)}"
            " (make it with tabulate_layers)"
        )
    if table.empty:
        raise InputError(f"{where} holds no layers; give it one row for each layer")
    others = [column for column in table.columns if column not in LAYER_COLUMNS]
    table = table[[*LAYER_COLUMNS, *others]].reset_index(drop=True)
    _check_texts(table, where)
    for column in SIZES:
        sizes = [_size(value) for value in table[column]]
        if None in sizes:
            row = sizes.index(None)
            raise InputError(
                f"{where}, layer {table.name[row]}: {column} is {table[column][row]}; sizes are whole numbers"
                f" of 1 to {MAX_SIZE}: correct it, or leave the row out if the layer computes nothing"
            )
        table[column] = np.array(sizes, dtype=np.int64)
    return table


def macs(table: pd.DataFrame) -> pd.Series:
    """Multiply-accumulates of each layer, int64."""
    return table["groups"] * table["m"] * table["k"] * table["n"]


def weights(table: pd.DataFrame) -> pd.Series:
    """Weights that each layer reads (elements of B over all groups, int64), 0 where B is no weight.

    Layers may share a tensor (weight_name): their sum counts it once for each use.
    """
    return (table["groups"] * table["k"] * table["n"]).where(table["weight_name"] != "", 0)


def _check_texts(table: pd.DataFrame, where: str) -> None:
    names = table["name"].tolist()
    for row, (name, kind) in enumerate(zip(names, table["kind"], strict=True)):
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"{where}, row {row + 1}: the layer has no name; give each layer one of its own")
        if kind not in KINDS:
            raise InputError(
                f"{where}, layer {name}: the kind {kind!r} is unknown; choose one of {', '.join(KINDS)}"
            )
    if table["name"].duplicated().any():
        name = names[int(table["name"].duplicated().argmax())]
        raise InputError(f"{where}: the layer name {name} comes twice; give each layer a name of its own")


def _size(value: object) -> int | None:
    """The size as an integer; None where it is not one (a spreadsheet's 64.0 is)."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return int(number) if number.is_integer() and 1 <= number <= MAX_SIZE else None
