"""Bring the raw files of a set, verified, from the first source that answers.

python -m stages.datasets.fetch_dataset --name digits --entry '{...}' --manifest data/raw/digits/source.json

--entry is the set's entry of config/datasets.yaml as JSON. DATA_MIRROR may name a folder that holds sets.
"""

import argparse
import json
from pathlib import Path

from stages.datasets.config import DatasetEntry, LanguageModelEntry, PretrainedEntry
from stages.datasets.prepare import manifest_of
from stages.datasets.sources import Entry, described, fetch
from stages.lib.core.artifacts import write_json
from stages.lib.core.commands import from_json
from stages.lib.core.errors import InputError, run


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    entry = parse_entry(args.entry)
    source = fetch(entry, args.manifest.parent)
    write_json(args.manifest, manifest_of(args.name, source))
    print(f"{args.name}: {described(source)}")


def parse_entry(text: str) -> Entry:
    """A registry entry; that of a network has the key `net`, that of a set `splits`."""
    try:
        keys = json.loads(text).keys()
    except (json.JSONDecodeError, AttributeError) as error:
        raise InputError(f"--entry is not a JSON object: {error}") from None
    kind = PretrainedEntry if "net" in keys else DatasetEntry if "splits" in keys else LanguageModelEntry
    return from_json(kind, text, where="--entry")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="fetch_dataset", description=__doc__.splitlines()[0])
    parser.add_argument("--name", required=True)
    parser.add_argument("--entry", required=True, help="entry of config/datasets.yaml as JSON")
    parser.add_argument("--manifest", type=Path, required=True, help="source.json; raw files go beside it")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
