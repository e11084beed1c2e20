"""Results of the smoke scale shared, brought into a clone, and judged there by Snakemake."""

import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.checkout import Checkout, clone_of
from workflow.sharing import provenance, pull
from workflow.sharing.units import unit_of

TARGETS = (
    "all", "datasets", "teachers", "minifloats", "egogestvid", "crisp", "halo", "hardware", "pre_dfkd",
    "condensed_expansion", "daop", "chain",
)  # fmt: skip
FLIPS, WHOLE_PULLS = 1000, 5


def made_files(checkout: Checkout) -> set[str]:
    found = (f for part in ("data", "results") for f in (checkout.root / part).rglob("*") if f.is_file())
    names = {f.relative_to(checkout.root).as_posix() for f in found}
    return {n for n in names if not n.endswith(".dvc") and not n.startswith("results/recorded/")}


def test_a_clone_has_nothing_to_do_for_any_target(pulled):
    assert not pulled.planned("--", *TARGETS)


def test_a_target_gets_only_its_files(finished, tmp_path):
    clone = clone_of(finished, tmp_path / "clone")
    tracked = made_files(clone)
    done = clone.front("pull", "--scale", "smoke", "crisp")
    assert done.returncode == 0, done.stderr
    assert "0 jobs: everything is up to date" in done.stdout
    forced = finished.snakemake("--dry-run", "--forceall", "--quiet", "progress", "--", "crisp").stdout
    outputs = {
        o for line in re.findall(r"^    output: (.*)$", forced, flags=re.MULTILINE) for o in line.split(", ")
    }
    got = made_files(clone) - tracked
    assert got == {path for path in outputs if not path.startswith("data/raw/")} - tracked
    # no object came that is not one of these files, or the list of a folder that one lies in
    files = provenance.read(clone.root)
    wanted = {files[path].md5 for path in got} | {
        re.search(r"md5: (\S+)", (clone.root / f"{unit_of(path)}.dvc").read_text())[1] for path in got
    }
    objects = (clone.root / ".dvc/cache/files/md5").glob("*/*")
    assert {f"{o.parent.name}{o.name}" for o in objects} == wanted


def test_any_flipped_bit_of_any_file_is_seen(finished, tmp_path):
    files = [f for f in provenance.read(finished.root).values() if f.is_shared and f.bytes]
    rng = random.Random(11)
    copy = tmp_path / "copy"
    for _ in range(FLIPS):
        file = rng.choice(files)
        shutil.copyfile(finished.root / file.path, copy)
        place, bit = rng.randrange(file.bytes), rng.randrange(8)
        with open(copy, "r+b") as changed:
            changed.seek(place)
            byte = changed.read(1)[0]
            changed.seek(place)
            changed.write(bytes([byte ^ 1 << bit]))
        assert not pull.is_intact(copy, file), f"bit {bit} of byte {place} of {file.path}"


def test_a_store_with_a_flipped_bit_is_refused_whole(finished, tmp_path):
    files = [f for f in provenance.read(finished.root).values() if f.md5 and f.bytes]
    store = Path(re.search(r"url = (.*)", (finished.root / ".dvc/config.local").read_text())[1])
    rng = random.Random(12)
    for number in range(WHOLE_PULLS):
        file = rng.choice(files)
        place = store / "files/md5" / file.md5[:2] / file.md5[2:]
        whole = place.read_bytes()
        at = rng.randrange(len(whole))
        place.chmod(0o644)
        place.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1 :])
        place.chmod(0o444)
        clone = clone_of(finished, tmp_path / str(number))
        before = made_files(clone)
        done = clone.front("pull", "--scale", "smoke")
        place.chmod(0o644)
        place.write_bytes(whole)
        place.chmod(0o444)
        assert done.returncode == 2
        assert re.search(r"error: \S+ in the store .* is not what was shared", done.stderr)
        assert "Traceback" not in done.stderr
        assert made_files(clone) == before


@pytest.mark.parametrize(
    ("name", "old", "new", "sentence"),
    [
        ("stages/pruning/masks.py", '"""\n\n', '"""\n\n# x\n', "stages/pruning/masks.py differs from the last commit"),
        ("config/smoke.yaml", "memory_updates: 1", "memory_updates: 2", r"not shared: \d+ outputs are missing or stale"),
    ],
)  # fmt: skip
def test_share_refuses_what_no_revision_would_name(pulled, edit, name, old, new, sentence):
    edit(name, old, new)
    done = pulled.front("share", "--scale", "smoke")
    assert done.returncode == 2
    assert re.search(f"error: {sentence}", done.stderr)
    assert "Traceback" not in done.stderr


def test_pull_refuses_what_it_would_overwrite(pulled, edit):
    table = "results/smoke/crisp/tables/storage.csv"
    edit(table, ",", ", ")
    before = (pulled.root / table).read_bytes()
    done = pulled.front("pull", "--scale", "smoke")
    assert done.returncode == 2
    assert f"error: {table} was made or edited here and is shared nowhere" in done.stderr
    assert (pulled.root / table).read_bytes() == before


def test_pull_names_what_is_neither_a_revision_nor_a_target(pulled):
    done = pulled.front("pull", "--scale", "smoke", "crips")
    assert done.returncode == 2
    assert "there is no target 'crips'; did you mean crisp?" in done.stderr
    done = pulled.front("pull", "--scale", "laptop")
    assert done.returncode == 2
    assert "nothing of the scale laptop is shared in this revision" in done.stderr


def test_diff_names_what_changed(pulled, edit):
    same = pulled.front("diff", "HEAD", "--scale", "smoke")
    assert (same.returncode, same.stdout) == (0, "the results are those of HEAD\n"), same.stderr
    edit("config/smoke.yaml", "memory_updates: 1", "memory_updates: 2")
    edit("results/smoke/metrics.json", '"measured": 0.0', '"measured": 0.25')
    edit("results/smoke/models/lenet5-bn-digits-s0/curve.csv", "\n1,", "\n101,")
    said = pulled.front("diff", "HEAD", "--scale", "smoke").stdout
    assert re.search(r"replay\.studies\.digits\S*memory_updates: 1 -> 2", said)
    assert re.search(r"\w+: 0 -> 0\.25", said)
    assert re.search(r"lenet5-bn-digits-s0/curve.csv: mean epoch 3\.5 -> 20\.167", said)


def test_dvc_sees_what_is_shared_and_compares_it(pulled, edit):
    def dvc(*arguments: str) -> str:
        command = [pulled.root / ".venv/main/bin/dvc", *arguments]
        done = subprocess.run(command, cwd=pulled.root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    shared = {path for path, file in provenance.read(pulled.root).items() if file.md5}
    assert set(dvc("list", ".", "--recursive", "--dvc-only").splitlines()) == shared
    assert dvc("diff", "HEAD") == dvc("metrics", "diff", "HEAD") == dvc("params", "diff", "HEAD") == ""
    edit("results/smoke/crisp/tables/storage.csv", ",", ", ")
    assert re.search(
        r"^Modified:\n.*^ +results/smoke/crisp/tables/storage.csv$", dvc("diff", "HEAD"), flags=re.M | re.S
    )
