"""How long sharing takes, beside `cp` and `sha256sum` of the same files in the same run.

python -m workflow.sharing.bench_share [--files 2000] [--mib 2048] [--folder FOLDER]

Ours is all that ./repro share does: Snakemake's judgement of the smoke scale, digests, DVC's copy, the push to a folder
on the same disk, the commit. The peer copies the files and digests them, once each. A second share finds nothing new.
"""

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.lib.core.errors import run
from stages.lib.core.progress import Progress
from workflow.lib.settings import ROOT
from workflow.sharing import provenance, pull, repository
from workflow.sharing.outputs import outputs_of
from workflow.sharing.provenance import OF_JOB, Records, SharedFile
from workflow.sharing.share import share

Array = NDArray[Any]


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        root, store, clone = (Path(folder) / name for name in ("project", "store", "clone"))
        paths = make_project(root, args.files, args.mib * 2**20 // args.files)
        peer = timed(lambda: copy_and_digest(root, paths, Path(folder) / "copy"))
        judge = timed(lambda: outputs_of("smoke", []))
        first = judge + timed(lambda: share(root, paths, scale="smoke", url=str(store)))
        second = judge + timed(lambda: share(root, paths, scale="smoke", url=str(store)))
        repository.git(root, "clone", "--quiet", str(root), str(clone))
        shared = provenance.read(clone)
        one = pull.pull(clone, {paths[0]: shared[paths[0]]}, url=str(store))
        whole = timed(lambda: pull.pull(clone, shared))
    print(f"{args.files} files, {args.mib} MiB; seconds on the clock (of CPU)")
    print(f"cp and sha256sum: {told(peer)}")
    print(f"share: {told(first)}, {first[0] / peer[0]:.2f} times that; {told(judge)} are Snakemake's")
    print(f"share again: {told(second)}")
    print(f"pull: {told(whole)}; of one file: {one.fetched} fetched")


def told(seconds: Array) -> str:
    return f"{seconds[0]:.1f} s ({seconds[1]:.1f})"


def make_project(root: Path, count: int, size: int) -> list[str]:
    """A repository with so many outputs of random bytes, and a record of a job for each."""
    root.mkdir()
    repository.git(root, "init", "--quiet")
    for name in (".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitignore"):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    repository.git(root, "add", "--all")
    repository.git(root, "commit", "--quiet", "-m", "start")
    paths = [f"results/smoke/egogestvid/tables/trajectories/{n}.csv" for n in range(count)]
    (root / paths[0]).parent.mkdir(parents=True)
    records, progress = Records(root), Progress(count, "files made")
    job = dict.fromkeys(OF_JOB) | {"rule": "make", "input": [], "params": [], "code": "make {output}"}
    for path in paths:
        (root / path).write_bytes(os.urandom(size))
        made_s = (root / path).stat().st_mtime
        records.write(
            SharedFile(
                path=path, sha256="", md5="", bytes=size, starttime=made_s, endtime=made_s, job=job | {"log": [path]}
            )
        )  # fmt: skip
        progress.advance()
    return paths


def copy_and_digest(root: Path, paths: list[str], to: Path) -> None:
    folder = (root / paths[0]).parent
    subprocess.run(["cp", "-r", folder, to], check=True)
    subprocess.run(["sha256sum", *sorted(folder.iterdir())], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(to)


def timed(work: Callable[[], object]) -> Array:
    """Seconds of wall time, and of CPU time of this process and those that it started."""
    start = clocks()
    work()
    return clocks() - start


def clocks() -> Array:
    used = os.times()
    return np.array([time.monotonic(), used.user + used.system + used.children_user + used.children_system])


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench_share", description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--mib", type=int, default=2048, help="size of all files together")
    parser.add_argument("--folder", type=Path, help="where to work; needs four times the size")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
