"""The compiled kernels: built once with the system's compiler, kept beside the environment, loaded by ctypes.

python -m stages.lib.sparse.native builds them; where there is no compiler, numba's kernels serve (kernels.py).
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).with_name("kernels.cpp")
FLAGS = ("-O3", "-march=native", "-std=c++17", "-fopenmp", "-shared", "-fPIC")
COMPILERS = ("g++", "clang++", "c++")


@cache
def library() -> ctypes.CDLL | None:
    """The kernels, built where they are not there yet; None without a compiler."""
    path = library_path()
    if not path.is_file() and not build(path):
        return None
    try:
        found = ctypes.CDLL(str(path))
    except OSError:
        return None
    pointer, integer = ctypes.c_void_p, ctypes.c_int
    found.hybrid_matmul.argtypes = [*[pointer] * 8, *[integer] * 8, pointer]
    found.hybrid_matvec.argtypes = [pointer, integer, *[pointer] * 6, *[integer] * 7]
    found.hybrid_matmul.restype = found.hybrid_matvec.restype = None
    return found


def library_path() -> Path:
    """One file for each text, set of flags and processor."""
    text = SOURCE.read_bytes() + "\0".join((*FLAGS, processor())).encode()
    folder = Path(sys.prefix) / "kernels"
    return folder / f"hybrid-{hashlib.sha256(text).hexdigest()[:16]}.so"


def build(path: Path) -> bool:
    """Compile to a temporary name, then rename; False where that cannot be done here."""
    compiler = next((found for name in COMPILERS if (found := shutil.which(name))), None)
    if compiler is None:
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".so")
        os.close(handle)
    except OSError:
        return False
    try:
        done = subprocess.run(
            [compiler, *FLAGS, str(SOURCE), "-o", temporary], capture_output=True, text=True, check=False
        )
        if done.returncode:
            print(
                f"warning: {compiler} cannot build {SOURCE.name}; numba serves\n{done.stderr}",
                file=sys.stderr,
            )
            return False
        os.replace(temporary, path)
        return True
    finally:
        Path(temporary).unlink(missing_ok=True)


def processor() -> str:
    """What -march=native depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return "".join(sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))}))


if __name__ == "__main__":
    print("built" if library() is not None else "no compiler here: numba serves")
