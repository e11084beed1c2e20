"""A full disk, a read-only one, and a clock that is set back: one sentence, nothing spoilt, the rerun goes on."""

import json
import os
import re
import subprocess

import pytest

from tests.faults.conftest import MADE, MODEL, TRAINING, digests_of, leftovers

# a name space of its own, in which what is mounted is gone with the last process; without root, if the system allows it
NAMESPACE = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
REASON = "mounting is not allowed here (root, or user name spaces, are needed)"


def mounted(script, *arguments):
    return subprocess.run(
        [*NAMESPACE, "sh", "-euc", script, "sh", *map(str, arguments)],
        capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def _can_mount(tmp_path_factory):
    if mounted('mount -t tmpfs -o size=64k none "$1"', tmp_path_factory.mktemp("probe")).returncode:
        pytest.skip(REASON)


# of a copy $2 of the checkout: runs on a disk $1 without room, and with $3 kB; what they leave; a run with room
FULL = """
mount -t tmpfs none "$1"
cp -a "$2/." "$1"
used=$(du -sk "$1" | cut -f1)
run() { code=0; "$1/repro" run --scale smoke -j 2 "$2" 2>&1 || code=$?; echo "exit code $code"; }
for room in 0 "$3"; do
    mount -o remount,size=$((used + room))k "$1"
    run "$1" "$4"
    echo @@@
done
find "$1/results/smoke" -name '.*' -o -size 0 -not -name '*.log' -not -type d
echo @@@
mount -o remount,size=1g "$1"
run "$1" "$4"
mkdir "$5"
cp -a "$1/data" "$1/results" "$1/scratch" "$1/.snakemake" "$5"
"""
ROOM_KB = 300  # less than a checkpoint


@pytest.mark.usefixtures("_can_mount")
def test_a_full_disk_is_named_and_the_rerun_goes_on(subject, tmp_path):
    subject.forget_training()
    disk, after = tmp_path / "disk", tmp_path / "after"
    disk.mkdir()
    done = mounted(FULL, disk, subject.checkout.root, ROOM_KB, TRAINING, after)
    assert done.returncode == 0, done.stdout + done.stderr
    without, little, spoilt, enough = done.stdout.split("@@@\n")
    told = f"error: the disk that holds {disk}/data/preflight.json is full; free some space"
    assert told in without
    assert without.endswith("exit code 2\n"), without
    # the job's log says which file it was, and the last sentence that there may be no room for logs
    told = (
        rf"train_teacher\S+ ends with:.*error: the disk that holds scratch/\S+ is full.*holds {disk} is full"
    )
    assert re.search(told, little, re.DOTALL), little
    assert little.endswith("exit code 1\n"), little
    assert "Traceback" not in without + little
    assert spoilt == ""
    assert enough.endswith("exit code 0\n"), enough
    assert digests_of(after) == subject.digests
    assert leftovers(after) == []


@pytest.mark.usefixtures("_can_mount")
def test_a_read_only_folder_is_named_before_anything_runs(subject):
    subject.forget_training()
    before = digests_of(subject.checkout.root)
    for folder in ("results", "data", "."):
        read_only = subject.checkout.root / folder
        script = 'mount --bind -o ro "$1" "$1"; cd "$1"; shift; exec "$@"'
        done = mounted(script, read_only, *subject.checkout.command(TRAINING))
        assert done.returncode == 2, done.stdout + done.stderr
        assert done.stderr.startswith(f"error: {read_only} may not be written"), done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
    assert digests_of(subject.checkout.root) == before


def set_clock_back(root, seconds):
    """What a clock that is set back comes to: all that was made and noted down lies so many seconds ahead of it."""
    for name in MADE:
        for file in (root / name).rglob("*"):
            if file.parent.name == "metadata" and file.is_file():
                record = json.loads(file.read_text())
                record |= {key: record[key] + seconds for key in ("starttime", "endtime") if record.get(key)}
                file.write_text(json.dumps(record))
            at = file.lstat().st_mtime + seconds
            os.utime(file, (at, at), follow_symlinks=False)


def test_a_clock_that_is_set_back_reruns_what_changed_and_nothing_else(subject):
    checkout = subject.checkout
    set_clock_back(checkout.root, 86_400)
    subject.assert_recovered()  # nothing is redone
    # a change, and an end between the job that sees it and the one that rests on its result
    checkout.replace("config/smoke.yaml", "epochs: 6", "epochs: 7")
    try:
        assert checkout.repro(f"results/smoke/models/{MODEL}/curve.csv").returncode == 0
        assert checkout.repro(TRAINING).returncode == 0
    finally:
        checkout.replace("config/smoke.yaml", "epochs: 7", "epochs: 6")
    drawn = (checkout.root / TRAINING).with_suffix(".csv").read_text().splitlines()
    assert len(drawn) == 1 + 7  # a row an epoch
