"""Nothing that comes from outside is run: where code can load a pickle or call a shell, and what hostile files do."""

import ast
import hashlib
import json
import pickle
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.datasets.config import Source
from stages.datasets.prepare_pretrained import read_state
from stages.datasets.readers import cifar_pickles
from stages.lib.core.artifacts import read_array, read_arrays
from stages.lib.core.errors import InputError
from stages.lib.nets.model_folder import ModelInfo, read_model
from stages.lib.training.checkpoint import load_checkpoint, save_checkpoint
from workflow.lib.settings import ROOT

# modules that only make objects from bytes, or run text
NEVER = {"cPickle", "cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "subprocess.getoutput"}
CALLS |= {
    "subprocess.getstatusoutput",
    "pandas.read_pickle",
    "pd.read_pickle",
    "torch.hub.load",
    "yaml.unsafe_load",
}
CALLS |= {"yaml.full_load", "runpy.run_path", "torch.jit.load"}
# a call that is safe with one argument, and what that must be
WITH = {
    "torch.load": ("weights_only", "True"),
    "np.load": ("allow_pickle", "False"),
    "numpy.load": ("allow_pickle", "False"),
    "yaml.load": ("Loader", "_UniqueKeyLoader"),  # a CSafeLoader, workflow/lib/settings.py
    "yaml.load_all": ("Loader", "_UniqueKeyLoader"),
}
ALLOWED = {
    (
        "stages/datasets/files.py",
        "pickle",
    ): "the canonical CIFAR archives, by an unpickler that knows five names",
    ("stages/lib/training/checkpoint.py", "pickle"): "the name of the error that torch raises",
}


def test_no_code_loads_a_pickle_or_calls_a_shell():
    found = {(file, what) for file in source_files() for what in dangers(ROOT / file)}
    assert found == set(ALLOWED)


def test_the_search_finds_each_of_them(tmp_path):
    for text in (
        "import pickle", "from pickle import loads", "import joblib", "eval('1')", "import os\nos.system('ls')",
        "torch.load(f)", "torch.load(f, weights_only=False)", "np.load(f)", "np.load(f, allow_pickle=True)",
        "yaml.load(f, Loader=yaml.Loader)", "yaml.load(f)", "pd.read_pickle(f)", "subprocess.run(c, shell=True)",
        "x.trust_remote_code = 1\nfrom_pretrained(f, trust_remote_code=True)", "call(shell=anything)",
    ):  # fmt: skip
        (tmp_path / "a.py").write_text(text)
        assert list(dangers(tmp_path / "a.py")), text


def source_files() -> Iterator[str]:
    for folder in ("stages", "workflow", "front"):
        yield from (str(file.relative_to(ROOT)) for file in (ROOT / folder).rglob("*.py"))
    yield "repro"


def dangers(file: Path) -> Iterator[str]:
    """Every way to load a pickle, or to have text run, that a file names."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            yield from (name for name in names if name.partition(".")[0] in NEVER)
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if called in CALLS or given.get("shell", "False") != "False" or "trust_remote_code" in given:
                yield called
            if called in WITH and given.get(WITH[called][0]) != WITH[called][1]:
                yield called


class Hostile:
    """Its pickle makes a file when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def cifar_archive(folder: Path, hostile: Hostile) -> Callable[[], object]:
    return batch_of(folder, {b"data": hostile, b"labels": [0]})


def cifar_archive_of_a_list(folder: Path, hostile: Hostile) -> Callable[[], object]:
    return batch_of(folder, [1, 2])


def batch_of(folder: Path, value: object) -> Callable[[], object]:
    content = pickle.dumps(value)
    with tarfile.open(folder / "c.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("cifar-10-batches-py/data_batch_1")
        member.size = len(content)
        archive.addfile(member, BytesIO(content))
    return lambda: cifar_pickles(
        folder, "train", {"archive": "c.tar.gz", "set": "cifar10", "label": "labels"}
    )


def npy_file(folder: Path, hostile: Hostile) -> Callable[[], object]:
    np.save(folder / "a.npy", np.array([hostile], dtype=object), allow_pickle=True)
    return lambda: read_array(folder / "a.npy")


def npz_file(folder: Path, hostile: Hostile) -> Callable[[], object]:
    np.savez(folder / "a.npz", good=np.zeros(2), bad=np.array([hostile], dtype=object))
    return lambda: read_arrays(folder / "a.npz")


def bare_pickle_as_npz(folder: Path, hostile: Hostile) -> Callable[[], object]:
    (folder / "a.npz").write_bytes(pickle.dumps(hostile))
    return lambda: read_arrays(folder / "a.npz")


def torch_archive(folder: Path, hostile: Hostile) -> Callable[[], object]:
    torch.save({"state_dict": {"w": hostile}}, folder / "w.pth")
    return lambda: read_state(source("torch_state", "w.pth"), folder)


def old_torch_file(folder: Path, hostile: Hostile) -> Callable[[], object]:
    torch.save({"w": hostile}, folder / "w.pth", _use_new_zipfile_serialization=False)
    return lambda: read_state(source("torch_state", "w.pth"), folder)


def torch_archive_of_a_list(folder: Path, hostile: Hostile) -> Callable[[], object]:
    torch.save([1, 2], folder / "w.pth")
    return lambda: read_state(source("torch_state", "w.pth"), folder)


def pickle_as_safetensors(folder: Path, hostile: Hostile) -> Callable[[], object]:
    (folder / "w.safetensors").write_bytes(pickle.dumps(hostile))
    return lambda: read_state(source("safetensors_state", "w.safetensors"), folder)


def pickle_in_a_model_folder(folder: Path, hostile: Hostile) -> Callable[[], object]:
    (folder / "weights.safetensors").write_bytes(pickle.dumps(hostile))
    info = ModelInfo(
        net="lenet.LeNet5", arguments={}, mean=(0,), std=(1,), classes=("0",), dataset="x", recipe={}
    )
    (folder / "model.json").write_text(json.dumps(asdict(info)))
    return lambda: read_model(folder)


def checkpoint(folder: Path, hostile: Hostile) -> Callable[[], object]:
    """With the right digest beside it, as somebody who can write there would give it."""
    save_checkpoint(folder, 3, {"w": torch.zeros(1)})
    (file,) = folder.glob("*.pt")
    torch.save({"w": hostile}, file)
    file.with_suffix(".sha256").write_text(hashlib.sha256(file.read_bytes()).hexdigest())
    return lambda: load_checkpoint(folder)


def source(reader: str, name: str) -> Source:
    return Source(kind="folder", reader=reader, location="WEIGHTS_DIR", files={name: ""})


@pytest.mark.parametrize(
    "make",
    [cifar_archive, cifar_archive_of_a_list, npy_file, npz_file, bare_pickle_as_npz, torch_archive, old_torch_file,
     torch_archive_of_a_list, pickle_as_safetensors, pickle_in_a_model_folder, checkpoint],
    ids=lambda make: make.__name__,
)  # fmt: skip
def test_a_hostile_file_is_one_sentence_and_runs_nothing(tmp_path, make):
    marker = tmp_path / "marker"
    read = make(tmp_path, Hostile(marker))
    with pytest.raises(InputError) as refused:
        read()
    assert not marker.exists()
    assert "\n" not in str(refused.value)
    assert str(tmp_path) in str(refused.value)


def test_the_hostile_pickle_is_one(tmp_path):
    pickle.loads(pickle.dumps(Hostile(tmp_path / "marker")))  # noqa: S301
    assert (tmp_path / "marker").exists()
