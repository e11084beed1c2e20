"""How long sharing takes, beside `cp` and `sha256sum` of the same files in the same run.

python -m workflow.sharing.bench_share [--files 2000] [--mib 2048] [--runs 1] [--folder FOLDER] [--bench share.json]

Ours is all that ./repro share does: Snakemake's judgement of the smoke scale, digests, DVC's copy, the push to a folder
on the same disk, the commit. The peer copies the files and digests them, once each. A second share finds nothing new.
Pulling fetches, verifies and puts into place what the peer copies and digests.
"""

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.lib.core.bench import Comparison, write_bench
from stages.lib.core.errors import run
from stages.lib.core.measurements import device_record
from stages.lib.core.progress import Progress
from workflow.lib.settings import ROOT
from workflow.sharing import provenance, pull, repository
from workflow.sharing.outputs import outputs_of
from workflow.sharing.provenance import OF_JOB, Records, SharedFile
from workflow.sharing.share import share

Array = NDArray[Any]


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    runs = []
    for _ in range(args.runs):
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            runs.append(times_of(Path(folder).resolve(), args.files, args.mib * 2**20))
    print(f"{args.files} files, {args.mib} MiB; seconds on the clock (of CPU), median of {args.runs} runs")
    for name in runs[0]:
        wall_s, cpu_s = (median(float(times[name][i]) for times in runs) for i in (0, 1))
        print(f"{name}: {wall_s:.1f} s ({cpu_s:.1f})")
    if args.bench:
        size = f"{args.files}-files-{args.mib}-mib"
        write_bench(
            args.bench, [comparison(f"{ours}-{size}", ours, runs, args.mib) for ours in ("share", "pull")]
        )


def times_of(folder: Path, files: int, size: int) -> dict[str, Array]:
    """What was done -> its seconds, see `timed`."""
    root, store, clone = (folder / name for name in ("project", "store", "clone"))
    paths = make_project(root, files, size // files)
    times = {PEER: timed(lambda: copy_and_digest(root, paths, folder / "copy"))}
    judge = timed(lambda: outputs_of("smoke", []))
    times["share"] = judge + timed(lambda: share(root, paths, scale="smoke", url=str(store)))
    times["of it Snakemake's judgement"] = judge
    times["share again"] = judge + timed(lambda: share(root, paths, scale="smoke", url=str(store)))
    repository.git(root, "clone", "--quiet", str(root), str(clone))
    shared = provenance.read(clone)
    times["pull of one file"] = timed(lambda: pull.pull(clone, {paths[0]: shared[paths[0]]}, url=str(store)))
    times["pull"] = timed(lambda: pull.pull(clone, shared))
    return times


PEER = "cp and sha256sum"  # of coreutils


def comparison(name: str, ours: str, runs: Sequence[dict[str, Array]], mib: int) -> Comparison:
    """One line of a bench file, by the clock on the wall: a disk's time is no CPU time."""
    pairs = [(float(times[ours][0]), float(times[PEER][0])) for times in runs]
    ratios = [peer_s / ours_s for ours_s, peer_s in pairs]
    said = subprocess.run(["cp", "--version"], capture_output=True, text=True, check=False).stdout
    return Comparison(
        id=name,
        ours=mib / median(ours_s for ours_s, _ in pairs),
        peer=mib / median(peer_s for _, peer_s in pairs),
        peer_name=PEER,
        peer_version=said.partition("\n")[0].rpartition(" ")[2],
        ratio=median(ratios),
        ratio_runs=ratios,
        unit="MiB/s, on the wall",
        runs=len(runs),
        device=device_record(threads=1),
    )


def make_project(root: Path, count: int, size: int) -> list[str]:
    """A repository with so many outputs of random bytes, and a record of a job for each."""
    root.mkdir()
    repository.git(root, "init", "--quiet")
    for key in ("user.name", "user.email"):  # of a machine that has none
        repository.git(root, "config", key, "bench")
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
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where to work; needs four times the size")
    parser.add_argument("--bench", type=Path, help="JSON to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
