"""The git repository that results are shared in. Every failure of git is one sentence."""

import subprocess
from pathlib import Path

from stages.lib.core.errors import InputError

# what `share` itself writes and commits
OWN = ("provenance", ".dvc", ".dvcignore", "dvc.yaml")


def git(root: Path, *arguments: str) -> str:
    """What a git command prints. Raises InputError with git's last line."""
    done = _git(root, *arguments)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise InputError(f"git {arguments[0]} failed ({(said or ['no message'])[-1]}); mend it and run again")
    return done.stdout.decode()


def commit_of(root: Path, revision: str) -> str | None:
    """The full name of a commit, or None where there is no such revision."""
    done = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    return None if done.returncode else done.stdout.decode().strip()


def content_at(root: Path, revision: str, path: str) -> bytes | None:
    """Bytes of a file in a revision, or None where it has no such file."""
    done = _git(root, "cat-file", "blob", f"{revision}:{path}")
    return None if done.returncode else done.stdout


def paths_at(root: Path, revision: str, folder: str) -> list[str]:
    """Paths of all files below a folder in a revision."""
    return git(root, "ls-tree", "-r", "-z", "--name-only", revision, "--", folder).split("\0")[:-1]


def edited(root: Path, ours: set[str]) -> list[str]:
    """Files that differ from the last commit, or that git does not know, but for `ours` and what sharing writes."""
    changed = []
    lines = iter(git(root, "status", "--porcelain", "-z", "--untracked-files=all").split("\0")[:-1])
    for line in lines:
        state, path = line[:2], line[3:]
        if "R" in state or "C" in state:
            next(lines)  # the name that it had
        if path not in ours and not path.endswith(".dvc") and not path.startswith(OWN):
            changed.append(path)
    return changed


def _git(root: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=False)
