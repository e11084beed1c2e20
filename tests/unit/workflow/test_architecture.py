"""docs/architecture.md and the code say the same: packages, what they import, environments, rule files, commands."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from workflow.lib.settings import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
# what a stage's command must run without
NOT_IN_STAGES = {"snakemake", "dvc", "pydantic", "yaml", "workflow", "front"}


def section(title: str) -> str:
    """The text below a heading, up to the next one."""
    return re.search(rf"^## {title}$(.*?)(?=^## |\Z)", PAGE, flags=re.MULTILINE | re.DOTALL)[1]


def table(title: str) -> dict[str, list[str]]:
    """First cell of each row, in backticks -> the other cells."""
    rows = [line.strip("| ").split("|") for line in section(title).splitlines() if line.startswith("| `")]
    return {row[0].strip(" `"): [cell.strip() for cell in row[1:]] for row in rows}


def words(cell: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", cell))


def packages(folder: str) -> set[str]:
    """Folders that hold Python, with their path from the root."""
    found = (file.parent for file in (ROOT / folder).glob("*/*.py"))
    return {path.relative_to(ROOT).as_posix() for path in found}


def imports(folder: str) -> dict[Path, set[str]]:
    """File below a folder -> names of the modules that it imports, wherever in it."""
    found = {}
    for file in sorted((ROOT / folder).rglob("*.py")):
        nodes = list(ast.walk(ast.parse(file.read_bytes())))
        plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        found[file.relative_to(ROOT)] = plain | {
            name
            for node in nodes
            if isinstance(node, ast.ImportFrom) and node.module
            for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
        }
    return found


def test_stages_and_libraries_are_those_that_exist():
    assert set(table("Stages")) == packages("stages") - {"stages/lib"}
    assert set(table("Libraries")) == packages("stages/lib")


def test_rule_files_are_those_that_exist():
    named = words(section("Stages"))
    files = {file.name for file in (ROOT / "workflow/rules").glob("*.smk")}
    assert {word for word in named if word.endswith(".smk") and "/" not in word} == files


def test_environments_are_those_that_have_a_lock():
    assert set(table("Environments")) == {file.stem for file in (ROOT / "envs").glob("*.lock")}


def test_commands_are_those_of_the_front_door():
    done = subprocess.run(
        [sys.executable, ROOT / "repro", "--help"], capture_output=True, text=True, check=True
    )
    assert set(table("The front door")) == set(re.findall(r"^    (\w+) ", done.stdout, flags=re.MULTILINE))


def test_other_paths_exist():
    made = {"scratch/", ".snakemake/", ".snakemake/repro.lock", "provenance/"}
    made |= {"data/raw", "data/prepared", "data/preflight.json"}
    paths = {word for word in words(PAGE) if re.fullmatch(r"[\w.]+/[\w./]*", word)} - made
    missing = [path for path in paths if not re.search("NAME|SCALE", path) and not (ROOT / path).exists()]
    assert not missing


@pytest.mark.parametrize("stage", sorted(packages("stages") - {"stages/lib"}))
def test_a_stage_imports_itself_and_the_libraries(stage):
    own = stage.replace("/", ".")
    for file, names in imports(stage).items():
        others = {name for name in names if name.startswith("stages.")}
        strange = {n for n in others if not f"{n}.".startswith((f"{own}.", "stages.lib."))}
        assert not strange, f"{file} imports another stage"
        assert not {name.partition(".")[0] for name in names} & NOT_IN_STAGES, file
        blender = {name.partition(".")[0] for name in names} & {"bpy", "mathutils"}
        assert not blender or Path("stages/hands/render") in file.parents, f"{file} imports Blender"


@pytest.mark.parametrize("library", sorted(packages("stages/lib")))
def test_a_library_imports_no_more_than_the_page_says(library):
    allowed = words(table("Libraries")[library][-1]) | {Path(library).name}
    for file, names in imports(library).items():
        used = {name.split(".")[2] for name in names if name.startswith("stages.lib.")}
        assert used <= allowed, f"{file} imports {sorted(used - allowed)}"
        assert not any(name.startswith("stages.") and name.split(".")[1] != "lib" for name in names), file
        assert not {name.partition(".")[0] for name in names} & NOT_IN_STAGES, file


def test_the_front_door_needs_nothing_that_is_installed():
    for file, names in imports("front").items():
        assert {name.partition(".")[0] for name in names} <= {*sys.stdlib_module_names, "front"}, file
