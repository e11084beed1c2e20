"""Whatever stands unquoted in a job's command can be no more than one word of it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.lib.core.errors import InputError
from workflow.lib.names import LANGUAGE_MODEL, NET, WILDCARDS, check_key
from workflow.lib.settings import ROOT
from workflow.lib.storage import read_declarations

RULES = {file.name: file.read_text() for file in sorted((ROOT / "workflow/rules").glob("*.smk"))}
# params that stand unquoted in a command: numbers, ...
NUMBERS = {
    "cases",
    "clips",
    "draws",
    "first",
    "frames",
    "images",
    "ratio",
    "ratios",
    "seed",
    "size",
    "sparsity",
    "steps",
    "transition_ns",
}
NUMBERS |= {"values", "vectors"}
# ... what is made of names that the settings may hold (names.py, or one of a list), ...
NAMED = {
    "arm",
    "built",
    "condensed",
    "domains",
    "folder",
    "method",
    "name",
    "names",
    "netlists",
    "row",
    "runs",
    "sets",
    "source",
}
# ... and what was made for a command: paths of files of the job, digests, flags that shlex has quoted
MADE = re.compile(
    r"\b(parent_of|code_of|env_of|timing_flags|user_netlist_flags|layer_flags)\(|\{input\.plates\}"
)


@given(st.text(), st.sampled_from([*WILDCARDS.values(), LANGUAGE_MODEL, NET]))
def test_a_name_is_a_word_that_is_no_flag_and_no_way_out(text, pattern):
    if re.fullmatch(pattern, text):
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", text)


@pytest.mark.parametrize(
    "name", ["", "..", ".x", "-x", "a/b", "a b", "a\n", "a;b", "$(a)", "`a`", "a'", "é", "{a}"]
)
def test_hostile_names_are_one_sentence(name):
    with pytest.raises(
        InputError, match=r"^config/smoke.yaml: hands.sets has the name .*: use small letters"
    ):
        check_key("config/smoke.yaml: hands.sets", [name], WILDCARDS["clips"])


def test_every_wildcard_of_an_output_has_a_pattern():
    used = {name for pattern in read_declarations() for name in re.findall(r"\{(\w+)\}", pattern)}
    assert used == set(WILDCARDS)


def test_rules_narrow_a_wildcard_to_a_list_or_a_pattern_of_names():
    for file, text in RULES.items():
        for name, values in re.findall(r"^    wildcard_constraints:\n        (\w+)=(.*),$", text, flags=re.M):
            listed = re.fullmatch(
                r'"\|"\.join\(.*\)( or "none")?|"[a-z]+(\|[a-z]+)*"|(names\.\w+|routes_like)(\(.*\))?', values
            )
            assert listed, f"{file}: {name} may be {values}"


def test_text_from_settings_is_quoted_in_commands():
    loose = []
    for text in RULES.values():
        for rule in re.split(r"^rule ", text, flags=re.M)[1:]:
            params = re.search(r"^    params:\n(.*?)^    shell:\n(.*)", rule, flags=re.M | re.S)
            for name in re.findall(r"\{params\.(\w+)\}", params[2]) if params else []:
                value = re.search(rf"^        {name}=(.*?)(?=^        \w+=|\Z)", params[1], flags=re.M | re.S)
                if name not in NUMBERS | NAMED and not MADE.search(value[1]):
                    loose.append(f"{rule.partition(':')[0]}: {{params.{name}}}")
    assert not loose, "write {params.NAME:q}, or say above why it needs no quotes"
