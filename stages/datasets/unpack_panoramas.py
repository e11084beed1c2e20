"""Unpack panoramas that a JavaScript package holds as data addresses: one EXR file each.

python -m stages.datasets.unpack_panoramas --manifest data/raw/pmndrs-panoramas/source.json
    --panoramas data/prepared/pmndrs-panoramas

index.csv  file, sha256
"""

import argparse
import base64
import binascii
import re
import shutil
from pathlib import Path

import pandas as pd

from stages.datasets.prepare import read_manifest
from stages.lib.core.artifacts import file_digest, temporary_folder
from stages.lib.core.errors import InputError, run

EXR_MAGIC = bytes.fromhex("762f3101")


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    name, source, raw = read_manifest(args.manifest)
    with temporary_folder(args.panoramas) as folder:
        rows = []
        for file in sorted(source.files):
            target = folder / f"{name.partition('-')[0]}_{file.partition('.')[0]}.exr"
            target.write_bytes(exr_of(raw / file))
            rows.append({"file": target.name, "sha256": file_digest(target)})
        pd.DataFrame(rows).to_csv(folder / "index.csv", index=False)
        shutil.rmtree(args.panoramas, ignore_errors=True)
        folder.rename(args.panoramas)


def exr_of(path: Path) -> bytes:
    """The picture in a module `export default 'data:...;base64,...'`. Nothing of the module is run."""
    found = re.search(rb"base64,([A-Za-z0-9+/=]+)", path.read_bytes())
    try:
        content = base64.b64decode(found[1], validate=True) if found else b""
    except binascii.Error:
        content = b""
    if not content.startswith(EXR_MAGIC):
        raise InputError(f"{path} holds no EXR picture; delete it and fetch the set again")
    return content


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="unpack_panoramas", description=__doc__.splitlines()[0])
    parser.add_argument("--manifest", type=Path, required=True, help="source.json of fetch_dataset")
    parser.add_argument("--panoramas", type=Path, required=True, help="folder to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
