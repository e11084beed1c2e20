"""Places that sets come from: no address holds a password, no location is a flag or code, no answer tells a secret."""

import socket
import sys
import threading

import pytest

from stages.datasets.config import DatasetEntry, Source, SplitEntry
from stages.datasets.fetch_dataset import main as fetch_dataset
from stages.datasets.sources import answer_of, fetch, sentence_of
from stages.lib.core.commands import to_json
from stages.lib.core.errors import InputError
from workflow.lib.settings import load_registry

SECRET = "s3cr3t"


def entry_of(source: Source) -> DatasetEntry:
    return DatasetEntry(title="Set", kind="text", licence="", citation="", redistribute=True, sources=(source,),
                        splits={"train": SplitEntry(n=1)})  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "location"),
    [
        ("url", f"https://user:{SECRET}@host/"),
        ("url", f"https://{SECRET}@host/"),
        ("url", f"https://host/?token={SECRET}&file="),
        ("url", "file:///etc/"),
        ("url", "ftp://host/"),
        ("bundled", "os; os.system('touch pwned')"),
        ("bundled", ""),
        ("mirror", "../outside"),
        ("mirror", "/etc"),
        ("debian", "-oDpkg::Tools::Options=x"),
        ("pypi", "--index-url=https://host/"),
        ("pypi", f"package @ https://user:{SECRET}@host/p.whl"),
        ("npm", "--prefix=/"),
        ("npm", "https://host/p.tgz"),
        ("folder", "PATH=x"),
    ],
)
def test_a_location_that_is_none_is_one_sentence_that_does_not_repeat_it(tmp_path, kind, location):
    good = entry_of(Source(kind="url", reader="text", location="https://host/"))
    entry = to_json(good).replace('"kind": "url"', f'"kind": "{kind}"').replace("https://host/", location)
    (tmp_path / "datasets.yaml").write_text(
        f"datasets: {{set: {entry}}}\npretrained: {{}}\nlanguage_models: {{}}"
    )
    for load in (
        lambda: load_registry(tmp_path / "datasets.yaml"),
        lambda: fetch_dataset(
            ["--name", "set", "--entry", entry, "--manifest", str(tmp_path / "source.json")]
        ),
    ):
        with pytest.raises(
            InputError, match=rf"location is wrong: of the kind {kind}, give [^\n]*$"
        ) as refused:
            load()
        assert SECRET not in str(refused.value)


PIP = f"""#!/bin/sh
case "$3" in
index) echo "Available versions: 1.0" ;;
*) echo "ERROR: cannot reach https://user:{SECRET}@host/simple/p by http://{SECRET}@proxy:80" >&2; exit 1 ;;
esac
"""


def test_what_a_package_client_says_is_told_without_its_password(tmp_path, monkeypatch):
    pip = tmp_path / "pip"
    pip.write_text(PIP)
    pip.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(pip))
    entry = entry_of(Source(kind="pypi", reader="text", location="p==1.0", files={"a": "sha256:" + "0" * 64}))
    with pytest.raises(
        InputError, match=r"cannot reach https://\*\*\*@host/simple/p by http://\*\*\*@proxy:80"
    ) as told:
        fetch(entry, tmp_path / "raw")
    assert SECRET not in str(told.value)


def test_a_server_that_does_not_speak_http_is_one_sentence(tmp_path, server_of_junk):
    entry = entry_of(
        Source(kind="url", reader="text", location=server_of_junk, files={"a": "sha256:" + "0" * 64})
    )
    sentence = sentence_of("set", answer_of(entry, tmp_path))
    assert "not reached (junk [31m)" in sentence
    assert sentence.isprintable()


@pytest.fixture
def server_of_junk():
    """The address of a server that answers one call with junk."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            client, _ = server.accept()
            with client:
                client.recv(1000)
                client.sendall(b"junk\x1b[31m\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        thread.join()
