"""The code fingerprint changes with what a verb computes, and with nothing else."""

from importlib.metadata import version

import pytest

from workflow.lib.fingerprints import code_of, versions_of

FILES = {
    "__init__.py": '"""Stages."""\n',
    "lib/__init__.py": "",
    "lib/maths.py": "def double(x):\n    return 2 * x\n",
    "lib/unused.py": "ANSWER = 1\n",
    "lib/nets/__init__.py": "",
    "lib/nets/lenet.py": "WIDTH = 6\n",
    "prune/__init__.py": "",
    "prune/verb.py": '"""Doc."""\nfrom stages.lib.maths import double\n\nprint(double(2))\n',
}


@pytest.fixture
def tree(tmp_path):
    for name, text in FILES.items():
        file = tmp_path / "stages" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path


def _edited(tree, name, text):
    # the fingerprint is cached by path, as files do not change while rules are read
    copy = tree.with_name(f"{tree.name}-{abs(hash((name, text)))}")
    for old, content in FILES.items():
        file = copy / "stages" / old
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text if old == name else content)
    return code_of("prune.verb", root=copy)


@pytest.mark.parametrize(
    ("name", "text", "changes"),
    [
        ("lib/maths.py", "def double(x):\n    return x + x\n", True),
        ("lib/maths.py", '"""What."""\n# why\ndef double(x):\n    """Twice."""\n    return (2 * x)\n', False),
        ("lib/unused.py", "ANSWER = 2\n", False),
        ("lib/nets/lenet.py", "WIDTH = 7\n", False),
        ("prune/verb.py", FILES["prune/verb.py"].replace("double(2)", "double(3)"), True),
    ],
)
def test_only_what_the_verb_computes_counts(tree, name, text, changes):
    assert (_edited(tree, name, text) != code_of("prune.verb", root=tree)) is changes


def test_a_module_named_at_run_time_counts_where_it_is_given(tree):
    assert code_of("prune.verb", "lib.nets.lenet", root=tree) != code_of("prune.verb", root=tree)


def test_an_unknown_verb_is_an_error(tree):
    with pytest.raises(ValueError, match=r"stages\.prune\.missing"):
        code_of("prune.missing", root=tree)


def test_the_versions_told_of_main_are_those_of_this_environment():
    told = versions_of("main")
    assert {"torch", "numpy", "snakemake", "dvc", "ml-dtypes"} <= set(told)
    assert told == {name: version(name).partition("+")[0] for name in told}
