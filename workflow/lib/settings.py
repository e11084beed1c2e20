"""Settings: base.yaml < SCALE.yaml < --config, checked by pydantic against the stages' dataclasses.

Whatever is wrong in a file becomes one sentence that names the file and the key. Inside the stages nobody
sees YAML or dicts.
"""

import dataclasses
import difflib
import functools
import json
import re
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from stages.chain.config import ChainConfig
from stages.claims.config import ClaimList, ClaimsConfig
from stages.datasets.config import DatasetEntry, LanguageModelEntry, PretrainedEntry
from stages.expansion.config import ExpansionStageConfig
from stages.halo.config import HaloConfig
from stages.hands.config import HandsConfig
from stages.hardware.config import HardwareConfig
from stages.lib.core.errors import InputError
from stages.offload.config import OffloadConfig
from stages.pruning.config import PruningConfig
from stages.quantization.config import QuantizationConfig
from stages.replay.config import ReplayConfig
from stages.teachers.config import TeachersConfig

ROOT = Path(__file__).resolve().parents[2]
SCALES = ("smoke", "laptop", "workstation", "paper")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One section a stage, named after it."""

    teachers: TeachersConfig
    hands: HandsConfig
    quantization: QuantizationConfig
    hardware: HardwareConfig
    pruning: PruningConfig
    halo: HaloConfig
    replay: ReplayConfig
    expansion: ExpansionStageConfig
    offload: OffloadConfig
    chain: ChainConfig
    claims: ClaimsConfig


@dataclass(frozen=True, kw_only=True)
class Registry:
    """config/datasets.yaml."""

    datasets: dict[str, DatasetEntry]  # by name
    pretrained: dict[str, PretrainedEntry]  # networks, by name
    language_models: dict[str, LanguageModelEntry]  # by name


def load_settings(
    scale: str, overrides: Mapping[str, Any] | None = None, folder: Path = ROOT / "config"
) -> Settings:
    """The settings of a scale. `overrides` are sections as given by `snakemake --config`, whose numbers are text."""
    if scale not in SCALES:
        raise InputError(
            f"there is no scale {scale!r}; choose one of {', '.join(SCALES)}{_nearest(scale, SCALES)}"
        )
    layers = [(f"config/{name}.yaml", read_yaml(folder / f"{name}.yaml")) for name in ("base", scale)]
    return check(Settings, [*layers, ("--config", _typed(dict(overrides or {})))])


def load_registry(file: Path = ROOT / "config" / "datasets.yaml") -> Registry:
    return check(Registry, [("config/datasets.yaml", read_yaml(file))])


def load_claims(file: Path = ROOT / "config" / "claims.yaml") -> ClaimList:
    return check(ClaimList, [("config/claims.yaml", read_yaml(file))])


def read_yaml(file: Path) -> dict[str, Any]:
    """A YAML file whose keys are text and unique. Raises InputError with the file and the line."""
    name = f"config/{file.name}"
    try:
        value = yaml.load(file.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except FileNotFoundError:
        raise InputError(f"{name} is missing; restore it with git checkout {name}") from None
    except UnicodeDecodeError:
        raise InputError(f"{name} is not UTF-8 text; save it again as UTF-8") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise InputError(f"{name}, line {line}: {error.problem}; mend the YAML there") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        first_line = (str(error).splitlines() or ["nested too deeply"])[0]
        raise InputError(f"{name} is not YAML: {first_line}") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError(f"{name} must hold sections (`teachers:` ...), not a {type(value).__name__}")
    return value


def check(kind: type[T], layers: list[tuple[str, dict[str, Any]]]) -> T:
    """Merge the layers (later ones win, key by key) and build `kind` from them.

    layers  pairs of a file's name, for messages, and its content
    """
    merged: dict[str, Any] = {}
    for name, layer in layers:
        merged = _merge(merged, _plain(layer, name))
    adapter = adapter_of(kind)
    try:
        return adapter.validate_json(json.dumps(merged), strict=True)
    except ValidationError as error:
        raise InputError(_sentence(kind, error, layers)) from None


@functools.cache
def adapter_of(kind: type[T]) -> TypeAdapter[T]:
    """pydantic's view of a dataclass and those inside it, where an unknown key is an error."""
    for inner in _dataclasses_in(kind):
        inner.__pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}
    return TypeAdapter(kind)


def _typed(value: Any) -> Any:
    """A value of the command line, where Snakemake leaves numbers, true, false and null inside sections as text."""
    if isinstance(value, dict):
        return {key: _typed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_typed(inner) for inner in value]
    literal = isinstance(value, str) and re.fullmatch(r"true|false|null|-?\d+(\.\d+)?([eE][+-]?\d+)?", value)
    try:
        return json.loads(value) if literal else value
    except ValueError:  # 007
        return value


class _UniqueKeyLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key!r} is not text", problem_mark=key_node.start_mark
                )
            if key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key!r} stands twice", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _plain(layer: dict[str, Any], name: str) -> dict[str, Any]:
    """The layer as JSON has it; dates, sets and self-references are refused."""
    try:
        return json.loads(json.dumps(layer, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        key = next((k for k, v in layer.items() if not _is_json(v)), "?")
        raise InputError(
            f"{name}: {key} holds a value that is neither text, finite number, true/false, list nor section "
            "(put quotes around dates)"
        ) from None


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _sentence(kind: type, error: ValidationError, layers: list[tuple[str, dict[str, Any]]]) -> str:
    # a renamed key is both unknown and missing: the unknown one is the user's
    first = max(error.errors(include_url=False), key=lambda e: e["type"] in _UNKNOWN)
    path = [str(part) for part in first["loc"]]
    file = _file_of(path, layers)
    key = ".".join(path) or "the file"
    if first["type"] in _UNKNOWN:
        known = _keys_at(kind, path[:-1])
        hint = _nearest(path[-1], known) or "; known are " + ", ".join(known)
        return f"{file}: {key} is not a known key{hint}"
    if first["type"] in ("missing_argument", "missing"):
        return f"{_file_of(path[:-1], layers[:1])}: {key} is missing; add it"
    words = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "value_error":
        # a dataclass's own check names the key that is wrong: "batch is 0: choose 1 or more"
        wrong = re.split(r"[ .:]", words, maxsplit=1)[0]
        if wrong in _keys_at(kind, path):
            file = _file_of([*path, wrong], layers)
        return f"{file}: {key}.{words}" if wrong in _keys_at(kind, path) else f"{file}: {key}: {words}"
    value = str(first["input"])
    shown = value if len(value) <= 60 else value[:57] + "..."
    return f"{file}: {key} is {shown!r}: {words}"


_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")


def _file_of(path: list[str], layers: list[tuple[str, dict[str, Any]]]) -> str:
    """The last layer that sets the key, or the deepest part of it."""
    return max(enumerate(layers), key=lambda item: (_depth(item[1][1], path), item[0]))[1][0]


def _depth(value: Any, path: list[str]) -> int:
    for depth, part in enumerate(path):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return depth
    return len(path)


def _keys_at(kind: Any, path: list[str]) -> list[str]:
    for part in path:
        if dataclasses.is_dataclass(kind):
            kind = get_type_hints(kind).get(part)
        elif get_args(kind):
            kind = get_args(kind)[-1] if typing.get_origin(kind) is dict else get_args(kind)[0]
        kind = _without_none(kind)
    return [field.name for field in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []


def _without_none(kind: Any) -> Any:
    options = [a for a in get_args(kind) if a is not type(None)]
    return options[0] if type(None) in get_args(kind) and options else kind


def _dataclasses_in(kind: Any) -> Iterator[type]:
    if dataclasses.is_dataclass(kind):
        yield kind  # type: ignore[misc]
        for hint in get_type_hints(kind).values():
            yield from _dataclasses_in(hint)
    for argument in get_args(kind):
        yield from _dataclasses_in(argument)


def _nearest(word: str, known: typing.Sequence[str]) -> str:
    match = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {match[0]}?" if match else ""
