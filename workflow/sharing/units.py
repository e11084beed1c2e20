"""Which files are shared, in which units DVC keeps them, and what may not leave.

unit    what one .dvc file stands for: a prepared data set, a folder of rendered clips, a part of a stage's results
group   what one file in provenance/ stands for: a stage folder
"""

import json
from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath

# a JSON file in a folder with `"redistribute": false` says that nothing in the folder may be passed on
MANIFEST_BYTES = 2**20


def unit_of(path: str) -> str:
    parts = PurePosixPath(path).parts
    return "/".join(parts[: 3 if parts[:2] == ("data", "prepared") else 4])


def group_of(path: str) -> str:
    """
    data/prepared/digits/train/images.npy -> data/prepared/digits
    results/smoke/crisp/tables/storage.csv -> results/smoke/crisp
    results/smoke/claims.json -> results/smoke/claims
    """
    return "/".join(PurePosixPath(path).with_suffix("").parts[:3])


def files_of(root: Path, unit: str) -> list[str]:
    """Paths, from the root, of all files of a unit; temporary names of a job that was killed are left out."""
    place = root / unit
    if place.is_file():
        return [unit]
    paths = sorted(file.relative_to(root).as_posix() for file in place.rglob("*") if file.is_file())
    return [path for path in paths if "/." not in path]


def closed_folders(root: Path, paths: Iterable[str], names: Collection[str]) -> set[str]:
    """Folders whose content may not be passed on.

    names  of the sets and models that may not: what lies in a folder of such a name, or was made of such a model
    Besides them, what a manifest closes, and a model that was converted from a user's own folder.
    """
    paths = list(paths)
    named = {str(folder) for path in paths for folder in PurePosixPath(path).parents if folder.name in names}
    manifests = (path for path in paths if path.endswith(".json") and _says_closed(root / path, names))
    return named | {str(PurePosixPath(path).parent) for path in manifests}


def is_below(path: str, folders: Collection[str]) -> bool:
    return any(str(parent) in folders for parent in PurePosixPath(path).parents)


def _says_closed(file: Path, names: Collection[str]) -> bool:
    if file.stat().st_size > MANIFEST_BYTES:
        return False
    try:
        content = json.loads(file.read_bytes())
    except ValueError:
        return False
    if not isinstance(content, dict):
        return False
    recipe = content.get("recipe")
    return (
        content.get("redistribute") is False
        or str(content.get("model")) in names
        or (isinstance(recipe, dict) and "converted" in recipe)
    )
