"""How a run is stopped, and what the next one puts right: jobs that outlived theirs, and times ahead of the clock."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

# in the environment of all that a run starts, the folder that it works in: so its processes are found again
MARK = "SEVENFOLD_RUN"
END_S = 10  # in which killed processes are gone, if they do not hang in the system


def processes_of_runs(root):
    """Process number -> words of the command line, of all that runs in the folder `root` have started."""
    mark = f"{MARK}={root}".encode()
    return {
        number: words
        for number, words, folder in _processes()
        if number != os.getpid() and mark in _read(folder / "environ").split(b"\0")
    }


def snakemake_in(root):
    """The number of a Snakemake that works in the folder `root`, or None."""
    for number, words, folder in _processes():
        if any(Path(word).name == "snakemake" for word in words[:4]) and _folder_of(folder) == str(root):
            return number
    return None


def holder_of(lock):
    """The number of a process that has a lock's file open and is no ./repro: what one that was killed has left."""
    for number, words, folder in _processes():
        with contextlib.suppress(OSError):  # ended meanwhile, or somebody else's
            files = [os.readlink(file) for file in (folder / "fd").iterdir()]
            if str(lock) in files and not any(Path(word).name == "repro" for word in words[:2]):
                return number
    return None


def stop_like_ctrl_c():
    """What stops services, jobs of a continuous integration, or a terminal that is closed, is as good as Ctrl-C."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup's choice stands
            signal.signal(number, signal.default_int_handler)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # a script's `./repro run &` is deaf to Ctrl-C, but Snakemake and its jobs, which inherit that, are stopped by it;
        # a handler is not inherited
        signal.signal(signal.SIGINT, lambda *_: None)


def is_alive(number):
    """Whether a process is at work: one that has ended and that nobody has asked about has no command line."""
    return bool(_read(Path("/proc", str(number), "cmdline")))


def supervise(command, root, **options):
    """Run Snakemake; returns the exit code when it and all its jobs have ended: 128 and the signal where it was killed,
    as a shell tells it.

    Raises KeyboardInterrupt when it was stopped. A second Ctrl-C kills what is left, and so does the end of a Snakemake
    that was killed and left its jobs behind.
    """
    environ = dict(options.pop("env"), **{MARK: str(root)})
    # in a session of its own: Ctrl-C in a terminal reaches ./repro alone, which stops the others in order
    with subprocess.Popen(command, cwd=root, env=environ, start_new_session=True, **options) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            print("stopping the jobs at work; once more to kill them", file=sys.stderr, flush=True)
            _stop(process, root)
            raise
        finally:
            kill_processes_of_runs(root)
    return code if code >= 0 else 128 - code


def _stop(process, root):
    """Tell Snakemake and then its jobs to stop, and wait until they have."""
    # until it has locked its files it has no jobs, and would answer Ctrl-C with a traceback
    has_begun = any((root / ".snakemake" / "locks").glob("*"))
    process.send_signal(signal.SIGINT if has_begun else signal.SIGTERM)
    told = {process.pid}
    while process.poll() is None:
        for number in processes_of_runs(root).keys() - told:
            _signal(number, signal.SIGINT)
            told.add(number)
        time.sleep(0.1)


def kill_processes_of_runs(root):
    """Kill what runs in the folder `root` have left; returns how many processes there were.

    A job whose Snakemake is gone works for nothing: nobody notes down what it makes, so it is made again.
    """
    first = left = processes_of_runs(root)
    deadline = time.monotonic() + END_S
    while left and time.monotonic() < deadline:
        for number in left:
            _signal(number, signal.SIGKILL)
        time.sleep(0.05)
        left = processes_of_runs(root)
    return len(first)


def settle_times(folders):
    """Give files that are newer than now the time of now; returns how many there were.

    They come from a clock that was ahead. What is made from now on would be older than they are, so that a changed
    input would not look changed to what was made of it. Files of one time are in no order, which Snakemake takes as it
    is: it asks for content only where an input is newer.
    """
    now_ns = time.time_ns()
    ahead = 0
    for file in (file for folder in folders for file in folder.rglob("*")):
        with contextlib.suppress(FileNotFoundError):
            # a link, not what it leads to: that is not ours
            if file.lstat().st_mtime_ns > now_ns:
                os.utime(file, ns=(now_ns, now_ns), follow_symlinks=False)
                ahead += 1
    return ahead


def _processes():
    """Number, words of the command line and /proc folder of each process."""
    for folder in Path("/proc").glob("[0-9]*"):
        words = _read(folder / "cmdline").decode(errors="replace").split("\0")
        yield int(folder.name), words, folder


def _read(file):
    try:
        return file.read_bytes()
    except OSError:  # ended meanwhile, or somebody else's
        return b""


def _folder_of(process):
    try:
        return os.readlink(process / "cwd")
    except OSError:
        return ""


def _signal(number, which):
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(number, which)
