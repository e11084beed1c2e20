"""Documents with names: which split each one is in, and the text that a split makes of them."""

import hashlib
import re
from collections.abc import Iterable, Mapping

from stages.lib.core.errors import InputError

# of what is not white space, more digits than this are a table of numbers: prose has 0.02, code 0.05, tunes 0.2
TABLE_DIGITS = 0.3


def text_of_split(
    documents: Iterable[tuple[str, str]], split: str, options: Mapping[str, str], *, between: str = "\n"
) -> str:
    """The documents of one split in the order of their names, a blank line between two of them.

    documents  name and text, in any order
    between    what follows the newline of each but the last
    options    held_out, the share of documents in `valid`, and likewise in `test`; kept, the share of them that is
               in any split, as a larger set is cut (default 1); family, a regular expression: documents whose names
               start with the same match are in one split (default: the whole name); longest_bytes, beyond which a
               document is left out

    Tables of numbers are left out, and of documents of the same content all but the first.
    """
    longest_bytes = int(options.get("longest_bytes", "0"))
    chosen, seen = [], set()
    for name, raw in sorted(documents):
        text = tidy(raw)
        if not text or is_table(text) or (longest_bytes and len(text.encode()) > longest_bytes):
            continue
        if text not in seen and split_of(name, options) == split:
            chosen.append(text)
        seen.add(text)
    return between.join(chosen)


def split_of(name: str, options: Mapping[str, str]) -> str:
    """`test`, `valid`, `train` or, for what is cut, "": a matter of the name alone, so that no other document counts."""
    held_out, kept = float(options["held_out"]), float(options.get("kept", "1"))
    if not 0 < 2 * held_out < kept <= 1:
        raise InputError(f"held_out is {held_out} and kept {kept}: choose 0 < 2 held_out < kept <= 1")
    family = re.match(options.get("family", ".*"), name)
    place = _place(family[0] if family and family[0] else name)
    bounds = {"test": held_out, "valid": 2 * held_out, "train": kept}
    return next((split for split, bound in bounds.items() if place < bound), "")


def tidy(text: str) -> str:
    """Lines without white space at their ends, no blank ones around, one newline at the end; "" of nothing."""
    lines = [line.rstrip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    inside = "\n".join(lines).strip("\n")
    return f"{inside}\n" if inside else ""


def is_table(text: str) -> bool:
    visible = re.sub(r"\s", "", text)
    return sum(c.isdigit() for c in visible) > TABLE_DIGITS * len(visible)


def _place(name: str) -> float:
    """A place in 0..1, spread evenly and the same on every machine."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) / 2**64
