"""Every route of the recogniser with its accuracies and costs, a row a route, seed and user.

python -m stages.chain.measure_routes --networks '[{"seed": 0, "route": "teacher", "owner": "everyone", "folder": ...}]'
    --config CHAIN --scores a.csv b.csv --mac-costs mac_costs.parquet --table routes.csv

--networks lists the folders of float networks; routes that end in quantisation are costed from the one before it.
Accuracies are those of `score_formats`: among a user's gestures, and among all ten where the network was not pruned.
"""

import argparse
from collections.abc import Iterator
from typing import Any

import pandas as pd
import torch

from stages.chain.config import ChainConfig
from stages.chain.costs import network_costs, one_image, pattern_of
from stages.chain.networks import read_networks
from stages.chain.routes import float_route, kind_of, routes_of, steps_of
from stages.lib.core.artifacts import atomic_path
from stages.lib.core.commands import from_json
from stages.lib.core.errors import InputError, run
from stages.lib.core.tables import read_tables
from stages.lib.core.users import EVERYONE
from stages.lib.costs.mac_costs import cheapest_operators, read_mac_costs
from stages.lib.nets.model_folder import read_model
from stages.lib.numerics.formats import parse_format

SCORES = ("seed", "network", "owner", "user", "step", "split", "n", "right", "right_of_all")


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    torch.set_num_threads(1)
    config = from_json(ChainConfig, args.config, where="--config")
    networks = read_networks(args.networks)
    scores = read_tables(args.scores, *SCORES)
    operators = operator_costs(read_mac_costs(args.mac_costs))
    rows = [row for network in networks for row in rows_of(network, config, scores, operators, args.side)]
    table = pd.DataFrame(rows)
    table["lut_macs"] = table["lut_per_lane"] * table["kept_macs"]
    with atomic_path(args.table) as temporary:
        table.to_csv(temporary, index=False)


def rows_of(
    network: dict[str, Any],
    config: ChainConfig,
    scores: pd.DataFrame,
    operators: dict[str, dict[str, float]],
    side: int,
) -> Iterator[dict[str, Any]]:
    """Every route that this float network is the end of, or that quantises it, for each user that it serves."""
    model, info = read_model(network["folder"])
    image, owner = one_image(int(info.arguments["channels"]), side), network["owner"]
    for route, users in routes_of(config).items():
        if float_route(route, config.steps) != network["route"]:
            continue
        last = kind_of(route, config.steps)
        formats = config.steps[steps_of(route)[-1]].formats if last == "quantise" else ""
        weight, activation = bits_of(formats)
        costs = network_costs(
            model,
            image,
            pattern=pattern_of(info.recipe),
            weight_bits=weight,
            activation_bits=activation,
            array=config.array,
        )
        operator = operators.get(formats, {"lut_per_lane": None, "ecp5_fmax_mhz": None})
        for user in users:
            if owner in (EVERYONE, user):
                about = {
                    "seed": network["seed"],
                    "route": route,
                    "user": user,
                    "formats": formats or "float32",
                }
                yield about | accuracies(scores, network, route, user, last) | costs | operator


def bits_of(formats: str) -> tuple[int, int]:
    """Bits of weights and activations; 32 where nothing is quantised."""
    if not formats:
        return 32, 32
    weight, _, activation = formats.partition("x")
    return parse_format(weight).bits, parse_format(activation or weight).bits


def operator_costs(costs: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Pair of formats -> look-up tables of the cheapest operator with exact sums, and the best clock on an ECP5."""
    exact = costs[(costs["accumulator"] == "exact") & costs["signed_a"]]
    clocks = exact.groupby(["weight_format", "activation_format"])["ecp5_fmax_mhz"].max()
    found = {}
    for row in cheapest_operators(exact).itertuples():
        pair = (row.weight_format, row.activation_format)
        name = pair[0] if pair[0] == pair[1] else "x".join(pair)
        found[name] = {"lut_per_lane": float(row.lut), "ecp5_fmax_mhz": float(clocks[pair])}
    return found


def accuracies(
    scores: pd.DataFrame, network: dict[str, Any], route: str, user: str, last: str
) -> dict[str, float]:
    """Of each split: accuracy among the user's gestures, and, not yet pruned, among all: x_accuracy, x_n, x_all."""
    step = steps_of(route)[-1] if last == "quantise" else "float"
    own = scores[
        (scores["seed"] == network["seed"])
        & (scores["network"] == network["route"])
        & (scores["owner"] == network["owner"])
        & (scores["step"] == step)
    ]
    found: dict[str, float] = {}
    for split, rows in own.groupby("split"):
        mine = rows[rows["user"] == user].iloc[0]
        found |= {f"{split}_accuracy": mine["right"] / mine["n"], f"{split}_n": mine["n"]}
        every = rows[rows["user"] == EVERYONE]
        if len(every):
            found[f"{split}_all"] = every["right_of_all"].iloc[0] / every["n"].iloc[0]
    if "selection_accuracy" not in found:
        raise InputError(f"--scores has no row of {route} for {user}: make it again with score_formats")
    return found


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", required=True, help="JSON list of float networks")
    parser.add_argument("--config", default="{}", help="ChainConfig as JSON")
    parser.add_argument("--scores", nargs="+", required=True, help="CSV of score_formats")
    parser.add_argument("--mac-costs", required=True, help="parquet of synthesise_macs")
    parser.add_argument("--side", type=int, default=64, help="of an image, pixels")
    parser.add_argument("--table", required=True, help="CSV to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
