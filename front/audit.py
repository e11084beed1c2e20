"""Known vulnerabilities of what the locks pin, by pip-audit in an environment of its own. Standard library only."""

import json
import subprocess

from front.environments import ROOT


class AuditError(Exception):
    """What keeps packages from being checked, and the way out, in one sentence."""


def pinned_files(root=ROOT):
    """Every file that pins packages; that of torch, a single one, first: it shows whether the service answers."""
    return [root / "envs" / "torch.txt", *sorted((root / "envs").glob("*.lock"))]


def vulnerabilities(file, extra=(), root=ROOT):
    """Number of packages that a file pins, and a line on each known vulnerability of one.

    extra   further arguments of pip-audit
    raises  AuditError unless every package was checked
    """
    command = [str(root / ".venv" / "audit" / "bin" / "pip-audit"), "--requirement", str(file), "--no-deps"]
    # nothing is resolved or installed: the pins are the whole list
    command += ["--disable-pip", "--format", "json", "--progress-spinner", "off", *extra]
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise AuditError(
            f"the advisory service was not asked about {file.name}: {last[:200]}; check the network, or name another"
            " service: ./repro audit -- --vulnerability-service osv"
        ) from None
    # pip-audit counts these as clean; a mirror of the package index that has no advisories knows none
    unchecked = [package["name"] for package in packages if "skip_reason" in package]
    if unchecked or not packages:
        raise AuditError(
            f"{len(unchecked)} of {len(packages)} packages of {file.name} were not checked"
            f" ({', '.join(unchecked[:3])}): the advisory service does not know them; run this where the package index"
            " itself is reached and not a mirror, or name another service: ./repro audit -- --vulnerability-service osv"
        )
    return len(packages), [
        f"{package['name']} {package['version']} ({file.name}): {', '.join([found['id'], *found.get('aliases', [])])}"
        f"; {_mended(found)}"
        for package in packages
        for found in package["vulns"]
    ]


def _mended(found):
    return f"mended in {', '.join(found['fix_versions'])}" if found.get("fix_versions") else "not mended yet"
