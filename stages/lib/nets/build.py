"""A network from its name and arguments."""

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from typing import Any

from torch import nn

import stages.lib.nets
from stages.lib.core.errors import InputError


def build(net: str, arguments: Mapping[str, Any]) -> nn.Module:
    """The network `net` ("module.Class" of stages.lib.nets), made with `arguments`.

    Raises InputError that names the nearest choice where the name or an argument is unknown.
    """
    module_name, _, class_name = net.partition(".")
    families = [m.name for m in pkgutil.iter_modules(stages.lib.nets.__path__) if m.name not in _NOT_FAMILIES]
    if module_name not in families:
        raise InputError(
            f"there is no network family {module_name!r} (in {net!r}); choose one of {', '.join(families)}"
        )
    kind = getattr(importlib.import_module(f"stages.lib.nets.{module_name}"), class_name, None)
    if not (inspect.isclass(kind) and issubclass(kind, nn.Module)):
        raise InputError(
            f"the family {module_name} has no network {class_name!r}; see stages/lib/nets/{module_name}.py"
        )
    known = inspect.signature(kind).parameters
    unknown = [key for key in arguments if key not in known]
    if unknown:
        raise InputError(f"{net} has no argument {unknown[0]!r}; it takes {', '.join(known)}")
    return kind(**arguments)


_NOT_FAMILIES = ("build", "graph", "layers", "model_folder")
