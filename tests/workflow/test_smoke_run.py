"""The smoke scale end to end, and what a change makes stale."""

import json
import os
import re
import subprocess
import time

import pytest

from tests.browser import DESKTOP, PHONE, content_widths
from workflow.lib.plan import parse_jobs
from workflow.lib.settings import ROOT

# behind a module's docstring, where a line of code can be put
END_OF_DOC = '"""\n\n'
EDITED = f"{END_OF_DOC}EDITED = True\n"
BELOW_MEASUREMENTS = {"collect_measurements": 1, "judge_claims": 1, "write_report": 1}
BELOW_SWEEP = {
    "plot_format_sweep": 1,
    "plot_techniques": 1,
    "plot_fronts": 1,
    "measure_sweeps": 1,
    **BELOW_MEASUREMENTS,
}
# what else rests on the smoke scale's one network
OTHERS = {
    "verify_integer_inference": 1, "plot_accumulators": 1, "export_model": 1,
    "tabulate_sqnr": 1, "measure_sqnr": 1, "plot_sqnr": 1,
}  # fmt: skip
SEARCH = {"search_formats": 1, "measure_search": 1}
BELOW_ROUTES = {
    "measure_routes": 1, "choose_route": 1, "export_chosen": 1, "time_steps": 1, "plot_chain": 1, "write_report": 1,
}  # fmt: skip
# all of the chain from its images on
CHAIN = {
    "make_motion_images": 3, "train_teacher": 1, "plot_training": 1, "condense": 1, "replay_in_chain": 1,
    "expand_in_chain": 1, "prune_for_classes": 2, "score_formats": 5, **BELOW_ROUTES,
}  # fmt: skip
BELOW_MACS = {
    "plot_mac_costs": 1, "measure_macs": 1, "plot_fronts": 1, "measure_sweeps": 1, **SEARCH, **BELOW_ROUTES,
}  # fmt: skip


def test_every_claim_has_a_verdict_and_the_report_stands_alone(finished):
    claims = json.loads((finished.root / "results/smoke/claims.json").read_text())
    verdicts = {claim["id"]: claim["verdict"] for claim in claims}
    assert all(claim["verdict"] and claim["reason"] for claim in claims)
    assert [verdicts[id] for id in ("M1", "M2", "M3", "M5", "C6")] == ["reproduced"] * 5
    page = (finished.root / "results/smoke/report.html").read_text()
    assert "<svg" in page
    # nothing is fetched from anywhere when the page is opened
    assert not re.findall(r'(?:src|href)\s*=\s*"(?!#|data:)[^"]*//', page)


def test_the_report_fits_a_phone_and_a_desk(finished, tmp_path):
    page = finished.root / "results/smoke/report.html"
    assert content_widths(tmp_path, page) == [(PHONE[0], DESKTOP[0])]


def test_second_run_has_nothing_to_do(finished):
    assert not finished.planned()


def test_touched_sources_and_comments_plan_nothing(pulled, edit):
    later = time.time() + 100
    for pattern in ("stages/**/*.py", "config/*.yaml", "workflow/rules/*.smk"):
        for file in pulled.root.glob(pattern):
            os.utime(file, (later, later))
    edit("stages/quantization/ptq.py", END_OF_DOC, f"{END_OF_DOC}# a remark\n")
    edit("config/smoke.yaml", "quantization:", "# a remark\nquantization:")
    assert not pulled.planned()


BELOW_EXPANSION = {"compare_pools": 1, "plot_condensed": 1, "measure_expansion": 1, "plot_expansion": 1}


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        # one sweep of two
        (
            "config/smoke.yaml",
            "[lenet5-bn-digits-s0], test_images: 200",
            "[lenet5-bn-digits-s0], test_images: 150",
            {"sweep_formats": 1, **BELOW_SWEEP},
        ),
        # a technique of the stage's settings reruns the sweeps that name it
        (
            "config/smoke.yaml",
            "  verified_values: 20000",
            "  verified_values: 20000\n  techniques: {mx: {granularity: mx, group: 16}}",
            {"sweep_formats": 1, **BELOW_SWEEP},
        ),
        (
            "config/smoke.yaml",
            "epochs: 6",
            "epochs: 7",
            {
                "train_teacher": 1,
                "plot_training": 1,
                "sweep_formats": 2,
                "study_accuracy": 1,
                "plot_accuracy": 1,
                "measure_pruning": 1,
                "distil_student": 2,
                "study_labels": 1,
                "measure_replay": 1,
                "plot_replay": 1,
                "plot_samples": 1,
                "condense": 1,
                "judge_condensed": 1,
                "expand_set": 3,
                **BELOW_EXPANSION,
                **SEARCH,
                **OTHERS,
                **BELOW_SWEEP,
                "collect_measurements": 4,  # of four papers
            },
        ),
        (
            "stages/claims/intervals.py",
            END_OF_DOC,
            EDITED,
            {"judge_claims": 1, "write_report": 1},
        ),
        (
            "stages/quantization/plot_format_sweep.py",
            END_OF_DOC,
            EDITED,
            {"plot_format_sweep": 1, "write_report": 1},
        ),
        ("stages/lib/nets/vit.py", END_OF_DOC, EDITED, {}),
        (
            "config/smoke.yaml",
            "macs: {formats: [INT4, E2M1]}",
            "macs: {formats: [INT4, E2M1, E3M0]}",
            {"synthesise_macs": 1, **BELOW_MACS, **BELOW_MEASUREMENTS},
        ),
        (
            "config/smoke.yaml",
            "vectors_per_weight: 20",
            "vectors_per_weight: 21",
            {
                "profile_weights": 1,
                "plot_weight_profiles": 1,
                "measure_weight_profiles": 1,
                "evaluate_rows": 1,
                "measure_perplexity": 1,
                "plot_perplexity": 1,
                "study_array": 1,
                "measure_array": 1,
                "plot_array": 1,
                "export_row": 1,
                "verify_export": 1,
                **BELOW_MEASUREMENTS,
            },
        ),
        # a language model's text and rows are read by no other stage
        (
            "config/smoke.yaml",
            "calibration_windows: 8",
            "calibration_windows: 9",
            {
                "evaluate_rows": 1,
                "measure_perplexity": 1,
                "plot_perplexity": 1,
                "plot_array": 1,
                "export_row": 1,
                "verify_export": 1,
                **BELOW_MEASUREMENTS,
            },
        ),
        # another camera takes new pictures of the hands that are rendered already
        (
            "stages/hands/camera_look.py",
            END_OF_DOC,
            EDITED,
            {
                "prepare_plates": 1,  # photos are not shared
                "compose_clips": 1,
                "validate_clips": 1,
                "measure_labels": 1,
                "plot_contact_sheet": 1,
                "study_diversity": 1,
                "measure_diversity": 1,
                "plot_diversity": 1,
                "train_fingertips": 1,
                **CHAIN,
                "recognise_drawn": 1,
                "plot_preview": 1,
                "train_compositor": 1,
                "compare_arms": 1,
                "study_compositor": 1,
                "measure_planar": 1,
                "plot_arms": 1,
                **BELOW_MEASUREMENTS,
            },
        ),
        # a study of replay is that of no other stage
        (
            "config/smoke.yaml",
            "memory_updates: 1",
            "memory_updates: 2",
            {
                "distil_student": 2,
                "study_labels": 1,
                "measure_replay": 1,
                "plot_replay": 1,
                "plot_samples": 1,
                **BELOW_MEASUREMENTS,
            },
        ),
        # a score of weights: what is pruned with it and what rests on that
        (
            "stages/pruning/saliency.py",
            "w.abs() * g,",
            "w.abs() * g**2,",
            {
                "study_accuracy": 1,
                "plot_accuracy": 1,
                "measure_pruning": 1,
                "verify_patterns": 1,
                "prune_for_classes": 2,
                "expand_in_chain": 1,
                "score_formats": 3,
                **BELOW_ROUTES,
                **BELOW_MEASUREMENTS,
            },
        ),
        # the budget of the search: the choice and what shows it
        (
            "config/smoke.yaml",
            "  calibration_images: 20\n",
            "  calibration_images: 20\n  budget: {accuracy: 0.8}\n",
            {**BELOW_ROUTES, "measure_routes": 0},
        ),
        # students of expanded sets are made again, condensed sets are not
        (
            "stages/expansion/guidance.py",
            "VIEWS = 64",
            "VIEWS = 32",
            {
                "expand_set": 3,
                "expand_in_chain": 1,
                "score_formats": 1,
                **BELOW_EXPANSION,
                **BELOW_MEASUREMENTS,
                **BELOW_ROUTES,
            },
        ),
        # policies are served again; the model, its traces and what they say of routing are not
        (
            "config/smoke.yaml",
            "answer_tokens: [32, 512]",
            "answer_tokens: [64, 512]",
            {"simulate_policies": 1, "measure_offload": 1, "plot_offload": 1, **BELOW_MEASUREMENTS},
        ),
        (
            "config/smoke.yaml",
            "rerendered_frames: 1",
            "rerendered_frames: 2",
            {"verify_rerender": 1, **BELOW_MEASUREMENTS},
        ),
        # the second layer table and its two estimates, nothing else
        (
            "config/smoke.yaml",
            "tokens: 1, context: 512",
            "tokens: 1, context: 513",
            {"tabulate_layers": 1, "estimate_systolic": 1, "estimate_tensor_cores": 1},
        ),
        (
            "stages/hardware/rows.v",
            "genvar i;",
            "genvar i; // a remark",
            {"synthesise_macs": 1, **BELOW_MACS, **BELOW_MEASUREMENTS},
        ),
        # a comment in a rule, in code and in settings
        ("workflow/rules/pruning.smk", "rule study_accuracy:", "# a remark\nrule study_accuracy:", {}),
        ("stages/pruning/masks.py", END_OF_DOC, f"{END_OF_DOC}# a remark\n", {}),
        ("config/smoke.yaml", "quantization:", "# a remark\nquantization:", {}),
        # other bytes in prepared data
        (
            "data/prepared/sklearn-code/test/text.txt",
            "import",
            "imports",
            {
                "record_traces": 1,
                "measure_quality": 1,
                "study_routing": 1,
                "simulate_policies": 1,
                "verify_engine": 1,
                "measure_offload": 1,
                "plot_offload": 1,
                **BELOW_MEASUREMENTS,
            },
        ),
        # another environment: all that runs in it, and what that is read by
        (
            "envs/hardware.lock",
            "==",
            " ==",
            {
                "synthesise_macs": 1,
                "synthesise_multipliers": 1,
                "profile_weights": 1,
                "plot_weight_profiles": 1,
                "measure_weight_profiles": 1,
                "evaluate_rows": 1,
                "measure_perplexity": 1,
                "plot_perplexity": 1,
                "study_array": 1,
                "measure_array": 1,
                "plot_array": 1,
                "export_row": 1,
                "verify_export": 1,
                **BELOW_MACS,
                **BELOW_MEASUREMENTS,
                "collect_measurements": 2,
            },
        ),
    ],
)
def test_a_change_reruns_exactly_its_descendants(pulled, edit, name, old, new, expected):
    edit(name, old, new)
    assert dict(pulled.planned()) == {rule: jobs for rule, jobs in expected.items() if jobs}


def test_commands_run_without_snakemake(finished):
    """Of every stage one; the run itself has run all of them, as these words in a shell."""
    dry = finished.snakemake("--dry-run", "--forceall", "--printshellcmds", "--quiet", "progress")
    commands = re.findall(r"^Shell command: (envs/py .*)$", dry.stdout + dry.stderr, flags=re.MULTILINE)
    assert len(commands) == len(parse_jobs(dry.stdout + dry.stderr)) > 10
    one_a_stage = {re.search(r"-m stages\.(\w+)", command)[1]: command for command in commands}
    assert set(one_a_stage) == {path.parent.name for path in ROOT.glob("stages/*/config.py")}
    for command in one_a_stage.values():
        done = subprocess.run(["bash", "-c", command], cwd=finished.root, check=False)
        assert done.returncode == 0, command


@pytest.mark.parametrize("scale", ["smoke", "laptop", "workstation", "paper"])
def test_every_scale_can_be_planned(finished, scale):
    assert finished.planned("--forceall", scale=scale)["judge_claims"] == 1


def test_results_of_one_scale_leave_another_alone(finished):
    assert "train_teacher" in finished.planned(scale="laptop")
    assert not finished.planned(scale="smoke")


def test_a_wrong_key_is_one_sentence(pulled, edit):
    edit("config/smoke.yaml", "quantization:", "quantisation:")
    done = pulled.snakemake("--dry-run")
    assert done.returncode != 0
    text = done.stdout + done.stderr
    assert "config/smoke.yaml: quantisation is not a known key; did you mean quantization?" in text
    assert "Traceback" not in text


def test_rules_are_lint_clean(finished):
    done = finished.snakemake("--lint")
    remarks = re.findall(r"^\s*\* (.*)$", done.stdout + done.stderr, flags=re.MULTILINE)
    # environments are our own venvs, which the linter does not know
    assert [r for r in remarks if "Specify a conda environment or container" not in r] == []


def test_a_data_set_that_no_source_has_is_left_out(finished):
    preflight = finished.root / "data" / "preflight.json"
    answer = {"available": False, "source": None, "sentence": "cifar10: not available"}
    preflight.write_text(json.dumps({"cifar10": answer}))
    try:
        text = finished.snakemake("--dry-run", "--quiet", "progress", scale="laptop").stdout
    finally:
        preflight.unlink()
    assert "train_teacher" in text
    assert "cifar10/" not in text


def test_timings_name_jobs_that_exist(finished):
    recorded = json.loads((ROOT / "results/recorded/timings.json").read_text())
    text = finished.snakemake("--dry-run", "--forceall", "--quiet", "progress", scale="laptop").stdout
    assert set(recorded) <= set(re.findall(r"benchmark: (\S+)", text))
