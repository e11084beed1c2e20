"""Share and pull between real git repositories, with DVC, through folders and an S3 API; no Snakemake run is needed."""

import json
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer
from rocrate.rocrate import ROCrate
from snakemake.persistence import MetadataRecord

from stages.lib.core.errors import InputError
from workflow.lib.settings import ROOT
from workflow.sharing import crate, provenance, pull, repository, share
from workflow.sharing.provenance import RECORD_FORMAT, Records
from workflow.sharing.store import Store

COSTS = "results/smoke/hardware/mac_costs.parquet"
FIGURE = "results/smoke/teachers/figures/digits.svg"
WEIGHTS = "results/smoke/models/lenet5/weights.safetensors"
CLAIMS = "results/smoke/claims.json"
RAW = "data/raw/digits/source.json"
FRAMES = "data/rendered/smoke/few/dataset/annotations.json"
OUTPUTS = (COSTS, FIGURE, WEIGHTS, CLAIMS, RAW, FRAMES)
BESIDE = "data/rendered/smoke/few/dataset/clip-0/frame-0.png"


@dataclass(frozen=True)
class Project:
    root: Path

    def write(self, path: str, content: bytes, **record: object) -> None:
        """A file, and Snakemake's record of a job that made it."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        if path in OUTPUTS or record:
            about = {
                "rule": "make",
                "log": [f"{path}.log"],
                "input": [],
                "params": ["'1'"],
                "code": "make {output}",
            }
            job = MetadataRecord(
                **about | record, starttime=1e9, endtime=1e9 + 5, record_format_version=RECORD_FORMAT,
                incomplete=False, software_stack_hash="", input_checksums={},
            )  # fmt: skip
            Records(self.root)._store._write_record(path, job)

    def share(self, outputs: tuple[str, ...] = OUTPUTS, url: Path | str | None = None) -> share.Shared:
        return share.share(self.root, outputs, scale="smoke", url=str(url) if url else None)

    def pull(self, url: Path | str, revision: str | None = None, **options: bool) -> pull.Restored:
        known = provenance.read_at(self.root, revision) if revision else provenance.read(self.root)
        shared = pull.of_scale(known, "smoke")
        return pull.pull(self.root, shared, revision=revision, url=str(url), **options)

    def clone(self, to: Path) -> "Project":
        repository.git(self.root, "clone", "--quiet", str(self.root), str(to))
        return Project(to)

    def files(self) -> dict[str, bytes]:
        found = (f for part in ("data", "results") for f in (self.root / part).rglob("*") if f.is_file())
        return {
            f.relative_to(self.root).as_posix(): f.read_bytes()
            for f in found
            if f.suffix not in (".dvc", ".json")
        }


@pytest.fixture(autouse=True)
def git_identity(monkeypatch):
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "tests")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "tests@example.org")


@pytest.fixture
def project(tmp_path) -> Project:
    root = tmp_path / "project"
    root.mkdir()
    repository.git(root, "init", "--quiet")
    for name in (".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitignore"):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    (root / "code.py").write_text("1\n")
    repository.git(root, "add", "--all")
    repository.git(root, "commit", "--quiet", "-m", "code")
    made = Project(root)
    for number, path in enumerate(OUTPUTS):
        made.write(path, f"{path} {number}".encode(), input=[RAW] if path == WEIGHTS else [])
    made.write(BESIDE, b"a frame")
    return made


@pytest.fixture
def store(tmp_path) -> Path:
    return tmp_path / "store"


def objects(store: Path) -> list[Path]:
    return sorted(f for f in store.rglob("*") if f.is_file() and not f.parent.name.endswith(".dir"))


def test_a_clone_gets_the_same_bytes_times_and_records(project, store, tmp_path):
    project.share(url=store)
    clone = project.clone(tmp_path / "clone")
    done = clone.pull(store)
    assert done.files == len(OUTPUTS)  # RAW is not shared; the frame is
    assert clone.files() == project.files()
    assert not (clone.root / RAW).exists()
    for path in OUTPUTS:
        assert Records(clone.root).read(path) == Records(project.root).read(path), path
    assert (clone.root / FIGURE).stat().st_mtime == (clone.root / BESIDE).stat().st_mtime == 1e9 + 5
    assert repository.edited(clone.root, set()) == []
    assert clone.pull(store).placed == 0


def test_no_name_of_the_machine_is_written(project, store):
    project.share(url=store)
    text = "".join(file.read_text() for file in (project.root / "provenance").rglob("*.json"))
    assert str(project.root) not in text
    assert str(Path.home()) + "/" not in text


def test_a_parameter_that_names_a_folder_of_the_machine_is_refused(project, store):
    project.write(FIGURE, b"x", params=[f"'{project.root}/photos'"])
    with pytest.raises(InputError, match="hold a folder of this machine"):
        project.share(url=store)
    assert repository.git(project.root, "log", "--format=%s").split() == ["code"]


@pytest.mark.parametrize(
    ("path", "content", "name"),
    [
        ("data/prepared/cifar10/train/dataset.json", {"n": 1}, "images.npy"),  # by the registry
        (
            "results/smoke/condensed_expansion/condensed/a/dm/10/0/dataset.json",
            {"redistribute": False},
            "images.npy",
        ),
        ("results/smoke/halo/exports/opt/halo.json", {"model": "opt-1.3b"}, "weights.safetensors"),
        ("results/smoke/models/mixtral/model.json", {"recipe": {"converted": "M"}}, "weights.safetensors"),
    ],
)
def test_what_may_not_be_passed_on_never_leaves(project, store, tmp_path, path, content, name):
    picture = str(Path(path).with_name(name))
    project.write(path, json.dumps(content).encode(), params=[])
    project.write(picture, b"a picture that is not ours", params=[])
    project.write(WEIGHTS, b"trained on it", input=[picture])
    done = project.share((*OUTPUTS, path, picture), url=store)
    assert len(done.closed) == 1
    assert all(b"not ours" not in file.read_bytes() for file in objects(store))
    assert all(
        b"not ours" not in f.read_bytes() for f in (project.root / ".dvc/cache").rglob("*") if f.is_file()
    )
    clone = project.clone(tmp_path / "clone")
    clone.pull(store)
    assert not (clone.root / picture).exists()
    # without its record Snakemake would not see that a change of its parameters makes it, and what follows, stale
    assert Records(clone.root).read(picture).params == []


def test_a_changed_source_file_is_refused(project, store):
    (project.root / "code.py").write_text("2\n")
    with pytest.raises(InputError, match=r"code\.py differs from the last commit"):
        project.share(url=store)
    assert not store.exists()


def test_an_output_without_a_record_is_refused(project, store):
    lost = "results/smoke/crisp/tables/storage.csv"
    (project.root / lost).parent.mkdir(parents=True)
    (project.root / lost).write_text("by hand")
    with pytest.raises(InputError, match=r"no record of how .*storage.csv was made"):
        project.share((*OUTPUTS, lost), url=store)


@pytest.mark.parametrize("place", ["store", "cache"])
def test_a_flipped_byte_is_refused_and_nothing_is_changed(project, store, tmp_path, place):
    project.share(url=store)
    clone = project.clone(tmp_path / "clone")
    md5 = provenance.read(project.root)[WEIGHTS].md5
    (damaged,) = store.rglob(f"{md5[:2]}/{md5[2:]}")
    before = damaged.read_bytes()
    if place == "cache":
        clone.pull(store)
        (clone.root / WEIGHTS).unlink()
        damaged = clone.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    damaged.chmod(0o644)
    damaged.write_bytes(bytes([before[0] ^ 1]) + before[1:])
    damaged.chmod(0o444)  # as DVC leaves them; what is writable it would check itself
    here = clone.files()
    with pytest.raises(InputError, match=r"weights.safetensors .* is not what was shared"):
        clone.pull(store)
    assert clone.files() == here
    if place == "cache":  # the damaged copy is dropped, and the store's taken
        assert clone.pull(store).placed == 1
        assert clone.files() == project.files()


def test_every_flipped_bit_is_seen(project, store, tmp_path):
    project.share(url=store)
    file = provenance.read(project.root)[WEIGHTS]
    whole = (project.root / WEIGHTS).read_bytes()
    copy = tmp_path / "copy"
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        copy.write_bytes(flipped)
        assert not pull.is_intact(copy, file)
    copy.write_bytes(whole)
    assert pull.is_intact(copy, file)


def test_a_missing_object_is_named_and_a_second_share_mends_it(project, store, tmp_path):
    project.share(url=store)
    md5 = provenance.read(project.root)[FIGURE].md5
    (gone,) = store.rglob(f"{md5[:2]}/{md5[2:]}")
    gone.unlink()
    clone = project.clone(tmp_path / "clone")
    with pytest.raises(InputError, match=rf"lacks 1 of these files \({FIGURE}\)"):
        clone.pull(store)
    assert clone.files() == {}
    project.share(url=store)
    clone.pull(store)
    assert clone.files() == project.files()


def test_a_push_that_was_killed_is_no_revision_and_goes_on(project, store, tmp_path):
    rng = random.Random(0)
    many = tuple(f"results/smoke/daop/tables/{n}/quality.csv" for n in range(120))
    for path in many:
        project.write(path, rng.randbytes(400_000), params=[])
    before = repository.commit_of(project.root, "HEAD")
    code = (
        "import sys; from pathlib import Path; from workflow.sharing.share import share;"
        f"share(Path({str(project.root)!r}), {OUTPUTS + many!r}, scale='smoke', url={str(store)!r})"
    )
    job = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True
    )
    while not store.is_dir() or len(objects(store)) < 20:
        assert job.poll() is None, "the push ended before it could be killed"
    job.send_signal(signal.SIGKILL)
    job.wait()
    assert len(objects(store)) < len(many)
    assert repository.commit_of(project.root, "HEAD") == before
    project.share(OUTPUTS + many, url=store)
    clone = project.clone(tmp_path / "clone")
    clone.pull(store)
    assert clone.files() == project.files()


def test_what_was_made_here_is_not_overwritten_unasked(project, store, tmp_path):
    project.share(url=store)
    clone = project.clone(tmp_path / "clone")
    clone.pull(store)
    (clone.root / FIGURE).write_bytes(b"my own figure")
    (clone.root / CLAIMS).write_bytes(b"my own claims")
    with pytest.raises(InputError, match=r"and 1 more was made or edited here and is shared nowhere"):
        clone.pull(store)
    assert (clone.root / FIGURE).read_bytes() == b"my own figure"
    assert clone.pull(store, overwrite=True).placed == 2
    assert clone.files() == project.files()


def test_results_that_were_committed_and_not_shared_are_named(project, store, tmp_path):
    project.share(url=store)
    project.write(CLAIMS, b"later claims")
    repository.git(project.root, "commit", "--all", "--quiet", "-m", "results")
    clone = project.clone(tmp_path / "clone")
    with pytest.raises(InputError, match=r"claims\.json as git has it is not what was shared"):
        clone.pull(store)


def test_two_revisions_go_back_and_forth(project, store, tmp_path):
    first = project.share(url=store).commit
    old = project.files()
    project.write(FIGURE, b"a better figure", params=["'2'"])
    project.write(CLAIMS, b"better claims", params=["'2'"])
    second = project.share(url=store).commit
    clone = project.clone(tmp_path / "clone")
    for revision, files, claims, params in (
        (first, old, f"{CLAIMS} 3".encode(), ["'1'"]),
        (second, project.files(), b"better claims", ["'2'"]),
        (first, old, f"{CLAIMS} 3".encode(), ["'1'"]),
    ):
        clone.pull(store, revision=revision)
        assert clone.files() == files
        assert (clone.root / CLAIMS).read_bytes() == claims
        assert Records(clone.root).read(FIGURE).params == params
        # the pointers went with the files, so that DVC and a later share see the same
        assert provenance.read(clone.root)[FIGURE] == provenance.read_at(clone.root, revision)[FIGURE]


def test_a_share_of_some_outputs_keeps_what_was_shared_before(project, store, tmp_path):
    project.share(url=store)
    other = "results/smoke/models/vgg/weights.safetensors"
    project.write(other, b"other weights", params=[])
    project.share((other,), url=store)
    clone = project.clone(tmp_path / "clone")
    clone.pull(store)
    assert clone.files() == project.files()


def test_provenance_that_leads_out_of_the_checkout_is_refused(project, store):
    project.share(url=store)
    (file,) = (project.root / "provenance").rglob("teachers.json")
    file.write_text(file.read_text().replace(FIGURE, "../outside.svg"))
    with pytest.raises(InputError, match="lies outside this checkout"):
        provenance.read(project.root)


def test_records_of_another_snakemake_are_refused(project, store, monkeypatch):
    project.share(url=store)
    monkeypatch.setattr(provenance, "RECORD_FORMAT_VERSION", 7)
    with pytest.raises(InputError, match="keeps records of format 7"):
        project.pull(store)


def test_a_store_with_an_s3_api(project, tmp_path, monkeypatch):
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-that-is-never-written")
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        import boto3

        with pytest.raises(InputError, match="s3://results"):
            project.share(url="s3://results/sevenfold")  # there is no such bucket
        boto3.client("s3").create_bucket(Bucket="results")
        project.share(url="s3://results/sevenfold")
        clone = project.clone(tmp_path / "clone")
        clone.pull("s3://results/sevenfold")
        assert clone.files() == project.files()
    finally:
        server.stop()
    texts = [
        f
        for root in (project.root, clone.root)
        for f in root.rglob("*")
        if f.is_file() and f.suffix != ".npy"
    ]
    assert not [f for f in texts if b"never-written" in f.read_bytes()]


def test_a_crate_holds_the_files_and_which_job_made_them(project, store, tmp_path):
    commit = project.share(url=store).commit
    clone = project.clone(tmp_path / "clone")
    shared = pull.of_scale(provenance.read_at(clone.root, commit), "smoke")
    folder = tmp_path / "crate"
    crate.write_crate(clone.root, Store(clone.root, str(store)), shared, folder, commit=commit, scale="smoke")
    read = ROCrate(folder)  # refuses files that are named and not there
    assert {e.id for e in read.data_entities} == {path for path, file in shared.items() if file.is_shared}
    assert (folder / WEIGHTS).read_bytes() == (project.root / WEIGHTS).read_bytes()
    (action,) = [a for a in read.get_by_type("CreateAction") if WEIGHTS in [r.id for r in a["result"]]]
    assert [e.id for e in action["object"]] == [f"#{RAW}"]
    assert action["instrument"]["name"] == "make"
    with pytest.raises(InputError, match="is there already"):
        crate.write_crate(clone.root, Store(clone.root), shared, folder, commit=commit, scale="smoke")
