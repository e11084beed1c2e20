"""Reasons of Snakemake 9.27, as it prints them, in words."""

import json

from workflow.lib.fingerprints import env_of
from workflow.lib.why import reasons

TEXT = """
rule train_teacher:
    input: data/a.npy
    output: models/a/weights.safetensors, models/a/model.json
    jobid: 1
    reason: Params have changed since last execution: Union of exclusive params before and now across all output: before: {before} now: {now}\x20
localrule plot:
    input: models/a/model.json
    output: plot.svg
    jobid: 2
    reason: Missing output files: plot.svg, plot.csv; Input files updated by another job: models/a/model.json, models/a/weights.safetensors
"""  # noqa: E501


def test_a_setting_code_and_environment_are_told_apart():
    old = {"epochs": 6, "net": "it's, one"}
    before = ",".join([repr(json.dumps(old)), "'0123456789abcdef'", "'1111111111111111'"])
    now = ",".join([repr(json.dumps(old | {"epochs": 7})), "'fedcba9876543210'", repr(env_of("main"))])
    first, second = reasons(TEXT.format(before=before, now=now))
    assert first == (
        "train_teacher (models/a/weights.safetensors): its code is another, the environment main is another,"
        " epochs: 6 -> 7"
    )
    assert second == (
        "plot (plot.svg): plot.svg (and 1 more) is not there; train_teacher will make what it reads anew"
    )


def test_a_plain_parameter_is_shown_before_and_now():
    (line, _) = reasons(TEXT.format(before="1,'a'", now="2,'a b'"))
    assert line == 'train_teacher (models/a/weights.safetensors): parameters [1, "a"] -> [2, "a b"]'
