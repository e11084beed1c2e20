"""Arguments of commands: configurations as JSON text, checked against the stage's dataclasses."""

import dataclasses
import json
import types
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from stages.lib.core.errors import InputError

T = TypeVar("T")


def from_json(kind: type[T], text: str, *, where: str) -> T:
    """A frozen dataclass from JSON text. `where` names the argument in errors.

    Snakemake checks the configuration before any job starts; this check serves a stage called alone.
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{where} is not JSON: {error}") from error
    return _build(kind, value, where)


def to_json(config: Any) -> str:
    """The JSON text of a dataclass, as `from_json` reads it."""
    return json.dumps(dataclasses.asdict(config), sort_keys=True)


def json_object(text: str, where: str) -> dict[str, Any]:
    """The object of an argument that names things freely. `where` names the argument in errors."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{where} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{where} is {text[:60]}; it must be an object")
    return value


def _build(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, value, where)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (tuple, dict) and not isinstance(value, list if origin is tuple else dict):
        kind_of = "a list" if origin is tuple else "an object"
        raise InputError(f"{where} is {value!r}; it must be {kind_of}")
    if origin is tuple:
        return tuple(_build(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        return {key: _build(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if origin is types.UnionType and value is None:
        return None
    if origin is types.UnionType:
        return _build_union(arguments, value, where)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, type) and (
        not isinstance(value, kind) or (kind is not bool and isinstance(value, bool))
    ):
        raise InputError(f"{where} is {value!r}; it must be of type {kind.__name__}")
    return value


def _build_union(options: tuple[Any, ...], value: Any, where: str) -> Any:
    """The value as the first option that it fits; the last one's complaint where it fits none."""
    options = tuple(option for option in options if option is not type(None))
    for option in options[:-1]:
        try:
            return _build(option, value, where)
        except InputError:
            continue
    return _build(options[-1], value, where)


def _build_dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise InputError(f"{where} is {value!r}; it must be an object with the keys of {kind.__name__}")
    hints = get_type_hints(kind)
    unknown = [key for key in value if key not in hints]
    if unknown:
        raise InputError(f"{where} has the unknown key {unknown[0]!r}; known are {', '.join(hints)}")
    try:
        return kind(**{key: _build(hints[key], item, f"{where}.{key}") for key, item in value.items()})
    except (TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{where}: {error}") from error
