"""Prepare one split of a text set: the text as it is, with what is known of it.

python -m stages.datasets.prepare_text --entry '{...}' --manifest data/raw/wikitext-2/source.json --split test
    --text OUT/text.txt --info OUT/text.json
"""

import argparse
import hashlib
from pathlib import Path

from stages.datasets.config import DatasetEntry
from stages.datasets.prepare import read_manifest, split_record
from stages.datasets.texts import read_text
from stages.lib.core.artifacts import write_json, write_text
from stages.lib.core.commands import from_json
from stages.lib.core.errors import InputError, run


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    entry = from_json(DatasetEntry, args.entry, where="--entry")
    name, source, raw = read_manifest(args.manifest)
    if args.split not in entry.splits:
        raise InputError(f"{name} has no split {args.split!r}; it has {', '.join(entry.splits)}")
    text = read_text(source.reader, raw, args.split, source.options)
    digest = hashlib.sha256(text.encode()).hexdigest()
    record = split_record(name, entry, args.split, digest=digest, n=text.count("\n"))
    write_text(args.text, text)
    write_json(args.info, record)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="prepare_text", description=__doc__.splitlines()[0])
    parser.add_argument("--entry", required=True, help="entry of config/datasets.yaml as JSON")
    parser.add_argument("--manifest", type=Path, required=True, help="source.json of fetch_dataset")
    parser.add_argument("--split", required=True)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--info", type=Path, required=True)
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
