"""Mistakes in configuration files, through the command line: one sentence each, and nothing is made."""

import os
import subprocess

import pytest

from tests.checkout import PYTHON


@pytest.mark.parametrize(
    ("name", "old", "new", "sentence"),
    [
        (
            "smoke",
            "teachers:",
            "teacher:",
            "config/smoke.yaml: teacher is not a known key; did you mean teachers?",
        ),
        (
            "smoke",
            "epochs: 6",
            "epochs: six",
            "config/smoke.yaml: teachers.models.lenet5-bn-digits.epochs is 'six'",
        ),
        ("smoke", "epochs: 6", "epochs: 0", "teachers.models.lenet5-bn-digits.epochs is 0: choose 1 or more"),
        (
            "smoke",
            "dataset: digits",
            "dataset: digit",
            "dataset is 'digit': config/datasets.yaml has no such set",
        ),
        ("smoke", "[lenet5-bn-digits-s0]", "[lenet-s0]", "pruning.studies.arms.models has 'lenet-s0'"),
        ("smoke", "quantization:", "quantization: [", "config/smoke.yaml, line "),
        (
            "smoke",
            "shape: smollm2-135m",
            "shape: smollm2",
            "hardware.layers.smollm2-135m-token.shape is 'smollm2': choose from llama2-7b",
        ),
        ("base", "confidence: 0.95", "confidence: 95", "config/base.yaml: claims.confidence is 95"),
        ("base", "granularity:", "granularty:", "integer.granularty is not a known key; did you mean "),
        (
            "datasets",
            "kind: images",
            "kind: pictures",
            "config/datasets.yaml: datasets.digits.kind is 'pictures'",
        ),
        ("claims", "kind: exact", "kind: sure", "config/claims.yaml: claims."),
    ],
)
def test_a_mistake_is_one_sentence(pulled, edit, name, old, new, sentence):
    edit(f"config/{name}.yaml", old, new)
    done = subprocess.run(
        [PYTHON, "-m", "workflow.lib.preflight", "--scale", "smoke"],
        cwd=pulled.root,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(pulled.root)},
    )
    assert done.returncode == 2
    assert sentence in done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
