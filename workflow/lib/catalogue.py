"""What a run can make: settings, data sets and models, less what rests on data that no source has here.

The preflight writes which sets are available; without it all are taken to be.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from stages.chain.config import SKIP, ChainStep
from stages.chain.routes import (
    before,
    float_route,
    kind_of,
    owners,
    routes_of,
    steps_of,
)
from stages.datasets.sources import Entry
from stages.expansion.arms import ARMS as EXPANSION_ARMS
from stages.halo.config import HaloExportConfig, LlamaConfig, PerplexityConfig
from stages.hands.clip_config import ClipSet
from stages.hands.gestures import GESTURES
from stages.hardware.cell_library import OSU018
from stages.lib.core.artifacts import read_json
from stages.lib.core.commands import to_json
from stages.lib.core.errors import InputError
from stages.lib.core.users import EVERYONE
from stages.lib.costs.model_shapes import SHAPES
from stages.offload.config import MoeConfig
from stages.pruning.config import ABLATIONS
from stages.pruning.config import ARMS as PRUNING
from stages.quantization.config import ExportConfig, Technique
from stages.replay.methods import METHODS
from stages.teachers.config import TeacherRecipe
from workflow.lib.names import LANGUAGE_MODEL, NET, WILDCARDS, check_key, check_path
from workflow.lib.settings import ROOT, Registry, Settings, load_registry, load_settings

PREFLIGHT = ROOT / "data" / "preflight.json"
RECORDED = ROOT / "results" / "recorded"
# keys of `snakemake --config` that are not sections of the settings
RUN_KEYS = ("scale", "device")
DEVICES = ("auto", "cpu", "cuda")
PRUNING_ARMS = (*PRUNING, *ABLATIONS)
MORE_PANORAMAS = "pmndrs-panoramas"  # in the registry
MOTION = "rendered-motion"  # the one image set that a run makes itself: motion images of the scale's rendered hands


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    scale: str
    settings: Settings
    registry: Registry
    unavailable: frozenset[str]

    @classmethod
    def load(cls, config: Mapping[str, Any], preflight: Path | None = PREFLIGHT) -> "Catalogue":
        """The catalogue of a run. `config` is Snakemake's: scale, device and sections that override.

        preflight  file of its answers; None takes every set to be there
        """
        scale = str(config.get("scale", "laptop"))
        if (device := config.get("device", "auto")) not in DEVICES:
            raise InputError(f"--config: device is {device!r}: choose one of {', '.join(DEVICES)}")
        overrides = {key: value for key, value in config.items() if key not in RUN_KEYS}
        settings, registry = load_settings(scale, overrides), load_registry()
        check_keys(settings, registry, scale)
        check_names(settings, registry, scale)
        answers = read_json(preflight) if preflight and preflight.is_file() else {}
        return cls(
            scale=scale,
            settings=settings,
            registry=registry,
            unavailable=frozenset(name for name, answer in answers.items() if not answer["available"]),
        )

    def teacher_models(self) -> dict[str, tuple[TeacherRecipe, int]]:
        """Model name -> recipe and seed of every teacher that this scale trains."""
        return {
            f"{teacher}-s{seed}": (recipe, seed)
            for teacher, recipe in self.settings.teachers.models.items()
            for seed in recipe.seeds
            if recipe.dataset not in self.unavailable
        }

    def taught_datasets(self) -> list[str]:
        """The image sets on which this scale trains teachers."""
        return sorted({recipe.dataset for recipe, _ in self.teacher_models().values()})

    def teachers_on(self, dataset: str) -> list[str]:
        """Names of the teacher models that are trained on a data set."""
        return [model for model, (recipe, _) in self.teacher_models().items() if recipe.dataset == dataset]

    def recipe_of(self, model: str) -> TeacherRecipe:
        return self.teacher_models()[model][0]

    def seed_of(self, model: str) -> int:
        return self.teacher_models()[model][1]

    def net_of(self, model: str) -> str:
        """ "module.Class" of a model, trained here or pretrained."""
        if model in self.registry.pretrained:
            return self.registry.pretrained[model].net
        return self.recipe_of(model).net

    def pretrained_models(self) -> list[str]:
        """The pretrained networks that this scale evaluates and whose data are there."""
        return [m for m in self.settings.teachers.pretrained if not self.needs(m) & self.unavailable]

    def split_folder(self, dataset: str, split: str) -> str:
        """Where a prepared split of an image set stands."""
        if dataset == MOTION:
            return f"data/rendered/{self.scale}/motion/{split}"
        return f"data/prepared/{dataset}/{split}"

    def chain_seeds(self) -> tuple[int, ...]:
        """Seeds of the recogniser that is carried through all papers; none where the scale has none."""
        chain = self.settings.chain
        return chain.seeds if chain.teacher and self.settings.hands.sets else ()

    def chain_routes(self, kind: str) -> list[str]:
        """Routes of the recogniser whose last step is of a kind; "" for the teacher."""
        chain = self.settings.chain
        return [route for route in routes_of(chain) if kind_of(route, chain.steps) == kind]

    def chain_step(self, route: str) -> ChainStep:
        """The last step of a route."""
        return self.settings.chain.steps[steps_of(route)[-1]]

    def chain_model(self, seed: str | int, route: str, owner: str) -> str:
        """Folder, below a scale's results, of a float network of the chain."""
        chain = self.settings.chain
        if not before(route):
            return f"models/{chain.teacher}-s{seed}"
        folder = f"chain/models/{seed}/{route}/{owner}"
        return folder if kind_of(route, chain.steps) == "prune" else f"{folder}/student"

    def chain_networks(self) -> list[dict[str, Any]]:
        """Seed, route, owner and folder of every float network of the chain."""
        chain = self.settings.chain
        return [
            {
                "seed": seed,
                "route": route,
                "owner": owner,
                "folder": f"results/{self.scale}/{self.chain_model(seed, route, owner)}",
            }
            for seed in self.chain_seeds()
            for route, users in routes_of(chain).items()
            if float_route(route, chain.steps) == route
            for owner in owners(route, users, chain.steps)
        ]

    def chain_owners(self, route: str) -> tuple[str, ...]:
        """Who has a float network of a route."""
        chain = self.settings.chain
        return owners(route, routes_of(chain)[route], chain.steps)

    def chain_scored(self) -> list[tuple[int, str]]:
        """Seed and route of every float network, whoever owns it."""
        return list(dict.fromkeys((n["seed"], n["route"]) for n in self.chain_networks()))

    def chain_formats(self, route: str) -> str:
        """The quantisations that follow a float network, as JSON: step -> formats and technique."""
        techniques = self.settings.quantization.techniques
        found = {
            steps_of(quantised)[-1]: self.chain_step(quantised)
            for quantised in self.chain_routes("quantise")
            if before(quantised) == route
        }
        return json.dumps(
            {
                name: {"formats": step.formats, "technique": asdict(techniques[step.technique])}
                for name, step in found.items()
            },
            sort_keys=True,
        )

    def swept(self) -> list[tuple[str, str]]:
        """(sweep, model) of every sweep over formats whose data are there."""
        return [
            (name, model)
            for name, sweep in self.settings.quantization.sweeps.items()
            for model in sweep.models
            if not self.needs(model) & self.unavailable
        ]

    def searched_models(self) -> list[str]:
        """The models of the search for mixed formats whose data are there."""
        return [m for m in self.settings.quantization.mixed.models if not self.needs(m) & self.unavailable]

    def integer_models(self) -> list[str]:
        """The model that runs on integer codes, where its data are there."""
        return [m for m in self.settings.quantization.integer.models if not self.needs(m) & self.unavailable]

    def sqnr_models(self) -> list[str]:
        """The models whose weight tensors are compared with distributions and whose data are there."""
        return [m for m in self.settings.quantization.sqnr_models if not self.needs(m) & self.unavailable]

    def exports(self) -> dict[str, ExportConfig]:
        """Name -> settings of the quantised networks that are exported and whose data are there."""
        return {
            name: export
            for name, export in self.settings.quantization.exports.items()
            if not self.needs(export.model) & self.unavailable
        }

    def pruning_studies(self) -> list[tuple[str, str, int]]:
        """Name, network and seed of every study of pruning whose data are there."""
        return [
            (name, model, seed)
            for name, study in self.settings.pruning.studies.items()
            for model in study.models
            for seed in study.seeds
            if not self.needs(model) & self.unavailable
        ]

    def pruning_json(self, study: str) -> str:
        """Settings of a study of pruning, without what tells its runs apart."""
        apart = {"models": (), "arms": (), "ablations": (), "sparsities": (), "seeds": ()}
        return to_json(replace(self.settings.pruning.studies[study], **apart))

    def distil_runs(self) -> list[tuple[str, str, str, int]]:
        """Study, teacher, method and seed of every student distilled without data, where the teacher's data are there."""
        return [
            (name, teacher, method, seed)
            for name, study in self.settings.replay.studies.items()
            for teacher in study.teachers
            for method in study.methods
            for seed in study.seeds
            if not self.needs(teacher) & self.unavailable
        ]

    def distil_json(self, study: str) -> str:
        """Settings of a study, without what tells its runs apart."""
        return to_json(replace(self.settings.replay.studies[study], teachers=(), methods=(), seeds=()))

    def label_runs(self) -> list[tuple[str, str, str, int]]:
        """The runs whose generators the study of labels asks about."""
        return [
            run for run in self.distil_runs() if run[0] == self.settings.replay.labels_of and run[2] == "pre"
        ]

    def expansion_runs(self) -> list[tuple[str, str, int]]:
        """Study, arm and seed of every student that learns from an expanded set, where the teacher's data are there."""
        return [
            (name, arm, seed)
            for name, study in self.settings.expansion.studies.items()
            for arm in study.arms
            for seed in study.seeds
            if not self.needs(study.teacher) & self.unavailable
        ]

    def expansion_json(self, study: str) -> str:
        """Settings of a study, without what tells its runs apart or names their inputs."""
        apart = {"teacher": "", "arms": (), "seeds": (), "condensation": "dm", "images_per_class": 1}
        return to_json(replace(self.settings.expansion.studies[study], **apart))

    def expansion_differences(self) -> str:
        """What tells studies of expansion apart, as JSON: study -> setting -> value; of those whose data are there."""
        found = {}
        for name, study in self.settings.expansion.studies.items():
            if not study.arms or self.needs(study.teacher) & self.unavailable:
                continue
            settings = asdict(study)
            heterogeneous = settings.pop("student") != self.net_of(study.teacher)
            for key in ("arms", "seeds", "arguments"):
                settings.pop(key)
            found[name] = {**settings, "heterogeneous": heterogeneous}
        return json.dumps(found)

    def condensed_of(self, study: str, arm: str, seed: int) -> str:
        """Folder, below a scale's results, of the condensed set that a run expands."""
        return self._condensed(study, arm, self.settings.expansion.studies[study].teacher, seed)

    def chain_condensed(self, route: str, seed: str | int) -> str:
        """Folder, below a scale's results, of the condensed set that the last step of a route expands."""
        step, teacher = self.chain_step(route), f"{self.settings.chain.teacher}-s{seed}"
        return self._condensed(step.study, step.method, teacher, int(seed))

    def _condensed(self, study: str, arm: str, teacher: str, seed: int) -> str:
        settings = self.settings.expansion.studies[study]
        method = EXPANSION_ARMS[arm].condensation or settings.condensation
        return condensed_folder(teacher, method, settings.images_per_class, seed)

    def judged_sets(self, name: str) -> list[str]:
        """Folders, below a scale's results, of the condensed sets that a ConvNet is trained on."""
        judged = self.settings.expansion.judged[name]
        return [
            condensed_folder(judged.teacher, method, n, seed)
            for method in judged.methods
            for n in judged.images_per_class
            for seed in judged.seeds
        ]

    def judged_names(self) -> list[str]:
        return [
            name
            for name, judged in self.settings.expansion.judged.items()
            if not self.needs(judged.teacher) & self.unavailable
        ]

    def judged_json(self, name: str) -> str:
        apart = {"teacher": "", "methods": (), "images_per_class": (), "seeds": ()}
        return to_json(replace(self.settings.expansion.judged[name], **apart))

    def llama_models(self) -> dict[str, tuple[LlamaConfig, int]]:
        """Model name -> settings and seed of every small Llama that this scale trains."""
        return {
            f"{name}-s{seed}": (llama, seed)
            for name, llama in self.settings.halo.llamas.items()
            for seed in llama.seeds
            if llama.dataset not in self.unavailable
        }

    def language_model_folder(self, model: str) -> str:
        """Where the files of a language model stand, trained here or pretrained."""
        if model in self.registry.language_models:
            return f"data/prepared/language-models/{model}"
        return f"results/{self.scale}/models/{model}"

    def perplexity_tables(self) -> list[tuple[str, str]]:
        """(table, model) of every table of perplexities whose model and texts are there."""
        return [
            (name, model)
            for name, table in self.settings.halo.perplexity.items()
            for model in table.models
            if not {self.perplexity_study(name).dataset, *self.language_needs(model)} & self.unavailable
        ]

    def perplexity_study(self, name: str) -> PerplexityConfig:
        """Settings of a table of perplexities, on the other text where the first is not there."""
        study = self.settings.halo.perplexity[name]
        return replace(study, dataset=study.fallback) if self.falls_back(study) else study

    def falls_back(self, study: PerplexityConfig) -> bool:
        return bool(study.fallback) and study.dataset in self.unavailable

    def judged_tables(self) -> list[tuple[str, str]]:
        """Of each language model the first table of perplexities, which claims rest on."""
        first = {model: name for name, model in reversed(self.perplexity_tables())}
        return [(name, model) for name, model in self.perplexity_tables() if first[model] == name]

    def judged_netlist(self) -> str:
        """The multiplier whose books those tables rest on."""
        return self.settings.halo.perplexity[self.judged_tables()[0][0]].netlist

    def halo_exports(self) -> dict[str, HaloExportConfig]:
        """Name -> settings of the language models on code books that are exported and whose data are there."""
        there = self.perplexity_tables()
        return {n: e for n, e in self.settings.halo.exports.items() if (e.study, e.model) in there}

    def moe_models(self) -> dict[str, tuple[MoeConfig, int]]:
        """Model name -> settings and seed of each mixture of experts that is trained; one domain must be there."""
        return {
            f"{name}-s{seed}": (moe, seed)
            for name, moe in self.settings.offload.models.items()
            for seed in moe.seeds
            if set(moe.domains) - self.unavailable
        }

    def first_moe(self) -> str:
        """The model whose engine is checked and emulated; "none" where there is none."""
        return next(iter([*self.moe_models(), *self.settings.offload.converted]), "none")

    def domains_of(self, model: str) -> list[str]:
        """Texts of a mixture of experts that are there; converted models read those of the first trained."""
        models = self.settings.offload.models
        name = model.rpartition("-s")[0]
        moe = models[name] if name in models else next(iter(models.values()), MoeConfig())
        return [domain for domain in moe.domains if domain not in self.unavailable]

    def domain_texts(self, model: str, split: str) -> list[str]:
        return [f"data/prepared/{domain}/{split}/text.txt" for domain in self.domains_of(model)]

    def moe_json(self, model: str) -> str:
        moe, _ = self.moe_models()[model]
        return to_json(replace(moe, domains=tuple(self.domains_of(model)), seeds=()))

    def studied_files(self, file: str) -> list[str]:
        """A file of each model whose routing is studied: test.npz, valid.npz, quality.csv or curve.csv.

        Of recorded models, or else of the ones that this scale trains; converted ones have no curve.
        """
        offload = self.settings.offload
        if offload.recorded:
            folder = RECORDED / offload.recorded
            return [
                f"results/recorded/{offload.recorded}/{p.name}/{file}" for p in sorted(folder.glob("*-s*"))
            ]
        own = list(self.moe_models())
        models = own if file == "curve.csv" else [*own, *offload.converted]
        part = "traces" if file.endswith(".npz") else "tables"
        return [f"results/{self.scale}/daop/{part}/{model}/{file}" for model in models]

    def language_needs(self, model: str) -> frozenset[str]:
        """Names in the registry that a language model rests on."""
        if model in self.registry.language_models:
            return frozenset({model})
        return frozenset({self.settings.halo.llamas[model.rpartition("-s")[0]].dataset})

    def render_jobs(self, name: str) -> list[int]:
        """Numbers of the jobs that render a set of clips."""
        hands = self.settings.hands
        return list(range(-(-hands.sets[name].clips // hands.clips_per_job)))

    def motion_sets(self, split: str) -> list[str]:
        """Sets of clips whose hands are in a split of motion images."""
        hands = self.settings.hands
        held_out = hands.motion.held_out
        return [name for name in hands.sets if not held_out or (name in held_out) == (split == "test")]

    def more_panoramas(self) -> bool:
        """Whether panoramas besides Blender's are wanted, and there."""
        return self.settings.hands.more_panoramas and MORE_PANORAMAS not in self.unavailable

    def clip_set(self, name: str) -> ClipSet:
        """Settings of a set of clips, less the panoramas that are not there, unless it has no others."""
        wanted = self.settings.hands.sets[name]
        if self.more_panoramas():
            return wanted
        prefix = MORE_PANORAMAS.partition("-")[0] + "_"
        there = tuple(name for name in wanted.panoramas if not name.startswith(prefix))
        return replace(wanted, panoramas=there or wanted.panoramas)

    def real_gestures(self) -> bool:
        """Whether the recogniser is evaluated on EgoGestAR, and the set is there."""
        return self.settings.hands.real and "egogestar" not in self.unavailable

    def mixed_technique(self) -> Technique:
        """The technique of the search for mixed formats."""
        return self.settings.quantization.techniques[self.settings.quantization.mixed.technique]

    def sweep_json(self, sweep: str) -> str:
        """The settings of a sweep, without the models, which do not change what one of them gives."""
        return to_json(replace(self.settings.quantization.sweeps[sweep], models=()))

    def techniques_json(self, names: Sequence[str]) -> str:
        """Name -> settings of these techniques."""
        known = self.settings.quantization.techniques
        return json.dumps({name: asdict(known[name]) for name in names}, sort_keys=True)

    def technologies(self) -> list[str]:
        """The cell libraries of the timing of weight values that are there; osu018 is a system package."""
        return [t for t in self.settings.hardware.timing.technologies if t != "osu018" or OSU018.is_file()]

    def needs(self, model: str) -> frozenset[str]:
        """Names in the registry that a model rests on."""
        if model in self.registry.pretrained:
            return frozenset({model, self.registry.pretrained[model].dataset})
        return frozenset({self.dataset_of(model)})

    def dataset_of(self, model: str) -> str:
        if model in self.registry.pretrained:
            return self.registry.pretrained[model].dataset
        return self.settings.teachers.models[model.rpartition("-s")[0]].dataset

    def entry(self, name: str) -> Entry:
        registry = self.registry
        return registry.datasets.get(name) or registry.pretrained.get(name) or registry.language_models[name]

    def entry_json(self, name: str) -> str:
        return to_json(self.entry(name))

    def described_data(self) -> list[dict[str, Any]]:
        """What the report says of the sets and models that this scale names: their digests are what they must be."""
        return [
            {
                "name": name,
                "title": entry.title,
                "licence": entry.licence,
                "redistribute": entry.redistribute,
                "available": name not in self.unavailable,
                "digests": {split: one.digest for split, one in getattr(entry, "splits", {}).items()}
                or {file: digest for source in entry.sources for file, digest in source.files.items()},
            }
            for name, entry in ((name, self.entry(name)) for name in sorted(self.wanted()))
        ]

    def wanted(self) -> frozenset[str]:
        """Names in the registry that the targets of this scale rest on, available or not."""
        teachers = {recipe.dataset for recipe in self.settings.teachers.models.values()} - {MOTION}
        real = {"egogestar"} if self.settings.hands.real else set()
        real |= {MORE_PANORAMAS} if self.settings.hands.more_panoramas else set()
        swept = {m for sweep in self.settings.quantization.sweeps.values() for m in sweep.models}
        quantization = self.settings.quantization
        others = (quantization.mixed.models, quantization.integer.models, quantization.sqnr_models)
        exported = {export.model for export in quantization.exports.values()}
        pruned = {m for study in self.settings.pruning.studies.values() for m in study.models}
        distilled = {m for study in self.settings.replay.studies.values() for m in study.teachers}
        expansion = self.settings.expansion
        expanded = {study.teacher for study in [*expansion.studies.values(), *expansion.judged.values()]} - {
            ""
        }
        models = swept.union(
            *others, exported, pruned, distilled, expanded, self.settings.teachers.pretrained
        )
        halo = self.settings.halo
        texts = {table.dataset for table in halo.perplexity.values()}
        texts |= {table.fallback for table in halo.perplexity.values() if table.fallback}
        texts |= {llama.dataset for llama in halo.llamas.values()}
        texts |= {domain for moe in self.settings.offload.models.values() for domain in moe.domains}
        languages = {m for table in halo.perplexity.values() for m in table.models}
        return frozenset().union(
            teachers,
            real,
            texts,
            *(self.needs(m) - {MOTION} for m in models),
            *(self.language_needs(m) for m in languages),
        )


def condensed_folder(teacher: str, method: str, images_per_class: int, seed: int) -> str:
    return f"condensed_expansion/condensed/{teacher}/{method}/{images_per_class}/{seed}"


def check_keys(settings: Settings, registry: Registry, scale: str) -> None:
    """Raise InputError where a name that the settings or the registry give may not stand in a path or a command."""
    where, registered = f"config/{scale}.yaml", "config/datasets.yaml"
    check_key(f"{registered}: datasets", registry.datasets, WILDCARDS["dataset"])
    for name, entry in registry.datasets.items():
        check_key(f"{registered}: datasets.{name}.splits", entry.splits, WILDCARDS["split"])
    check_key(f"{registered}: pretrained", registry.pretrained, WILDCARDS["model"])
    check_key(f"{registered}: language_models", registry.language_models, LANGUAGE_MODEL)
    for name, entry in registry.pretrained.items():
        check_key(f"{registered}: pretrained.{name}.net", [entry.net], NET)
    for key, net in (
        *((f"teachers.models.{name}.net", one.net) for name, one in settings.teachers.models.items()),
        *((f"hardware.layers.{name}.net", one.net) for name, one in settings.hardware.layers.items()),
        *((f"replay.studies.{name}.student", one.student) for name, one in settings.replay.studies.items()),
        *(
            (f"expansion.studies.{name}.student", one.student)
            for name, one in settings.expansion.studies.items()
        ),
    ):
        check_key(f"{where}: {key}", filter(None, [net]), NET)
    for key, names, wildcard in (
        ("teachers.models", settings.teachers.models, "model"),
        ("hands.sets", settings.hands.sets, "clips"),
        ("quantization.sweeps", settings.quantization.sweeps, "sweep"),
        ("quantization.exports", settings.quantization.exports, "export"),
        ("hardware.layers", settings.hardware.layers, "layers"),
        (
            "hardware.timing.user_netlists",
            [user.name for user in settings.hardware.timing.user_netlists],
            "netlist",
        ),
        ("pruning.studies", settings.pruning.studies, "study"),
        ("halo.llamas", settings.halo.llamas, "model"),
        ("halo.perplexity", settings.halo.perplexity, "study"),
        ("halo.exports", settings.halo.exports, "export"),
        ("replay.studies", settings.replay.studies, "study"),
        ("expansion.studies", settings.expansion.studies, "study"),
        ("expansion.judged", settings.expansion.judged, "judged"),
        ("offload.models", settings.offload.models, "model"),
        ("offload.converted", settings.offload.converted, "model"),
        ("chain.steps", settings.chain.steps, "model"),
        ("chain.users", settings.chain.users, "owner"),
    ):
        check_key(f"{where}: {key}", names, WILDCARDS[wildcard])
    check_path(f"{where}: hardware.sky130", settings.hardware.sky130)
    for user in settings.hardware.timing.user_netlists:
        for key in ("netlist", "library"):
            check_path(f"{where}: hardware.timing.user_netlists.{user.name}.{key}", getattr(user, key))


def check_names(settings: Settings, registry: Registry, scale: str) -> None:
    """Raise InputError where the settings name a set, a model or a shape that nobody has.

    Here and not in the stages' settings, which every command of a stage rests on: a new shape must rerun nothing else.
    """
    where = f"config/{scale}.yaml"
    for name, source in settings.hardware.layers.items():
        if source.shape and source.shape not in SHAPES:
            raise InputError(
                f"{where}: hardware.layers.{name}.shape is {source.shape!r}: choose from {', '.join(SHAPES)}"
            )
    for name, recipe in settings.teachers.models.items():
        if recipe.dataset == MOTION and not settings.hands.sets:
            raise InputError(
                f"{where}: teachers.models.{name}.dataset is {MOTION}, and hands.sets has no clips to make it of: add a"
                " set, or leave the teacher out"
            )
        if recipe.dataset == MOTION and set(settings.hands.sets) <= set(settings.hands.motion.held_out):
            raise InputError(
                f"{where}: hands.motion.held_out names all sets, and leaves no hands to train"
                f" teachers.models.{name} on: leave one out"
            )
        if recipe.dataset not in {*registry.datasets, MOTION}:
            raise InputError(
                f"{where}: teachers.models.{name}.dataset is {recipe.dataset!r}: config/datasets.yaml has no such set"
                f" (it has {', '.join(registry.datasets)})"
            )
    trained = {
        f"{name}-s{seed}" for name, recipe in settings.teachers.models.items() for seed in recipe.seeds
    }
    every = trained | set(registry.pretrained)
    languages = set(registry.language_models) | {
        f"{name}-s{seed}" for name, llama in settings.halo.llamas.items() for seed in llama.seeds
    }
    techniques = settings.quantization.techniques
    for key, names, known in (
        ("teachers.pretrained", settings.teachers.pretrained, set(registry.pretrained)),
        *(
            (f"quantization.sweeps.{name}.models", sweep.models, every)
            for name, sweep in settings.quantization.sweeps.items()
        ),
        *(
            (f"quantization.sweeps.{name}.techniques", sweep.techniques, set(techniques))
            for name, sweep in settings.quantization.sweeps.items()
        ),
        ("quantization.mixed.technique", (settings.quantization.mixed.technique,), set(techniques)),
        ("quantization.mixed.models", settings.quantization.mixed.models, every),
        ("quantization.integer.models", settings.quantization.integer.models, every),
        ("hands.diversity.datasets", settings.hands.diversity.datasets, set(settings.hands.sets)),
        (
            "hands.diversity.held_out",
            tuple(filter(None, [settings.hands.diversity.held_out])),
            set(settings.hands.sets),
        ),
        ("hands.plates.sets", settings.hands.plates.sets, set(settings.hands.sets)),
        ("hands.motion.held_out", settings.hands.motion.held_out, set(settings.hands.sets)),
        ("hands.planar.datasets", settings.hands.planar.datasets, set(settings.hands.sets)),
        *(
            (f"hands.planar.{key}", (getattr(settings.hands.planar, key),), set(settings.hands.sets))
            for key in ("articulated", "held_out", "held_out_poses")
            if settings.hands.planar.datasets
        ),
        ("quantization.sqnr_models", settings.quantization.sqnr_models, every),
        *(
            (f"replay.studies.{name}.teachers", study.teachers, every)
            for name, study in settings.replay.studies.items()
        ),
        *(
            (f"expansion.{part}.{name}.teacher", tuple(filter(None, [one.teacher])), every)
            for part in ("studies", "judged")
            for name, one in getattr(settings.expansion, part).items()
        ),
        ("replay.labels_of", tuple(filter(None, [settings.replay.labels_of])), set(settings.replay.studies)),
        *(
            (f"pruning.studies.{name}.models", study.models, every)
            for name, study in settings.pruning.studies.items()
        ),
        *(
            (f"halo.llamas.{name}.dataset", (llama.dataset,), set(registry.datasets))
            for name, llama in settings.halo.llamas.items()
        ),
        *(
            (f"halo.perplexity.{name}.{key}", values, known)
            for name, table in settings.halo.perplexity.items()
            for key, values, known in (
                ("models", table.models, languages),
                ("dataset", (table.dataset,), set(registry.datasets)),
                ("fallback", tuple(filter(None, [table.fallback])), set(registry.datasets)),
            )
        ),
        *(
            (f"halo.exports.{name}.{key}", (value,), known)
            for name, export in settings.halo.exports.items()
            for key, value, known in (
                ("study", export.study, set(settings.halo.perplexity)),
                (
                    "model",
                    export.model,
                    set(getattr(settings.halo.perplexity.get(export.study), "models", ())),
                ),
                ("row", export.row, set(getattr(settings.halo.perplexity.get(export.study), "rows", ()))),
            )
        ),
        *(
            (f"offload.models.{name}.domains", moe.domains, set(registry.datasets))
            for name, moe in settings.offload.models.items()
        ),
        ("offload.grid.machines", settings.offload.grid.machines, set(settings.offload.machines)),
        (
            "offload.recorded",
            tuple(filter(None, [settings.offload.recorded])),
            {path.name for path in RECORDED.glob("*/")},
        ),
        (
            "pruning.accelerator",
            tuple(filter(None, [settings.pruning.accelerator])),
            set(settings.hardware.layers),
        ),
        *(
            (f"quantization.exports.{name}.{key}", (value,), known)
            for name, export in settings.quantization.exports.items()
            for key, value, known in (
                ("model", export.model, every),
                ("technique", export.technique, set(techniques)),
            )
        ),
        *chain_names(settings, every),
    ):
        if unknown := [name for name in names if name not in known]:
            raise InputError(f"{where}: {key} has {unknown[0]!r}: choose from {', '.join(sorted(known))}")
    if settings.chain.teacher:
        check_chain(settings, where)


def chain_names(settings: Settings, models: set[str]) -> Iterator[tuple[str, tuple[str, ...], set[str]]]:
    """What the chain names: key, names, and what there is of the kind."""
    chain = settings.chain
    sections = {
        "replay": (settings.replay.studies, METHODS),
        "expansion": (settings.expansion.studies, EXPANSION_ARMS),
        "prune": (settings.pruning.studies, PRUNING_ARMS),
    }
    for name, step in chain.steps.items():
        key = f"chain.steps.{name}"
        if step.kind == "quantise":
            yield f"{key}.technique", (step.technique,), set(settings.quantization.techniques)
            continue
        studies, methods = sections[step.kind]
        yield f"{key}.study", (step.study,), set(studies)
        yield f"{key}.method", (step.method,), set(methods)
    for number, order in enumerate(chain.orders):
        slots = tuple(name for slot in order.slots for name in slot)
        yield f"chain.orders[{number}].slots", slots, {SKIP, *chain.steps}
        yield f"chain.orders[{number}].users", order.users, set(chain.users)
    if chain.teacher:
        yield "chain.teacher", tuple(f"{chain.teacher}-s{seed}" for seed in chain.seeds), models
    for user, gestures in chain.users.items():
        yield f"chain.users.{user}", gestures, set(GESTURES)


def check_chain(settings: Settings, where: str) -> None:
    """Raise InputError where the chain's parts do not fit together."""
    chain = settings.chain
    if settings.teachers.models[chain.teacher].dataset != MOTION:
        raise InputError(
            f"{where}: chain.teacher is {chain.teacher}, which does not learn {MOTION}: name one that does"
        )
    if not chain.users or not all(chain.users.values()):
        raise InputError(f"{where}: chain.users has no user with gestures: give at least one")
    if EVERYONE in chain.users:
        raise InputError(
            f"{where}: chain.users.{EVERYONE} is who has a network before it is pruned: rename the user"
        )
    try:
        routes = routes_of(chain)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    if not any(kind_of(route, chain.steps) == "quantise" for route in routes):
        raise InputError(f"{where}: chain.orders has no route that ends in a step of kind quantise: add one")
