"""Choose the cheapest route that keeps the budget, by selection images alone, and hand over its network.

python -m stages.chain.choose_route --routes routes.csv --config CHAIN --networks '[{"seed": 0, ...}]'
    --chosen chosen.json --ranked ranked.csv --folder FLOAT

chosen.json says which route it is and whether it keeps the budget (where none does, the cheapest of all is taken and
`fits` is false), and what `export_model --plan` quantises the network in FLOAT by, that of the first seed and the route's
first user: `export`, `technique` and `classes`.
"""

import argparse
import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from stages.chain.config import ChainConfig
from stages.chain.networks import read_networks
from stages.chain.routes import float_route, kind_of, owners, routes_of, steps_of
from stages.chain.selection import choose
from stages.lib.core.artifacts import atomic_path, write_json
from stages.lib.core.commands import from_json, json_object
from stages.lib.core.errors import InputError, run


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = from_json(ChainConfig, args.config, where="--config")
    ranked = choose(pd.read_csv(args.routes), config.budget)
    quantised = [r for r in ranked["route"] if kind_of(r, config.steps) == "quantise"]
    if not quantised:
        raise InputError(
            "no route of chain.orders ends in a step of kind quantise: there is nothing to choose"
        )
    best = ranked.set_index("route").loc[quantised[0]]
    chosen = handed_over(
        str(best.name), config, read_networks(args.networks), json_object(args.techniques, "--techniques")
    )
    copy_model(chosen.pop("source"), args.folder)
    with atomic_path(args.ranked) as temporary:
        ranked.to_csv(temporary, index=False)
    write_json(
        args.chosen,
        chosen | {"fits": bool(best["fits"]), "failed": best["failed"], "objective": config.budget.objective},
    )
    print(f"{best.name}: {'keeps the budget' if best['fits'] else best['failed']}")


def handed_over(
    route: str, config: ChainConfig, networks: list[dict[str, Any]], techniques: dict[str, Any]
) -> dict[str, Any]:
    """What chosen.json says of the route, and `source`, the folder of the network before quantisation."""
    step = config.steps[steps_of(route)[-1]]
    user = routes_of(config)[route][0]
    before = float_route(route, config.steps)
    owner = owners(before, (user,), config.steps)[0]
    source = next(
        n["folder"]
        for n in networks
        if (n["seed"], n["route"], n["owner"]) == (config.seeds[0], before, owner)
    )
    export = {
        "formats": step.formats,
        "calibration_images": config.calibration_images,
        "seed": config.seeds[0],
    }
    return {
        "route": route,
        "user": user,
        "owner": owner,
        "export": export,
        "technique": techniques[step.technique],
        "classes": list(config.users[user]) if owner == user else [],
        "source": source,
    }


def copy_model(source: Path, folder: Path) -> None:
    for name in ("weights.safetensors", "model.json"):
        with atomic_path(folder / name) as temporary:
            shutil.copyfile(source / name, temporary)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--routes", required=True, help="CSV of measure_routes")
    parser.add_argument("--config", default="{}", help="ChainConfig as JSON")
    parser.add_argument(
        "--networks", required=True, help="JSON list of float networks, as measure_routes has it"
    )
    parser.add_argument("--techniques", required=True, help="JSON: name -> Technique")
    parser.add_argument("--chosen", required=True, help="JSON to write")
    parser.add_argument("--ranked", required=True, help="CSV to write, a row a route, the best first")
    parser.add_argument("--folder", type=Path, required=True, help="model folder to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
