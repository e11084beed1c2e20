"""Fingerprints of code and environments: params of every rule, so that a change of either reruns its jobs.

The code of a verb is the syntax trees, without docstrings, of every module that its imports reach within
`stages`. Comments, formatting, file times and modules that it does not import do not count.

To read all modules takes seconds, and every start of Snakemake needs it: what was found is kept by the bytes of the file.
"""

import ast
import atexit
import hashlib
import json
import platform
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from stages.lib.core.artifacts import write_json

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / ".snakemake" / "fingerprints.json"


def code_of(verb: str, *modules: str, files: Sequence[str] = (), root: Path = ROOT) -> str:
    """Fingerprint of `stages.VERB` and of whatever it imports.

    modules  further modules below `stages` that are imported by name at run time: "lib.nets.resnet"
    files    further files below `stages` that it reads: "claims/report.html.j2"
    """
    closure = sorted(set().union(*(_closure(f"stages.{name}", root) for name in (verb, *modules))))
    digest = hashlib.sha256()
    for module in closure:
        digest.update(f"{module}:{_read(_file_of(module, root))[0]}\n".encode())
    for name in files:
        digest.update(root.joinpath("stages", name).read_bytes())
    return digest.hexdigest()[:16]


def env_of(environment: str, root: Path = ROOT) -> str:
    """Fingerprint of an environment: its locked packages and the pinned torch."""
    lock = root / "envs" / f"{environment}.lock"
    return hashlib.sha256(lock.read_bytes() + (root / "envs" / "torch.txt").read_bytes()).hexdigest()[:16]


def versions_of(environment: str, root: Path = ROOT) -> dict[str, str]:
    """Package -> locked version, of the direct dependencies of an environment; of `main` torch, too."""
    wanted = root.joinpath("envs", f"{environment}.in").read_text()
    direct = {_package(name) for name in re.findall(r"^[A-Za-z0-9._-]+", wanted, flags=re.MULTILINE)}
    locks = ["torch.txt"] if environment == "main" else []
    text = "".join(root.joinpath("envs", name).read_text() for name in (f"{environment}.lock", *locks))
    locked = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])? *==([^\s;]+)", text, flags=re.MULTILINE)
    return {name: version for name, version in locked if _package(name) in direct | {"torch"}}


def _package(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()  # as PEP 503 compares names


def _closure(module: str, root: Path) -> frozenset[str]:
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in found and _file_of(name, root).is_file():
            found.add(name)
            waiting += [*_parents(name), *_imports(_file_of(name, root), root)]
    if module not in found:
        raise ValueError(f"there is no module {module} to take the fingerprint of")
    return frozenset(found)


def _parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


def _file_of(module: str, root: Path) -> Path:
    path = root.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _imports(file: Path, root: Path) -> list[str]:
    """Modules of `stages` that a file imports."""
    return [n for n in _read(file)[1] if n.split(".")[0] == "stages" and _file_of(n, root).is_file()]


@cache
def _read(file: Path) -> tuple[str, list[str]]:
    """Digest of a file's syntax tree, and all names that it imports."""
    content = file.read_bytes()
    # trees are not the same in every Python
    key = f"{platform.python_version()} {hashlib.sha256(content).hexdigest()}"
    if key not in _kept():
        tree = ast.parse(content)
        names = _imported(tree)
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list) and body and _is_text(body[0]):
                node.body = body[1:]  # type: ignore[attr-defined]
        _kept()[key] = [hashlib.sha256(ast.dump(tree).encode()).hexdigest(), names]
    digest, names = _kept()[key]
    return digest, names


@cache
def _kept() -> dict[str, list]:
    """What was found before, written again at the end where more was found."""
    try:
        kept = json.loads(KEPT.read_bytes())
    except (OSError, ValueError):
        kept = {}
    before = len(kept)

    def write() -> None:
        if len(kept) > before and KEPT.parent.is_dir():
            write_json(KEPT, kept)

    atexit.register(write)
    return kept


def _imported(tree: ast.AST) -> list[str]:
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            # what is imported may be a module or a name in one; a name is not a file and drops out
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
