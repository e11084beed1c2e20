"""mac_costs.parquet: what multiply-accumulate operators cost on an FPGA, and minifloats against integers.

Counts are those of yosys for UltraScale+ before placement: ratios are meaningful, absolute numbers of another tool
and device are not these.
"""

from pathlib import Path

import pandas as pd

from stages.lib.core.errors import InputError

MAC_COST_COLUMNS = (
    *("weight_format", "activation_format", "signed_w", "signed_a", "microarchitecture"),
    *("accumulator_bits", "lut", "ff", "carry", "dsp", "ecp5_fmax_mhz", "tool_version"),
)
_MORE = ("bits_w", "bits_a", "pipeline", "dsp_allowed", "accumulator", "convert_lut")
PAIR = ["weight_format", "activation_format", "bits_w", "bits_a", "signed_a", "accumulator"]


def read_mac_costs(path: str | Path) -> pd.DataFrame:
    """The table, one row an operator. Raises InputError where the file is not one."""
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise InputError(f"{path} is not a parquet table; make it with synthesise_macs") from error
    if missing := [column for column in (*MAC_COST_COLUMNS, *_MORE) if column not in table.columns]:
        raise InputError(f"{path} lacks the column {missing[0]}; make it with synthesise_macs")
    return table


def cheapest_operators(costs: pd.DataFrame) -> pd.DataFrame:
    """Per pair of formats and accumulator the operator with the fewest look-up tables: no DSP, no inner pipeline.

    The choice among microarchitectures is the same for both families.
    """
    plain = costs[~costs["dsp_allowed"] & (costs["pipeline"] == 0)]
    return plain.loc[plain.groupby(PAIR, sort=False)["lut"].idxmin()].reset_index(drop=True)


def minifloat_ratios(costs: pd.DataFrame, *, integer: str | None = None) -> pd.DataFrame:
    """Look-up tables of each minifloat operator (one signed format for both operands) over its width's integer.

    integer  microarchitecture of the integer; None: the cheapest
    returns  weight_format, bits_w, accumulator, lut, ratio, ratio_converted (way back to the format added to the
             minifloat alone, as an integer's own takes none in the published figures), ratio_both_converted
    """
    same = costs[(costs["weight_format"] == costs["activation_format"])]
    best = cheapest_operators(same)
    is_integer = best["weight_format"].str.contains("INT")
    integers = best[is_integer]
    if integer is not None:
        plain = same[~same["dsp_allowed"] & (same["pipeline"] == 0) & (same["microarchitecture"] == integer)]
        integers = plain[plain["weight_format"].str.contains("INT")]
    base = integers[["bits_w", "accumulator", "lut", "convert_lut"]]
    joined = best[~is_integer].merge(base, on=["bits_w", "accumulator"], suffixes=("", "_integer"))
    total = joined["lut"] + joined["convert_lut"]
    return joined[["weight_format", "bits_w", "accumulator", "lut"]].assign(
        ratio=joined["lut"] / joined["lut_integer"],
        ratio_converted=total / joined["lut_integer"],
        ratio_both_converted=total / (joined["lut_integer"] + joined["convert_lut_integer"]),
    )
