"""Names that settings and targets give to things: they stand in paths and, as words, in the commands of jobs.

Wildcards of rules are held to the same patterns as the keys of the settings, so that neither can bring a space, a
quote, a semicolon or a way out of its folder into a command.
"""

import re
from collections.abc import Iterable

from stages.lib.core.errors import InputError

_LETTERS = "[a-z]+"
_WORD = "[a-z0-9][a-z0-9-]*"
_DOTTED = "[a-z0-9][a-z0-9.-]*"
_UNDERSCORED = "[a-z0-9_]+"
_MIXED = "[a-zA-Z0-9_][a-zA-Z0-9_-]*"
NET = "[a-z][a-z0-9_]*[.][A-Za-z][A-Za-z0-9_]*"
_IN_WORDS = {
    _LETTERS: "small letters",
    _WORD: "small letters, digits and, behind the first, hyphens",
    _DOTTED: "small letters, digits and, behind the first, points and hyphens",
    _UNDERSCORED: "small letters, digits and underscores",
    NET: "module.Class of stages/lib/nets",
    _MIXED: "letters, digits, underscores and, behind the first, hyphens",
}

# what each wildcard may be, in every rule that does not list its values
WILDCARDS = {
    "scale": _LETTERS,
    "dataset": _DOTTED,
    "split": _LETTERS,
    "model": _WORD,
    "layers": _DOTTED,
    "paper": "[a-z_]+",
    "netlist": _MIXED,
    "technology": "[a-z0-9]+",
    "sweep": _UNDERSCORED,
    "study": _UNDERSCORED,
    "judged": _UNDERSCORED,
    "export": _WORD,
    "clips": _UNDERSCORED,
    "job": "[0-9]+",
    "seed": "[0-9]+",
    "images": "[0-9]+",
    "condensation": _LETTERS,
    "method": "[a-z][a-z-]*",
    "arm": "[a-z][a-z-]*",
    # steps of the chain, joined
    "route": "[a-z0-9][a-z0-9+-]*",
    "owner": _LETTERS,
}
# of the registry; in one rule it is a model, too
LANGUAGE_MODEL = _DOTTED


def check_key(where: str, names: Iterable[str], pattern: str) -> None:
    """Raise InputError at the first name that the pattern does not match. `where`: file and key of the names."""
    for name in names:
        if not re.fullmatch(pattern, name):
            raise InputError(f"{where} has the name {name!r}: use {_IN_WORDS[pattern]}")


def check_path(where: str, path: str) -> None:
    """Raise InputError where a path of the user's, which is an input of a rule, cannot be one."""
    if re.search(r"[{}\n]", path):
        raise InputError(
            f"{where} is {path!r}: Snakemake takes braces and line breaks amiss; rename the file"
        )
