"""Generated files are what the sources say, and git keeps what the storage classes say."""

import re
import subprocess

from workflow.lib import storage
from workflow.lib.generate import generated
from workflow.lib.settings import ROOT


def test_generated_files_are_in_sync():
    # README.md and docs/results.md among them, where a run is recorded
    stale = [name for name, text in generated().items() if not _says(name, text)]
    assert not stale, "run envs/py main -m workflow.lib.generate"


def test_every_setting_has_a_meaning():
    rows = [line for line in generated()["docs/configuration.md"].splitlines() if line.startswith("| `")]
    silent = [line.split("|")[1].strip() for line in rows if not line.split("|")[-2].strip()]
    assert not silent


def test_gitignore_keeps_git_outputs_and_hides_the_rest():
    for pattern, kept_by in storage.read_declarations().items():
        path = re.sub(r"\{\w+\}", "x", pattern)
        ignored = subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False).returncode == 0
        assert ignored is (kept_by != "git"), pattern


def _says(name, text):
    return (ROOT / name).is_file() and (ROOT / name).read_text() == text
