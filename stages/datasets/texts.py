"""Readers of text sets: from raw files to one text a split."""

import re
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path

from stages.datasets.files import tar_members
from stages.lib.core.errors import InputError

_TAGGED = re.compile(r"(\S+)/[^\s/]+")
_CLOSING = re.compile(r" ([.,;:?!)\]%]|'')")


def text(raw: Path, split: str, options: Mapping[str, str]) -> str:
    """The file that options[split] names, as it is."""
    return (raw / options[split]).read_text(encoding="utf-8")


def brown(raw: Path, split: str, options: Mapping[str, str]) -> str:
    """The Brown corpus in an archive `options.archive`: words without their tags, a paragraph a line.

    Every tenth file of a genre is `test`, the one after it `valid`, and the others are `train`: all three hold most
    genres, and no document is in two of them.
    """
    found = []
    with open(raw / options["archive"], "rb") as archive:
        # two letters of the genre and two digits: no other file of the package looks like that
        for name, content in sorted(tar_members(archive, ("",))):
            file = name.rpartition("/")[2]
            if not re.fullmatch(r"c[a-r]\d\d", file):
                continue
            number = int(file[2:]) % 10
            if split == {0: "test", 1: "valid"}.get(number, "train"):
                found += _paragraphs(content.decode("ascii", errors="replace"))
    return "\n".join(found) + "\n"


def _paragraphs(tagged: str) -> list[str]:
    """Lines of words; quotes and punctuation stand where a typesetter would put them."""
    lines = []
    for line in tagged.splitlines():
        words = " ".join(_TAGGED.findall(line))
        words = _CLOSING.sub(r"\1", words).replace("`` ", '"').replace("''", '"').replace("( ", "(")
        if words:
            lines.append(words)
    return lines


def sklearn_descriptions(raw: Path, split: str, options: Mapping[str, str]) -> str:
    """What scikit-learn says of its data sets, bundled with it: a little English for tests without a network."""
    held_out = {"valid": ("kddcup99", "wine_data"), "test": ("iris", "lfw")}
    folder = files("sklearn.datasets.descr")
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".rst"))
    chosen = [f"{name}.rst" for name in held_out.get(split, ())] or [
        name for name in names if name.removesuffix(".rst") not in sum(held_out.values(), ())
    ]
    return "".join((folder / name).read_text(encoding="utf-8") for name in chosen)


READERS: dict[str, Callable[[Path, str, Mapping[str, str]], str]] = {
    "text": text,
    "brown": brown,
    "sklearn_descriptions": sklearn_descriptions,
}


def read_text(reader: str, raw: Path, split: str, options: Mapping[str, str]) -> str:
    if reader not in READERS:
        raise InputError(f"there is no reader {reader!r} of texts; use {', '.join(READERS)}")
    return READERS[reader](raw, split, options)
