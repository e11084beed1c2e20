"""The syntax of Liberty files: nested groups of attributes, and Boolean expressions as truth tables.

A truth table is an int: bit j is the value for assignment j, and bit i of j is the value of input i.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stages.lib.core.errors import InputError


@dataclass(kw_only=True)
class Group:
    """One `name (arguments) { ... }` of a Liberty file."""

    name: str
    arguments: list[str]
    attributes: dict[str, str] = field(default_factory=dict)
    lists: dict[str, list[list[str]]] = field(default_factory=dict)  # name (a, b); each time it stands
    groups: list["Group"] = field(default_factory=list)

    @property
    def label(self) -> str:
        return f"{self.name} ({', '.join(self.arguments)})"

    def all(self, name: str) -> list["Group"]:
        return [group for group in self.groups if group.name == name]


# comments, line joins and spaces are skipped; words keep their quotes until they are stored
_TOKEN = re.compile(r'/\*.*?(?:\*/|\Z)|\\\s*\n|\s+|("[^"]*"|[^\s(){};:,"]+|[(){};:,"])', re.S)


def parse_liberty(text: str, path: Path) -> Group:
    """The library group of a Liberty text, by recursive descent over its tokens."""
    tokens = [token for token in _TOKEN.findall(text) if token]
    if tokens[:2] != ["library", "("]:
        raise InputError(f"{path} is not a Liberty file: it does not begin with library (NAME)")
    position = 0

    def take(inside: str) -> str:
        nonlocal position
        if position == len(tokens):
            raise InputError(f"{path} ends inside {inside}: the file is cut off; fetch it again")
        position += 1
        return tokens[position - 1]

    def peek() -> str:
        return tokens[position] if position < len(tokens) else ""

    def statement(name: str, parent: Group) -> None:
        separator = take(parent.label)
        if separator == ":":
            words = []
            while (token := take(parent.label)) != ";":
                words.append(token)
            parent.attributes[name] = " ".join(words).strip('"')
            return
        if separator != "(":
            raise InputError(f"{path}: {name} {separator} inside {parent.label} cannot be read")
        arguments = []
        while (token := take(parent.label)) != ")":
            if token != ",":
                arguments.append(token.strip('"'))
        if peek() == "{":
            take(parent.label)
            parent.groups.append(body(Group(name=name, arguments=arguments)))
        else:
            parent.lists.setdefault(name, []).append(arguments)

    def body(group: Group) -> Group:
        while (token := take(group.label)) != "}":
            if token != ";":
                statement(token, group)
        return group

    root = Group(name="file", arguments=[path.name])
    statement(take(root.label), root)
    if not root.groups:
        raise InputError(f"{path} is not a Liberty file: library has no body")
    return root.groups[0]


def truth_table(expression: str, inputs: Sequence[str]) -> int:
    """Truth table of a Liberty expression over `inputs`. Raises ValueError where it is not one.

    Operators, from the tightest: ' and !, then ^, then & * or nothing, then | +.
    """
    tokens = re.findall(r"[A-Za-z_][\w\[\]]*|[01]|\S", expression)
    full = (1 << (1 << len(inputs))) - 1
    variables = {name: _variable(i, len(inputs)) for i, name in enumerate(inputs)}
    variables |= {"0": 0, "1": full}
    position = 0

    def peek() -> str:
        return tokens[position] if position < len(tokens) else ""

    def take() -> str:
        nonlocal position
        position += 1
        return tokens[position - 1] if position <= len(tokens) else ""

    def primary() -> int:
        token = take()
        if token == "!":
            return full ^ primary()
        if token == "(":
            value = disjunction()
            if take() != ")":
                raise ValueError(f"{expression!r} lacks a closing bracket")
        elif token in variables:
            value = variables[token]
        else:
            raise ValueError(f"{expression!r} names {token or 'nothing'!r}, which is no input")
        while peek() == "'":
            take()
            value ^= full
        return value

    def exclusive() -> int:
        value = primary()
        while peek() == "^":
            take()
            value ^= primary()
        return value

    def conjunction() -> int:
        value = exclusive()
        while peek() not in ("", "|", "+", ")"):
            if peek() in "&*":
                take()
            value &= exclusive()
        return value

    def disjunction() -> int:
        value = conjunction()
        while peek() and peek() in "|+":
            take()
            value |= conjunction()
        return value

    value = disjunction()
    if peek():
        raise ValueError(f"{expression!r} has {peek()!r} where it should end")
    return value


def flips(truth: int, when: int, input: int, inputs: int) -> tuple[int, int]:
    """Assignments with `input` at 0, inside `when` on both sides, where raising it makes the output (fall, rise)."""
    low = ((1 << (1 << inputs)) - 1) ^ _variable(input, inputs)
    step = 1 << input
    both = when & (when >> step) & low
    return both & truth & ~(truth >> step), both & ~truth & (truth >> step)


def _variable(i: int, inputs: int) -> int:
    return sum(1 << j for j in range(1 << inputs) if j >> i & 1)
