"""Names that a stage offers to Python users, imported on first use.

A command of the stage must not pay for (nor depend on) modules that only another command needs.
"""

import importlib
from collections.abc import Callable
from typing import Any


def lazy_exports(package: str, where: dict[str, str]) -> Callable[[str], Any]:
    """The package's `__getattr__` (PEP 562): `where` says for each public name the module that defines it."""

    def __getattr__(name: str) -> Any:
        if name not in where:
            raise AttributeError(f"{package} has no {name!r}; it offers {', '.join(where)}")
        return getattr(importlib.import_module(f"{package}.{where[name]}"), name)

    return __getattr__
