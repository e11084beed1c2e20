"""./repro audit: what pip-audit finds becomes a list, and what it could not ask about is no all-clear."""

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from front.audit import AuditError, pinned_files, vulnerabilities

ROOT = Path(__file__).resolve().parents[3]
ADVISORY = {
    "schema_version": "1.6.0",
    "id": "PYSEC-0000-1",
    "aliases": ["CVE-0000-1"],
    "summary": "made for this test",
    "modified": "2026-01-01T00:00:00Z",
    "published": "2026-01-01T00:00:00Z",
    "affected": [
        {
            "package": {"name": "requests", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.1"}]}],
        }
    ],
}


class Service(BaseHTTPRequestHandler):
    """An advisory service in the format of OSV that knows one vulnerability, of one package."""

    asked: set[str] = set()  # noqa: RUF012

    def do_POST(self):
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = query["package"]["name"]
        self.asked.add(name)
        self.send_response(500 if self.path == "/broken" else 200)
        self.end_headers()
        self.wfile.write(json.dumps({"vulns": [ADVISORY]} if name == "requests" else {}).encode())

    def log_message(self, *arguments):
        """Say nothing."""


@pytest.fixture(scope="module")
def service():
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def audit(address: str, cache: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        ROOT / "repro",
        "audit",
        "--",
        "--vulnerability-service",
        "osv",
        "--osv-url",
        address,
    ]
    return subprocess.run([*command, "--cache-dir", cache], capture_output=True, text=True)


def test_every_pinned_package_is_asked_about_and_a_known_vulnerability_is_listed(service, tmp_path):
    done = audit(f"{service}/v1/query", tmp_path)
    assert done.returncode == 1, done.stderr
    (line,) = {line.partition(" (")[0] for line in done.stdout.splitlines()}
    assert line.startswith("requests ")
    assert "(main.lock): PYSEC-0000-1, CVE-0000-1; mended in 99.1\n" in done.stdout
    pinned = {
        line.partition("==")[0].lower()
        for file in pinned_files()
        for line in file.read_text().splitlines()
        if "==" in line and not line.startswith((" ", "#"))
    }
    assert {name.replace("_", "-").replace(".", "-") for name in pinned} == Service.asked


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/v1/query", "{service}/broken"])
def test_a_service_that_does_not_answer_is_one_sentence(service, tmp_path, address):
    done = audit(address.format(service=service), tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: the advisory service was not asked about torch.txt: ")
    assert done.stderr.count("\n") == 1


def test_packages_that_the_service_does_not_know_are_no_all_clear(tmp_path):
    """As pip-audit answers, with exit code 0, where a mirror of the package index has no advisories."""
    answer = {"dependencies": [{"name": "torch", "skip_reason": "Dependency not found on PyPI"}], "fixes": []}
    tool = tmp_path / ".venv/audit/bin/pip-audit"
    tool.parent.mkdir(parents=True)
    tool.write_text(f"#!/bin/sh\necho '{json.dumps(answer)}'\n")
    tool.chmod(0o755)
    with pytest.raises(
        AuditError, match=r"^1 of 1 packages of torch\.txt were not checked \(torch\): .* not a mirror"
    ):
        vulnerabilities(ROOT / "envs/torch.txt", root=tmp_path)
