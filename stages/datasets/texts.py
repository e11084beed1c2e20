"""Readers of text sets: from raw files to one text a split."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path

from stages.datasets.documents import text_of_split
from stages.datasets.files import archive_members, tar_members
from stages.lib.core.errors import InputError

_TAGGED = re.compile(r"(\S+)/[^\s/]+")
_CLOSING = re.compile(r" ([.,;:?!)\]%]|'')")
# neighbours in a list of messages belong to one part of the program: what they share must not be in two splits
MESSAGES_A_DOCUMENT = 40
MESSAGE_WORDS = 3  # of fewer words, a message is a label
WORDNET_PARTS = {"data.adj": "adjective", "data.adv": "adverb", "data.noun": "noun", "data.verb": "verb"}


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


def sklearn_code(raw: Path, split: str, options: Mapping[str, str]) -> str:
    """Python of scikit-learn's subpackages `options.packages`, for tests without a network; each module a document."""
    modules = (
        (f"{package}/{file.name}", file.read_text(encoding="utf-8"))
        for package in options["packages"].split()
        for file in files(f"sklearn.{package}").iterdir()
        if file.name.endswith(".py")
    )
    return text_of_split(modules, split, options)


def archive_texts(raw: Path, split: str, options: Mapping[str, str]) -> str:
    """Members of a wheel, zip or tar `options.archive`, each a document named by its path.

    options  include and, if need be, exclude: patterns with white space between them, where * crosses "/"; field,
             where members are JSON and this entry of them is the text; drop, a regular expression of lines to leave
             out, by their start; those of `text_of_split`
    """
    return text_of_split(_archive_documents(raw, options), split, options)


def wordnet_glosses(raw: Path, split: str, options: Mapping[str, str]) -> str:
    """The dictionary in WordNet's data files in `options.archive`: a synonym set a line, its words and their gloss.

    A set is named by its part of speech and its offset in the file. The documents are the sets, so that the lines of
    a split follow each other without a blank one.
    """
    glosses = (
        (f"{part}/{line[:8]}", _gloss(line, part))
        for name, content in archive_members(raw / options["archive"], ("*/data.*",))
        if (part := WORDNET_PARTS.get(Path(name).name, ""))
        for line in content.decode("utf-8").splitlines()
        if line[:8].isdigit()  # the licence above the sets is indented
    )
    return text_of_split(glosses, split, options, between="")


def ui_messages(raw: Path, split: str, options: Mapping[str, str]) -> str:
    """Messages of a program in one language: lines of a JavaScript array, in the file `options.member` of an archive.

    Forty places of the array are a document, named by its number: translations of one array are split alike. Labels
    of one or two words, and messages that came before, are left out.
    """
    found = dict(archive_members(raw / options["archive"], (options["member"],)))
    if options["member"] not in found:
        raise InputError(f"{options['archive']} has no {options['member']}; name the array's file in member")
    array = found[options["member"]].decode("utf-8").partition("[\n")[2].splitlines()
    documents: dict[str, str] = {}
    for place, message in _messages(array):
        number = f"{place // MESSAGES_A_DOCUMENT:04}"
        documents[number] = documents.get(number, "") + message + "\n"
    return text_of_split(documents.items(), split, options)


def _archive_documents(raw: Path, options: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    excluded, dropped = options.get("exclude", "").split(), re.compile(options.get("drop", "(?!)"))
    for name, content in archive_members(raw / options["archive"], tuple(options["include"].split())):
        if any(fnmatchcase(name, pattern) for pattern in excluded):
            continue
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            raise InputError(f"{name} in {options['archive']} is not UTF-8; exclude it") from None
        if "field" in options:
            text = json.loads(text)[options["field"]]
        yield name, "\n".join(line for line in text.split("\n") if not dropped.match(line))


def _gloss(line: str, part: str) -> str:
    """ "00001740 03 n 01 entity 0 003 ~ ... | that which ..." of wndb(5WN) as "entity (noun): that which ..." """
    fields, _, gloss = line.partition(" | ")
    columns = fields.split()
    count = int(columns[3], 16)
    # an adjective's place in a sentence, as in "galore(ip)", is no part of the word
    words = [re.sub(r"\(\w+\)$", "", word).replace("_", " ") for word in columns[4 : 4 + 2 * count : 2]]
    return f"{', '.join(words)} ({part}): {gloss.strip()}"


def _messages(array: list[str]) -> Iterator[tuple[int, str]]:
    """Place and text of the messages; places that hold `undefined` have none."""
    seen = set()
    for place, line in enumerate(array):
        if line.strip().startswith('"'):
            message = json.loads(line.strip().removesuffix(","))
            if len(message.split()) >= MESSAGE_WORDS and message not in seen:
                seen.add(message)
                yield place, message


READERS: dict[str, Callable[[Path, str, Mapping[str, str]], str]] = {
    "text": text,
    "brown": brown,
    "sklearn_descriptions": sklearn_descriptions,
    "sklearn_code": sklearn_code,
    "archive_texts": archive_texts,
    "wordnet_glosses": wordnet_glosses,
    "ui_messages": ui_messages,
}


def read_text(reader: str, raw: Path, split: str, options: Mapping[str, str]) -> str:
    if reader not in READERS:
        raise InputError(f"there is no reader {reader!r} of texts; use {', '.join(READERS)}")
    return READERS[reader](raw, split, options)
