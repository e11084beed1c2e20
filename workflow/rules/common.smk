# Settings, fingerprints and storage classes that every rule file uses.
import json
import re
import sys
from dataclasses import asdict, replace
from pathlib import Path

sys.path.insert(0, str(workflow.basedir))

from snakemake.exceptions import WorkflowError

from stages.chain.config import ChainConfig
from stages.chain.routes import DISTIL, before
from stages.lib.core.commands import to_json
from stages.lib.core.errors import InputError
from stages.lib.core.users import EVERYONE
from stages.replay.methods import METHODS
from workflow.lib import names, storage
from workflow.lib.catalogue import MOTION, Catalogue
from workflow.lib.fingerprints import code_of, env_of, versions_of
from workflow.lib.settings import load_claims

try:
    CATALOGUE = Catalogue.load(config)
except InputError as error:
    raise WorkflowError(str(error)) from None

SCALE, SETTINGS = CATALOGUE.scale, CATALOGUE.settings

config.setdefault("device", "auto")
# what a scheduler is asked for: `auto` takes what is where the job lands, so that only `cuda` waits for a GPU
GPUS = 1 if config["device"] == "cuda" else 0

# of jobs: the longest ways through the graph go first, so that none is left for the end, when other cores are idle
FIRST, EARLY, SOON = 3, 2, 1

# the set of clips that is rendered again
FIRST_CLIPS = next(iter(SETTINGS.hands.sets), None)

# what measures the claims of a paper, joined by collect_measurements; paths below results/SCALE
PARTS = {
    "minifloats": [
        "minifloats/parts/verify_quantiser.json",
        "minifloats/parts/measure_sweeps.json",
        "minifloats/parts/measure_search.json",
        "minifloats/parts/measure_sqnr.json",
        *(
            f"minifloats/tables/accumulators/{model}.json"
            for model in CATALOGUE.integer_models()
        ),
        "minifloats/parts/measure_macs.json",
    ],
    **(
        {
            "egogestvid": [
                "egogestvid/parts/measure_labels.json",
                "egogestvid/parts/verify_rerender.json",
                *(
                    ["egogestvid/parts/measure_recognition.json"]
                    if CATALOGUE.real_gestures()
                    else []
                ),
                *(
                    ["egogestvid/parts/measure_diversity.json"]
                    if SETTINGS.hands.diversity.datasets
                    else []
                ),
                *(
                    ["egogestvid/parts/measure_planar.json"]
                    if SETTINGS.hands.planar.datasets
                    else []
                ),
            ]
        }
        if SETTINGS.hands.sets
        else {}
    ),
    "crisp": [
        "crisp/parts/measure_tensor_cores.json",
        "crisp/parts/verify_patterns.json",
        *(
            ["crisp/parts/measure_pruning.json"]
            if CATALOGUE.pruning_studies() and SETTINGS.pruning.accelerator
            else []
        ),
    ],
    "halo": [
        "halo/parts/measure_weight_profiles.json",
        *(
            ["halo/parts/measure_array.json", "halo/parts/measure_perplexity.json"]
            if CATALOGUE.judged_tables()
            else []
        ),
        *(["halo/parts/verify_export.json"] if CATALOGUE.halo_exports() else []),
    ],
}
if CATALOGUE.distil_runs():
    PARTS["pre_dfkd"] = ["pre_dfkd/parts/measure_replay.json"]
if CATALOGUE.expansion_runs():
    PARTS["condensed_expansion"] = ["condensed_expansion/parts/measure_expansion.json"]
if CATALOGUE.first_moe() != "none":
    PARTS["daop"] = [
        "daop/parts/measure_offload.json",
        "daop/parts/verify_engine.json",
        *(
            ["daop/parts/emulate_policies.json"]
            if SETTINGS.offload.emulation.texts
            else []
        ),
    ]
# what judge_claims reads
MEASUREMENTS = [f"results/{{scale}}/{paper}/measurements.json" for paper in PARTS]
# papers whose stages are in the pipeline
BUILT = [
    "condensed_expansion",
    "crisp",
    "daop",
    "egogestvid",
    "halo",
    "minifloats",
    "pre_dfkd",
]
# figures of the report, in its order; paths below results/SCALE
SECTIONS = [
    *(
        [
            {
                "paper": "chain",
                "title": "Step by step",
                "caption": "The cheapest route that keeps the budget, chosen on selection images alone: accuracy among a user's"
                " three gestures on rendered test images and on real videos (bars: 95 % over images), and what one image"
                " costs. Multipliers' look-up tables are yosys' for UltraScale+ before placement; energy is modelled,"
                " on tensor cores in 8 bits whatever the format; a format that no CPU multiplies has no time.",
                "figure": "chain/figures/chain.svg",
                "table": "chain/figures/chain.csv",
            },
            {
                "paper": "chain",
                "title": "All routes of the search",
                "caption": "Every order and strength of the steps, after quantisation. The choice is made on selection images;"
                " shown are test images, of rendered hands. Dotted: the budget's accuracy.",
                "figure": "chain/figures/search.svg",
                "table": "chain/figures/search.csv",
            },
        ]
        if CATALOGUE.chain_seeds()
        else []
    ),
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
        "paper": "minifloats",
        "title": "Techniques",
        "caption": "Score of every technique and format. `percentile` is the paper's plain quantiser, which the others change"
        " in one place each; learned_integer_ulp re-creates a defect of the public code.",
        "figure": "minifloats/figures/techniques.svg",
        "table": "minifloats/figures/techniques.csv",
    },
    {
        "paper": "minifloats",
        "title": "Accuracy over cost",
        "caption": "Signed formats with the plain quantiser; names are those on the front of both families together. Look-up"
        " tables are those of yosys before placement, for the cheapest operator of each format; a plain integer is one as"
        " yosys builds it. The published comparison leaves out the way back to the format.",
        "figure": "minifloats/figures/fronts.svg",
        "table": "minifloats/figures/fronts.csv",
    },
    *(
        {
            "paper": "minifloats",
            "title": "Width of the accumulator",
            "caption": "Integer inference on the codes of test images, every layer of the network in one pair of formats."
            " Left: bits that the longest dot product needs on these images, less than that being an overflow; bits that"
            " any operands need; the published formula. Right: top-1 with an accumulator that overflows.",
            "figure": "minifloats/figures/accumulators.svg",
            "table": "minifloats/figures/accumulators.csv",
        }
        for model in CATALOGUE.integer_models()
    ),
    {
        "paper": "minifloats",
        "title": "Error by format",
        "caption": "Signal-to-quantisation-noise ratio with the scale of least error: in closed form on distributions, whose"
        " tails grow from uniform to Student's t, and on the weight tensors of the networks of this scale.",
        "figure": "minifloats/figures/sqnr.svg",
        "table": "minifloats/figures/sqnr.csv",
    },
    {
        "paper": "minifloats",
        "title": "Cost of a multiply-accumulate on an FPGA",
        "caption": "Look-up tables of an operator with exact accumulation, by yosys for UltraScale+ before placement:"
        " ratios count, not absolute numbers. An integer as yosys builds it is about twice as dear as one on carry-chain"
        " rows, so that the ratios are to the cheaper one. Grey: published, another device and tool.",
        "figure": "hardware/figures/mac_costs.svg",
        "table": "hardware/figures/mac_costs.csv",
    },
    *(
        [
            {
                "paper": "egogestvid",
                "title": "Rendered clips",
                "caption": "Clips drawn at random from all sets; they loop.",
                "figure": "egogestvid/figures/preview.svg",
                "table": "egogestvid/figures/preview.csv",
            },
            {
                "paper": "egogestvid",
                "title": "Rendered frames",
                "caption": "Drawn at random from all sets, with the hand's box and the index fingertip (a cross where it is"
                " hidden). Hand: MakeHuman, CC0; panoramas: Blender, CC0.",
                "figure": "egogestvid/figures/contact_sheet.svg",
                "table": "egogestvid/figures/contact_sheet.csv",
            },
        ]
        if SETTINGS.hands.sets
        else []
    ),
    *(
        [
            {
                "paper": "egogestvid",
                "title": "Training places",
                "caption": "Mean fingertip error of networks trained on equally many frames of one place or of several, on frames"
                " of a place, by another photographer, that none was trained in.",
                "figure": "egogestvid/figures/diversity.svg",
                "table": "egogestvid/figures/diversity.csv",
            }
        ]
        if SETTINGS.hands.diversity.datasets
        else []
    ),
    *(
        [
            {
                "paper": "egogestvid",
                "title": "Flat and rendered hands",
                "caption": "Above, the same fingertips by every arm, flat ones before the same places: cut and paste, with the"
                " colours of what surrounds the hand, by the paper's generator as published and blended with the true"
                " background, and rendered. Below, mean error of fingertip networks trained on equally many frames of each;"
                " dots are seeds.",
                "figure": "egogestvid/figures/arms.svg",
                "table": "egogestvid/figures/arms.csv",
            }
        ]
        if SETTINGS.hands.planar.datasets
        else []
    ),
    *(
        [
            {
                "paper": "egogestvid",
                "title": "Drawn and real trajectories",
                "caption": "Mean and standard deviation of four numbers that describe a trajectory's shape: our templates, and"
                " the real training trajectories of EgoGestAR, which nothing is trained on.",
                "figure": "egogestvid/figures/templates.svg",
                "table": "egogestvid/figures/templates.csv",
            }
        ]
        if CATALOGUE.real_gestures()
        else []
    ),
    *(
        [
            {
                "paper": "halo",
                "title": "Perplexity over bits",
                "caption": "Perplexity over that of the float model on the same windows of the test text. Bars hold 95 % of"
                " draws of windows; dots are seeds. Bits count all that is stored: scales, indices, classes, weights kept"
                " apart. SmolLM2's weights had four bits before they came here. HALO: all tiles low, half, none.",
                "figure": "halo/figures/perplexity.svg",
                "table": "halo/figures/perplexity.csv",
            },
            {
                "paper": "halo",
                "title": "What each part of HALO is worth",
                "caption": "One thing changed, in per cent of perplexity, on the models trained here (dots, and bars for"
                " their mean) and, where it was run, on SmolLM2 (diamonds).",
                "figure": "halo/figures/parts.svg",
                "table": "halo/figures/parts.csv",
            },
            {
                "paper": "halo",
                "title": "What the clocks can give, and 270 % and 51 %",
                "caption": "Modelled: prompts of the paper's models on a 128 x 128 array with HBM2. Left, speed over the share"
                " of low tiles where nothing but arithmetic limits. Right, speed and energy over each baseline; HALO at the"
                " published levels (grey), at one voltage (blue), and at W8A8's power. Overclocked W8A8 is a control that"
                " would not meet its timing.",
                "figure": "halo/figures/bounds.svg",
                "table": "halo/figures/bounds.csv",
                "notes": "halo/figures/bounds.txt",
            },
            {
                "paper": "halo",
                "title": "HALO's premise by multiplier",
                "caption": "Gate-level netlists on Nangate45: what their own 9 and 16 fastest values gain in clock; modelled"
                " speed and energy of HALO with half of the tiles low; perplexity of one small model with these values."
                " mac24: with the addition in the same stage; swapped: the weight on the other operand.",
                "figure": "halo/figures/premise.svg",
                "table": "halo/figures/premise.csv",
            },
        ]
        if CATALOGUE.judged_tables()
        else []
    ),
    {
        "paper": "halo",
        "title": "How far HALO's premise depends on the multiplier",
        "caption": "Static timing of Nangate45 netlists with the weight held constant: how much faster the slowest of the"
        " fastest 9 and 16 weight values is than the slowest of all, by microarchitecture, with the addition in the same"
        " stage or not. No layout and no wires. Grey: published clocks, second-hand.",
        "figure": "hardware/figures/weight_sensitivity.svg",
        "table": "hardware/figures/weight_sensitivity.csv",
    },
    {
        "paper": "halo",
        "title": "Delay of the weight values",
        "caption": "Histograms of the static delay of all 256 weight values in each netlist.",
        "figure": "hardware/figures/weight_delays.svg",
        "table": "hardware/figures/weight_delays.csv",
    },
    {
        "paper": "halo",
        "title": "Voltage, frequency and energy",
        "caption": "SPICE of sky130 gates and the fits to it. Carried over to another technology it is a model.",
        "figure": "hardware/figures/voltage_curve.svg",
        "table": "hardware/figures/voltage_curve.csv",
    },
    *(
        [
            {
                "paper": "pre_dfkd",
                "title": "Accuracy of students that learn without data",
                "caption": "Test accuracy, which decides nothing, over steps of the generator; lines are means over seeds,"
                " bands reach from the lowest to the highest. Grey: real images without labels, noise, and generators that"
                " never learn, through the same student loop. One seed ranks no methods.",
                "figure": "pre_dfkd/figures/curves.svg",
                "table": "pre_dfkd/figures/curves.csv",
            },
            {
                "paper": "pre_dfkd",
                "title": "What rehearsal changes",
                "caption": "Points by which rehearsal changes the largest fall and the accuracy of a student, paired by seed:"
                " same networks and same new images, as many steps.",
                "figure": "pre_dfkd/figures/falls.svg",
                "table": "pre_dfkd/figures/falls.csv",
            },
            {
                "paper": "pre_dfkd",
                "title": "Labels of made images",
                "caption": "Left, labels that the teacher keeps when noise is added to real and to made images. Right, labels"
                " of made images that VAEs keep, trained alike but for the teacher's response.",
                "figure": "pre_dfkd/figures/labels.svg",
                "table": "pre_dfkd/figures/labels.csv",
            },
            {
                "paper": "pre_dfkd",
                "title": "Images that were made",
                "caption": "The generator's last images and what the VAE rehearses, with the teacher's classes.",
                "figure": "pre_dfkd/figures/samples.svg",
                "table": "pre_dfkd/figures/samples.csv",
            },
        ]
        if CATALOGUE.distil_runs()
        else []
    ),
    *(
        [
            {
                "paper": "condensed_expansion",
                "title": "Students of expanded sets",
                "caption": "Test accuracy of students after the last round, dots are seeds, and over the images in the pool,"
                " with as many student steps in every arm. Bands reach from the lowest to the highest seed. Condensed sets"
                " are made from real images: but for inversion alone, no arm is free of data.",
                "figure": "condensed_expansion/figures/arms.svg",
                "table": "condensed_expansion/figures/arms.csv",
            },
            {
                "paper": "condensed_expansion",
                "title": "How far made images are from real ones",
                "caption": "Left, distance of the teacher's features of pools to those of real test images, class by class, for"
                " pools of one size. Right, distance of images to the nearest training image in pixels, 5th to 95th percentile:"
                " a set that lies nearer than test images do repeats what it was made from.",
                "figure": "condensed_expansion/figures/distances.svg",
                "table": "condensed_expansion/figures/distances.csv",
            },
            {
                "paper": "condensed_expansion",
                "title": "Condensed sets alone",
                "caption": "ConvNets that learn from a condensed set from nothing, without a teacher. Grey: published, after"
                " longer matching. Right, sets as they were after a part of the iterations.",
                "figure": "condensed_expansion/figures/condensed.svg",
                "table": "condensed_expansion/figures/condensed.csv",
            },
            {
                "paper": "condensed_expansion",
                "title": "Condensed and inverted images",
                "caption": "Of each class, the condensed images and the last ones that each arm inverted.",
                "figure": "condensed_expansion/figures/images.svg",
                "table": "condensed_expansion/figures/images.csv",
            },
        ]
        if CATALOGUE.expansion_runs()
        else []
    ),
    *(
        [
            {
                "paper": "daop",
                "title": "How fast every policy would be",
                "caption": "Modelled tokens a second of a Mixtral-shaped model on the machine that the claims name, routing"
                " recorded from models trained here. Blue: policies that give the plain model's logits; orange: those that"
                " do not. Marks: models of other seeds. Lines: what the placement of experts allows without prediction."
                " Grey: published, second-hand.",
                "figure": "daop/figures/policies.svg",
                "table": "daop/figures/policies.csv",
            },
            {
                "paper": "daop",
                "title": "Routing",
                "caption": "Measured on texts that the models were not trained on. Left, how many of a layer's experts are"
                " foreseen before its gate is asked; bands reach over models. Middle, share of choices that are on the GPU."
                " Right, share of a text's choices that its two most used experts take, over training.",
                "figure": "daop/figures/routing.svg",
                "table": "daop/figures/routing.csv",
            },
            {
                "paper": "daop",
                "title": "Length of the answer",
                "caption": "Modelled tokens a second with prompt, loads and swaps: 256 tokens in, so many out. Moves from"
                " pageable memory that block everything, as coded, need a long answer to pay.",
                "figure": "daop/figures/lengths.svg",
                "table": "daop/figures/lengths.csv",
            },
            {
                "paper": "daop",
                "title": "Speed and quality",
                "caption": "Modelled speed over Fiddler with overlap, and nats a token that the answer loses, measured on the"
                " same models; bars reach over models. At 0: the plain model's logits.",
                "figure": "daop/figures/pareto.svg",
                "table": "daop/figures/pareto.csv",
            },
        ]
        if CATALOGUE.first_moe() != "none"
        else []
    ),
    {
        "paper": "crisp",
        "title": "Cycles of dense and sparse tensor cores",
        "caption": "Modelled cycles of four products over the share of weights kept, and the Sparseloop artifact's"
        " figures, whose rules the model rebuilds.",
        "figure": "hardware/figures/tensor_cores.svg",
        "table": "hardware/figures/tensor_cores.csv",
    },
    *(
        [
            {
                "paper": "crisp",
                "title": "Accuracy over sparsity",
                "caption": "Points of top-1 below the dense network, which was tuned as long on the same images of the user's"
                " classes, all classes to choose from. Lines are means over users, dots users; n:16 keeps n of 16 weights,"
                " channels are removed for good.",
                "figure": "crisp/figures/accuracy.svg",
                "table": "crisp/figures/accuracy.csv",
            },
            {
                "paper": "crisp",
                "title": "What each part of the method is worth",
                "caption": "Left, the hybrid pattern with one thing changed, less the hybrid pattern as it is: block scores in"
                " the public code's order or at random, other scores of weights, regrowth. Dots are users and networks, bars"
                " means. Right, top-1 over the number of classes that a user wants.",
                "figure": "crisp/figures/parts.svg",
                "table": "crisp/figures/parts.csv",
            },
        ]
        if CATALOGUE.pruning_studies()
        else []
    ),
    *(
        [
            {
                "paper": "crisp",
                "title": "Storage",
                "caption": "Index of a network pruned to 2:4 in blocks, in bits for each weight that is kept, and the size of"
                " index and weights together; closed forms that written indices equal. BSR has a small index and stores the"
                " zeros.",
                "figure": "crisp/figures/storage.svg",
                "table": "crisp/figures/storage.csv",
            },
            {
                "paper": "crisp",
                "title": "Sparse tensor cores",
                "caption": "Modelled, with the same sparsity in every layer, against the dense network on a dense core: the"
                " hybrid pattern with blocks of 64 (and of 16), plain n:m, 2:4, and zeros anywhere on a dual-sparse core,"
                " which also skips zeros of activations. Dotted: what the multiplications left would allow. Grey: published,"
                " over methods that are not named. Below, the layers at the sparsity that it would need.",
                "figure": "crisp/figures/accelerator.svg",
                "table": "crisp/figures/accelerator.csv",
            },
        ]
        if SETTINGS.pruning.accelerator
        else []
    ),
    *[
        {
            "paper": "teachers",
            "title": f"Training on {dataset}",
            "caption": "Accuracy on the held-out part of the training set; the test set is read once, at the end.",
            "figure": f"teachers/figures/{dataset}.svg",
            "table": f"teachers/figures/{dataset}.csv",
        }
        for dataset in CATALOGUE.taught_datasets()
    ],
]


wildcard_constraints:
    **names.WILDCARDS,


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
        f"{CATALOGUE.split_folder(dataset, split)}/{file}"
        for file in ("dataset.json", "images.npy", "labels.npy")
    ]


def model_files(model):
    """Files of a model folder; model.json comes first."""
    return [
        f"results/{{scale}}/models/{model}/{file}"
        for file in ("model.json", "weights.safetensors")
    ]


def sweep_files(suffix):
    """The tables (csv) or outcomes (npz) of all sweeps over formats."""
    return [
        f"results/{{scale}}/minifloats/tables/sweeps/{sweep}/{model}.{suffix}"
        for sweep, model in CATALOGUE.swept()
    ]


def export_study(wildcards):
    """The table of perplexities that an exported language model belongs to."""
    return CATALOGUE.perplexity_study(SETTINGS.halo.exports[wildcards.export].study)


def run_curves():
    """Curves of all students that are distilled without data."""
    return [
        f"results/{{scale}}/pre_dfkd/runs/{study}/{teacher}/{method}/{seed}/curve.csv"
        for study, teacher, method, seed in CATALOGUE.distil_runs()
    ]


def label_tables():
    """Tables of the study of labels, one a run whose generator it asks about."""
    return [
        f"results/{{scale}}/pre_dfkd/tables/labels/{study}/{teacher}/{seed}.csv"
        for study, teacher, _, seed in CATALOGUE.label_runs()
    ]


def sampled_runs():
    """One run of each study of replay whose images are shown: the first that rehearses a VAE's, else the first."""
    runs = [run for run in CATALOGUE.distil_runs() if run[3] == 0]
    best = sorted(runs, key=lambda run: METHODS[run[2]].memory != "vae")
    first = {run[0]: run for run in reversed(best)}
    return [first[study] for study in dict.fromkeys(run[0] for run in runs)]


def expansion_curves():
    """Curves of all students that learn from expanded sets."""
    return [
        f"results/{{scale}}/condensed_expansion/runs/{study}/{arm}/{seed}/curve.csv"
        for study, arm, seed in CATALOGUE.expansion_runs()
    ]


def expansion_studies():
    return list(dict.fromkeys(study for study, _, _ in CATALOGUE.expansion_runs()))


def expanded_sets(study):
    """Folders, below a scale's results, of the condensed sets that a study expands."""
    runs = [run for run in CATALOGUE.expansion_runs() if run[0] == study]
    return list(dict.fromkeys(CATALOGUE.condensed_of(*run) for run in runs))


def pool_tables(kind):
    """Tables of compare_pools, one a study: features or nearest."""
    return [
        f"results/{{scale}}/condensed_expansion/tables/{kind}/{study}.csv"
        for study in expansion_studies()
    ]


def judged_tables():
    return [
        f"results/{{scale}}/condensed_expansion/tables/judged/{name}.csv"
        for name in CATALOGUE.judged_names()
    ]


def shown_sets():
    """Name and folder, below a scale's results, of condensed sets and pools of the first study, first seed."""
    runs = [
        run for run in CATALOGUE.expansion_runs() if run[0] == expansion_studies()[0]
    ]
    runs = [run for run in runs if run[2] == runs[0][2]]
    folders = dict.fromkeys(CATALOGUE.condensed_of(*run) for run in runs)
    return [
        *((folder.split("/")[3], folder) for folder in folders),
        *(
            (arm, f"condensed_expansion/runs/{study}/{arm}/{seed}/pool")
            for study, arm, seed in runs
            if arm != "condensed-only"
        ),
    ]


def chain_files(wildcards, route, owner):
    """Files of a float network of the chain; model.json, in the folder that commands read, comes first."""
    folder = CATALOGUE.chain_model(wildcards.seed, route, owner)
    return [
        f"results/{wildcards.scale}/{folder}/{file}"
        for file in ("model.json", "weights.safetensors")
    ]


def chain_json(*used):
    """Settings of the chain that a command uses, as a param; all others are its defaults."""
    values = {name: getattr(SETTINGS.chain, name) for name in used}
    return verbatim(to_json(ChainConfig(**values)))


def chain_networks():
    """Files of all float networks of the chain."""
    return [
        f"{network['folder']}/{file}"
        for network in CATALOGUE.chain_networks()
        for file in ("model.json", "weights.safetensors")
    ]


def chain_families():
    """Modules of all networks that the chain may meet, for code_of."""
    chain, steps = SETTINGS.chain, SETTINGS.chain.steps.values()
    nets = [
        getattr(SETTINGS, step.kind).studies[step.study].student
        for step in steps
        if step.kind in DISTIL
    ]
    if chain.teacher:
        nets.append(SETTINGS.teachers.models[chain.teacher].net)
    return sorted({family_of(net) for net in nets})


def chain_splits():
    """Name and files of the image sets that the chain is judged on."""
    splits = {name: prepared_files(MOTION, name) for name in ("selection", "test")}
    if CATALOGUE.real_gestures():
        splits["real"] = [
            f"data/rendered/{SCALE}/motion_of_videos/{file}"
            for file in ("dataset.json", "images.npy", "labels.npy")
        ]
    return splits


def routes_like(*kinds):
    """What the wildcard `route` may be in a rule that makes the last step of these kinds."""
    routes = [route for kind in kinds for route in CATALOGUE.chain_routes(kind)]
    # a rule needs some pattern, where there is no such step
    return "|".join(map(re.escape, routes)) or "none"


def described_run(wildcards):
    """What the report says of the run besides claims, figures and costs, as JSON."""
    return json.dumps(
        {
            "scale": SCALE,
            "confidence": SETTINGS.claims.confidence,
            "data": CATALOGUE.described_data(),
            "versions": {
                environment: versions_of(environment)
                for environment in ("main", "hardware", "render")
            },
            "stages": {one.name: Path(one.snakefile).stem for one in workflow.rules},
        }
    )


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
