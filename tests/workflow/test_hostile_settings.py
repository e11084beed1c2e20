"""Hostile text in settings and targets: refused in one sentence, or one word of a command, as it stands.

Planned commands are really run, by the shell that runs jobs, with a stand-in for `envs/py` that notes its arguments.
"""

import dataclasses
import json
import os
import re
import subprocess
from typing import Any

import pytest

from stages.lib.core.errors import InputError
from tests.checkout import Checkout, copy_of_checkout
from workflow.lib.catalogue import Catalogue
from workflow.lib.settings import load_registry, load_settings

# a flag, and every sign that means something to a shell
PATH = "--help BEGIN 'x\" $(touch pwned) `touch pwned` $HOME;touch pwned;#&|<>*?~!\\ é%s END"
# ... and to Snakemake, which cannot have them in the name of a file
EVERYTHING = PATH.replace("$HOME", "${HOME} {scale} {{y}}\n")
# of settings that no scale sets, and the files that they make
USER_NETLIST = {"name": "mine", "netlist": "n.json", "library": "l.lib", "top": "t"}
OPTIONAL = [
    "data/prepared/plates/plates.npz",
    "results/smoke/hardware/weight_profile/user/mine.csv",
    "results/smoke/hardware/voltage/sky130_voltage.csv",
    "results/smoke/models/own/model.json",
]
NOTE = """#!/bin/sh
printf '%s\\0' "$@" >> noted
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return copy_of_checkout(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module")
def refusals() -> dict[tuple[str, ...], str]:
    """Every place of the settings that holds text -> what is said to EVERYTHING there; "" where it is taken."""
    registry = load_registry()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workflow.lib.catalogue.load_registry", lambda: registry)  # is read but once
        return {place: refusal(place, EVERYTHING) for place in places(SETTINGS)}


def refusal(place: tuple[str, ...], text: str) -> str:
    try:
        Catalogue.load({"scale": "smoke", **override(place, text)}, preflight=None)
    except InputError as error:
        return str(error)
    return ""


def places(value: Any, path: tuple[str, ...] = ()):
    """The way to every text below `value`: keys, and [] for the items of a list or the keys of a mapping."""
    if isinstance(value, str):
        yield path
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from places(getattr(value, field.name), (*path, field.name))
    elif isinstance(value, dict) and value:
        yield (*path, "[]")
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, tuple) and (not value or isinstance(value[0], str)):
        yield (*path, "[]")


def override(place: tuple[str, ...], text: str) -> dict[str, Any]:
    """Sections that put the text there; a new key of a mapping gets the first one's value."""
    old: Any = plain(SETTINGS)
    for key in place:
        if key != "[]":
            old = old[key]
    new: Any = text
    if place[-1] == "[]":
        new = {text: next(iter(old.values()))} if isinstance(old, dict) else [text]
    for key in reversed([key for key in place if key != "[]"]):
        new = {key: new}
    return new


def plain(settings: Any) -> Any:
    return json.loads(json.dumps(dataclasses.asdict(settings)))


def merged(one: Any, two: Any) -> Any:
    if isinstance(one, dict) and isinstance(two, dict):
        return one | {key: merged(one.get(key, value), value) for key, value in two.items()}
    return two


SETTINGS = load_settings("smoke", {"hardware": {"timing": {"user_netlists": [USER_NETLIST]}}})


def test_a_text_that_is_a_name_or_a_choice_is_refused_in_one_sentence(refusals):
    for place, sentence in refusals.items():
        assert "\n" not in sentence
        assert not sentence or re.match(
            rf"(config/smoke.yaml|config/base.yaml|--config): {place[0]}\b", sentence
        ), sentence
    assert sum(map(bool, refusals.values())) > len(refusals) / 2


def test_text_that_is_taken_is_one_word_of_a_command(checkout, refusals):
    settings: Any = {}
    for place in (place for place, sentence in refusals.items() if not sentence):
        settings = merged(settings, override(place, EVERYTHING))
    ports = dict.fromkeys(("top", "weight_port", "activation_port", "sum_port"), EVERYTHING)
    netlist = USER_NETLIST | ports | {"netlist": PATH, "library": PATH}
    offload = {"grid": {"machines": [EVERYTHING]}, "converted": {"own": "OWN_MODEL"}}
    hardware = {"sky130": PATH, "timing": {"user_netlists": [netlist]}}
    settings = merged(settings, {"hardware": hardware, "offload": offload})
    (checkout.root / "hostile.json").write_text(json.dumps(settings))
    (checkout.root / PATH).touch()
    planned = checkout.snakemake(
        *("--dry-run", "--printshellcmds", "--quiet", "progress", "--configfile", "hostile.json"),
        *("--", "all", *OPTIONAL),
    )
    assert planned.returncode == 0, (planned.stdout + planned.stderr)[-2000:]
    commands = re.findall(r"^Shell command: (.*?)(?=\n\n\[|\nReasons:|\Z)", planned.stdout, flags=re.M | re.S)
    commands = [command for command in commands if command != "None"]  # of rules that only collect
    assert len(commands) > 60
    words = run_noted(checkout, commands)
    assert not list(checkout.root.rglob("pwned*"))
    assert {
        f"{flag}={EVERYTHING}" for flag in ("--folder", "--top", "--sum-port", "--machine", "--source")
    } <= words
    assert {f"{flag}={PATH}" for flag in ("--library", "--netlist", "--sky130")} <= words
    for word in words:
        assert not word.startswith("--help")
        if "BEGIN" in word or "END" in word:
            assert any(text in word or json.dumps(text)[1:-1] in word for text in (EVERYTHING, PATH)), word


def run_noted(checkout: Checkout, commands: list[str]) -> set[str]:
    """All arguments that the stand-in for `envs/py` was called with."""
    for folder in {
        folder for command in commands for folder in re.findall(r"> ([\w/.+-]+)/[\w.+-]+ 2>&1", command)
    }:
        (checkout.root / folder).mkdir(parents=True, exist_ok=True)
    (checkout.root / "noted").unlink(missing_ok=True)
    script = checkout.root / "envs/py"
    text = script.read_text()
    script.write_text(NOTE)
    try:
        for command in commands:
            subprocess.run(
                ["bash", "-euo", "pipefail", "-c", command],
                cwd=checkout.root,
                check=True,
                env=os.environ | {"OWN_MODEL": EVERYTHING},
            )
    finally:
        script.write_text(text)
    return set((checkout.root / "noted").read_text().split("\0"))
