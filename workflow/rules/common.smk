# Settings, fingerprints and storage classes that every rule file uses.
import json
import sys
from pathlib import Path

sys.path.insert(0, str(workflow.basedir))

from snakemake.exceptions import WorkflowError

from stages.lib.core.commands import to_json
from stages.lib.core.errors import InputError
from workflow.lib import storage
from workflow.lib.catalogue import Catalogue
from workflow.lib.fingerprints import code_of, env_of
from workflow.lib.settings import load_claims

try:
    CATALOGUE = Catalogue.load(config)
except InputError as error:
    raise WorkflowError(str(error)) from None

SCALE, SETTINGS = CATALOGUE.scale, CATALOGUE.settings

config.setdefault("device", "auto")

# what judge_claims reads: one file a paper that is built
MEASUREMENTS = ["results/{scale}/minifloats/measurements.json"]
# papers whose stages are in the pipeline
BUILT = ["minifloats"]
# figures of the report, in its order; paths below results/SCALE
SECTIONS = [
    {
        "paper": "minifloats",
        "title": "Accuracy over bits",
        "caption": "Top-1 after post-training quantisation of weights and activations, every format of 3 to 8 bits."
        " The best minifloat of a width is picked on the images that are shown, of more formats than the one integer:"
        " an upper bound on what a fixed choice gives.",
        "figure": "minifloats/figures/format_sweep.svg",
        "table": "minifloats/figures/format_sweep.csv",
    },
    {
        "paper": "teachers",
        "title": "Training",
        "caption": "Accuracy on the held-out part of the training set; the test set is read once, at the end.",
        "figure": "teachers/figures/training.svg",
        "table": "teachers/figures/training.csv",
    },
]


wildcard_constraints:
    scale="[a-z]+",
    dataset="[a-z0-9-]+",
    split="[a-z]+",
    model="[a-z0-9-]+",


def verbatim(text):
    """A param that is taken as it is: Snakemake would read the braces of JSON as wildcards."""
    return lambda wildcards: text


def git(pattern):
    return storage.declare(pattern, "git")


def dvc(pattern):
    return storage.declare(pattern, "dvc")


def none(pattern):
    return storage.declare(pattern, "none")


def parent_of(file):
    return str(Path(file).parent)


def prepared_files(dataset, split):
    """Files of a prepared image split; dataset.json, in the folder that commands read, comes first."""
    return [
        f"data/prepared/{dataset}/{split}/{file}"
        for file in ("dataset.json", "images.npy", "labels.npy")
    ]


def model_files(model):
    """Files of a model folder; model.json comes first."""
    return [
        f"results/{{scale}}/models/{model}/{file}"
        for file in ("model.json", "weights.safetensors")
    ]


def family_of(net):
    """The module that a network's name starts with, for code_of: "resnet.ResNet" -> "lib.nets.resnet"."""
    return f"lib.nets.{net.partition('.')[0]}"


def check_storage_classes():
    outputs = [str(file) for rule in workflow.rules for file in rule.output]
    missing = storage.undeclared(outputs)
    if missing:
        raise WorkflowError(
            f"the output {missing[0]} has no storage class: write git(...), dvc(...) or none(...) around it"
        )
