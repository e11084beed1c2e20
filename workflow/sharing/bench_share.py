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

from stages.lib.core.errors import run
from stages.lib.core.progress import Progress
from workflow.lib.settings import ROOT
from workflow.sharing import provenance, pull, repository
from workflow.sharing.outputs import outputs_of
from workflow.sharing.provenance import OF_JOB, Records, SharedFile
from workflow.sharing.share import share


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        root, store, clone = (Path(folder) / name for name in ("project", "store", "clone"))
        paths = make_project(root, args.files, args.mib * 2**20 // args.files)
        peer_s = timed(lambda: copy_and_digest(root, paths, Path(folder) / "copy"))
        judge_s = timed(lambda: outputs_of("smoke", []))
        first_s = judge_s + timed(lambda: share(root, paths, scale="smoke", url=str(store)))
        second_s = judge_s + timed(lambda: share(root, paths, scale="smoke", url=str(store)))
        repository.git(root, "clone", "--quiet", str(root), str(clone))
        shared = provenance.read(clone)
        one = pull.pull(clone, {paths[0]: shared[paths[0]]}, url=str(store))
        pull_s = timed(lambda: pull.pull(clone, shared))
    print(f"{args.files} files, {args.mib} MiB")
    print(f"cp and sha256sum: {peer_s:.1f} s")
    print(f"share: {first_s:.1f} s, {first_s / peer_s:.2f} times that ({judge_s:.1f} s are Snakemake's)")
    print(f"share again: {second_s:.1f} s")
    print(f"pull: {pull_s:.1f} s; of one file: {one.fetched} fetched")


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


def timed(work: Callable[[], object]) -> float:
    start_s = time.monotonic()
    work()
    return time.monotonic() - start_s


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench_share", description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--mib", type=int, default=2048, help="size of all files together")
    parser.add_argument("--folder", type=Path, help="where to work; needs four times the size")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
