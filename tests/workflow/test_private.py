"""What a run writes tells no secret of its environment, and nothing of who ran it on which machine."""

import json
import os
import platform
import re
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from tests.checkout import PYTHON, ROOT, Checkout, copy_of_checkout

SECRET, USER = f"s3cr3t{os.getpid()}", "user-of-the-test"
TEXT = {".json", ".csv", ".tsv", ".md", ".svg", ".txt", ".html", ".log", ""}
# of photos, and of the mirror: read by Python, and in the first case part of a command
FOLDER = 'my pictures\' $(touch pwned);`touch pwned` "x"'
TARGETS = [
    "data/prepared/plates/plates.npz",
    "data/raw/digits/source.json",
    "results/smoke/crisp/parts/measure_tensor_cores.json",
]
FAILING = "data/raw/mnist/source.json"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkout, str]:
    """A checkout in which some jobs have run with secrets around them, one in vain; and what was printed."""
    checkout = copy_of_checkout(tmp_path_factory.mktemp("private") / "somebody's folder; $(touch pwned)")
    (checkout.root / FOLDER).mkdir()
    Image.new("RGB", (8, 8)).save(checkout.root / FOLDER / "photo.png")
    (checkout.root / "plates.json").write_text(json.dumps({"hands": {"plates": {"folder": FOLDER}}}))
    proxy = f"http://{USER}:{SECRET}@127.0.0.1:9"
    done = subprocess.run(
        [PYTHON, "-m", "snakemake", "--cores", "2", "--configfile", "plates.json", "--config", "scale=smoke",
         "--", *TARGETS, FAILING],
        cwd=checkout.root, capture_output=True, text=True, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(checkout.root), "DATA_MIRROR": FOLDER,
                          "AWS_SECRET_ACCESS_KEY": SECRET, "HF_TOKEN": SECRET, "PIP_INDEX_URL": f"{proxy}/simple",
                          "http_proxy": proxy, "https_proxy": proxy, "no_proxy": "", "LOGNAME": USER, "USER": USER},
    )  # fmt: skip
    return checkout, done.stdout + done.stderr


def test_jobs_run_with_awkward_folders_and_nothing_else_does(run):
    checkout, printed = run
    assert all((checkout.root / target).is_file() for target in TARGETS), printed[-2000:]
    assert not list(checkout.root.rglob("pwned*"))


def test_a_fetch_in_vain_says_where_it_looked(run):
    checkout, printed = run
    assert not (checkout.root / FAILING).exists()
    log = (checkout.root / "data/logs/fetch_dataset/mnist.log").read_text()
    assert re.fullmatch(r"error: MNIST: no source answers \(DATA_MIRROR/mnist: .*not reached .*\n", log)
    assert "Traceback" not in printed


def test_no_secret_is_printed_or_written(run):
    checkout, printed = run
    assert SECRET not in printed
    assert not [str(file) for file in written_in(checkout.root) if SECRET.encode() in file.read_bytes()]


def test_results_and_records_name_no_user_no_machine_and_no_path_of_it(run):
    checkout, _ = run
    files = [
        file
        for folder in ("data", "results", ".snakemake/metadata")
        for file in written_in(checkout.root / folder)
    ]
    assert any(".snakemake" in file.parts for file in files)
    check_private([file for file in files if "logs" not in file.parts], str(checkout.root))


def test_tracked_results_name_no_user_no_machine_and_no_path_of_one():
    listed = subprocess.run(
        ["git", "ls-files", "-z", "results"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    check_private([ROOT / name for name in filter(None, listed.stdout.split("\0"))], str(ROOT))


def check_private(files: list[Path], folder: str) -> None:
    """`folder` is the checkout's; paths of the usual homes and temporary folders count as well."""
    private = re.compile(
        rb"\b(" + b"|".join(re.escape(name).encode() for name in (USER, platform.node())) + rb")\b"
        rb"|(?<![\w.~-])/(home|root|tmp|work|Users|mnt|scratch)/\w|" + re.escape(folder).encode()
    )
    files = [file for file in files if file.suffix in TEXT]
    assert files
    told = {str(file): found[0] for file in files if (found := private.search(file.read_bytes()))}
    assert not told


def written_in(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file() and ".venv" not in file.parts]
