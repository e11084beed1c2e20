"""What README and docs tell a reader to open, type or set is there."""

import re

import pytest

from workflow.lib.generate import settings_table
from workflow.lib.results_pages import BEGIN, END, PAGE
from workflow.lib.settings import ROOT, Settings

FILES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = {file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8") for file in FILES}


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_to_a_file_and_a_heading(name):
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", TEXTS[name]):
        path, _, anchor = target.partition("#")
        file = ((ROOT / name).parent / path).resolve() if path else ROOT / name
        if file == ROOT / PAGE and not file.exists():
            continue  # made from a recorded run
        assert file.exists(), f"{name}: {target}"
        headings = re.findall(r"^#+ (.*)$", file.read_text(), flags=re.MULTILINE) if anchor else []
        assert not anchor or anchor in map(slug, headings), f"{name}: {target}"


@pytest.mark.parametrize("name", TEXTS)
def test_commands_of_stages_exist_with_their_flags(name):
    text = TEXTS[name].replace("\\\n", " ")
    for environment, module, arguments in re.findall(
        r"envs/py (\w+) -m ((?:stages|workflow)\.[\w.]+)(.*)", text
    ):
        assert (ROOT / "envs" / f"{environment}.lock").is_file(), f"{name}: {environment}"
        file = ROOT / (module.replace(".", "/") + ".py")
        assert file.is_file(), f"{name}: {module}"
        flags = set(re.findall(r"(?<![\w-])(--[a-z][a-z-]*)", arguments.partition("#")[0])) - {"--help"}
        unknown = {flag for flag in flags if f'"{flag}"' not in file.read_text()}
        assert not unknown, f"{name}: {module} does not know {sorted(unknown)}"


@pytest.mark.parametrize("name", TEXTS)
def test_commands_of_the_front_door_exist(name):
    known = set(re.findall(r'add\("(\w+)", ', (ROOT / "front" / "commands.py").read_text()))
    assert {"run", "test", "clean"} <= known
    used = set(re.findall(r"\./repro ([a-z]+)", TEXTS[name]))
    assert used <= known, name


@pytest.mark.parametrize("name", TEXTS)
def test_settings_that_are_named_exist(name):
    keys = set(re.findall(r"^\| `([\w.]+)` ", settings_table(), flags=re.MULTILINE))
    sections = "|".join(Settings.__dataclass_fields__)
    for key in re.findall(rf"`((?:{sections})\.[a-z_.]+)`", TEXTS[name]):
        is_file = key.endswith((".md", ".json", ".smk", ".svg"))
        assert key in keys or is_file, f"{name}: {key} is no setting"


def test_readme_has_a_place_for_the_results():
    assert 0 < TEXTS["README.md"].find(BEGIN) < TEXTS["README.md"].find(END)
