"""What every stage stands on: files are whole or absent, mistakes are sentences, JSON becomes checked dataclasses."""

import io
import subprocess
import sys
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.lib.core.artifacts import atomic_path, read_array, value_digest, write_array, write_json
from stages.lib.core.bench import compare_speed
from stages.lib.core.commands import from_json, to_json
from stages.lib.core.errors import InputError
from stages.lib.core.measurements import Measurement, Sample, read_measurements, write_measurements
from stages.lib.core.prepared import content_digest, image_digests
from stages.lib.core.progress import Progress, duration
from stages.lib.core.seeds import derive_seed


@dataclass(frozen=True, kw_only=True)
class Inner:
    bits: int
    shares: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    inner: Inner
    by_name: dict[str, Inner] = field(default_factory=dict)
    note: str | None = None


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path):
    file = tmp_path / "a.json"
    write_json(file, {"a": 1})
    before = file.read_bytes()

    def fail():
        with atomic_path(file) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_what_a_killed_writer_left_is_removed_by_the_next_and_what_is_in_use_is_not(tmp_path):
    file, other = tmp_path / "a.json", tmp_path / "a-b.json"
    killed = (
        "import os, sys\nfrom stages.lib.core.artifacts import atomic_path, temporary_folder\n"
        "with atomic_path(sys.argv[1]), temporary_folder(sys.argv[1]), atomic_path(sys.argv[2]):\n    os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", killed, str(file), str(other)], check=False)
    assert len(list(tmp_path.iterdir())) == 3
    with atomic_path(other) as in_use:
        assert len(list(tmp_path.iterdir())) == 3  # the one in use has taken the place of its forerunner
        write_json(file, {"a": 1})
        assert sorted(tmp_path.iterdir()) == sorted([file, in_use])
        write_json(other, {"b": 1})  # two writers of one file: both are whole, the last one stays
        assert in_use.exists()


def test_arrays_go_round_and_pickles_are_refused(tmp_path):
    array = np.arange(6, dtype=np.int16).reshape(2, 3)
    write_array(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(read_array(tmp_path / "a.npy"), array)
    np.save(tmp_path / "b.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="not a plain"):
        read_array(tmp_path / "b.npy")


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.booleans())))
def test_a_digest_does_not_depend_on_the_order_of_keys(value):
    assert value_digest(value) == value_digest(dict(reversed(value.items())))


def test_seeds_of_different_names_differ_and_fit_torch():
    seeds = {derive_seed(s, n, i) for s in range(10) for n in ("weights", "epoch") for i in range(50)}
    assert len(seeds) == 1000
    assert max(seeds) < 2**63


def test_json_becomes_the_dataclass_and_back():
    outer = Outer(name="a", inner=Inner(bits=3, shares=(0.5, 1.0)), by_name={"x": Inner(bits=1)})
    assert from_json(Outer, to_json(outer), where="--x") == outer


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "--x is not JSON"),
        ("[]", "--x is [].*object"),
        ('{"nme": "a"}', "--x has the unknown key 'nme'; known are name, inner"),
        ('{"name": 3, "inner": {"bits": 1}}', "--x.name is 3; it must be of type str"),
        ('{"name": "a", "inner": {"bits": true}}', "--x.inner.bits is True; it must be of type int"),
        ('{"name": "a", "inner": {"bits": 1, "shares": 2}}', "--x.inner.shares is 2; it must be a list"),
        ('{"name": "a", "inner": {"bits": 1}, "by_name": {"y": {"bits": "z"}}}', "--x.by_name.y.bits is 'z'"),
        ('{"name": "a"}', "--x: .*inner"),
    ],
)
def test_wrong_json_is_a_sentence_that_names_the_key(text, sentence):
    with pytest.raises(InputError, match=sentence.replace("[]", r"\[\]")):
        from_json(Outer, text, where="--x")


@pytest.mark.parametrize(
    ("body", "code", "sentence"),
    [
        ("raise InputError('the key a is wrong')", 2, "error: the key a is wrong"),
        ("open('/nonexistent/file')", 2, "error: /nonexistent/file does not exist"),
        ("open('/')", 2, "error: / is a folder where a file is expected"),
        ("raise OSError(28, 'x', 'results/a')", 2, "error: the disk that holds results/a is full"),
        ("raise KeyboardInterrupt", 130, "error: interrupted"),
    ],
)
def test_a_command_ends_a_mistake_with_one_sentence(body, code, sentence):
    program = f"from stages.lib.core.errors import InputError, run\ndef main():\n    {body}\nrun(main)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)
    assert done.stderr.startswith(sentence)


def test_a_bug_keeps_its_traceback():
    program = "from stages.lib.core.errors import run\nrun(lambda: {}['missing'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "Traceback" in done.stderr


def test_measurements_go_round_and_lacking_fields_are_named(tmp_path):
    file = tmp_path / "m.json"
    one = Measurement(claim="M1", value=0.5, unit="1", n=3, samples=(Sample(seed=0, value=0.5),))
    write_measurements(file, [one], device={"cpu": "x"})
    (read,) = read_measurements(file)
    assert (read.claim, read.samples, read.device) == ("M1", one.samples, {"cpu": "x"})
    write_json(file, [{"claim": "M1", "value": 1}])
    with pytest.raises(InputError, match="lacks unit, n"):
        read_measurements(file)


def test_the_content_digest_ignores_order_and_sees_labels():
    images, labels = np.arange(24, dtype=np.uint8).reshape(6, 2, 2, 1), np.arange(6)
    digest = content_digest(image_digests(images, labels))
    order = np.array([3, 1, 5, 0, 2, 4])
    assert content_digest(image_digests(images[order], labels[order])) == digest
    assert content_digest(image_digests(images, labels[order])) != digest


def test_progress_tells_share_and_time_left():
    stream = io.StringIO()
    progress = Progress(4, "epoch", done=1, interval_s=0, stream=stream)
    progress.advance(note="loss 1")
    progress.advance(2)
    first, last = stream.getvalue().splitlines()
    assert first.startswith("epoch 2/4 50% ")
    assert first.endswith(" left loss 1")
    assert last.startswith("epoch 4/4 100% 0s left")


@given(st.integers(0, 10**6))
def test_durations_name_every_second(seconds):
    text = duration(seconds)
    if seconds < 60:
        assert text == f"{seconds}s"
    elif seconds < 3600:
        minutes, rest = text.rstrip("s").split("m")
        assert 60 * int(minutes) + int(rest) == seconds
    else:
        hours, minutes = text.rstrip("m").split("h")
        assert 0 <= seconds - 3600 * int(hours) - 60 * int(minutes) < 60


def test_a_comparison_is_the_ratio_of_times_and_its_figures_are_rates(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.process_time", lambda: clock[0])

    def takes(seconds):
        def work():
            clock[0] += seconds

        return work

    found = compare_speed(
        "x", takes(2.0), takes(6.0), work=12, unit="GB/s", runs=3, peer_name="p", peer_version="1", device={}
    )
    assert (found.ours, found.peer, found.ratio, found.ratio_runs) == (6.0, 2.0, 3.0, [3.0] * 3)
