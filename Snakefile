# Entry point: ./repro run, or plain `snakemake --config scale=smoke minifloats` after set-up.
from snakemake.utils import min_version

min_version("9.27")


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/datasets.smk"
include: "workflow/rules/planar.smk"
include: "workflow/rules/hands.smk"
include: "workflow/rules/teachers.smk"
include: "workflow/rules/quantization.smk"
include: "workflow/rules/hardware.smk"
include: "workflow/rules/pruning.smk"
include: "workflow/rules/halo.smk"
include: "workflow/rules/replay.smk"
include: "workflow/rules/expansion.smk"
include: "workflow/rules/offload.smk"
include: "workflow/rules/chain.smk"
include: "workflow/rules/claims.smk"


check_storage_classes()


onstart:
    # a limit on jobs a second has Snakemake go through all waiting jobs once a second for each job that it has started
    # (a fifth of a core after two hundred); on one machine its cores are limit enough
    if workflow.local_exec:
        workflow.scheduler.job_rate_limiter = None


localrules:
    all,
    # a cluster's nodes often reach no network; where the run is started there is one
    fetch_dataset,
    datasets,
    teachers,
    minifloats,
    egogestvid,
    judge,
    crisp,
    halo,
    hardware,
    pre_dfkd,
    condensed_expansion,
    daop,
    chain,
    bench,


# the main job: every paper that is built, its claims and the report
rule all:
    default_target: True
    input:
        rules.minifloats.input,
        rules.egogestvid.input if SETTINGS.hands.sets else [],
        rules.hardware.input,
        rules.crisp.input,
        rules.halo.input,
        rules.pre_dfkd.input if CATALOGUE.distil_runs() else [],
        rules.condensed_expansion.input if CATALOGUE.expansion_runs() else [],
        rules.daop.input if CATALOGUE.first_moe() != "none" else [],
        rules.teachers.input,
        rules.chain.input,
        f"results/{SCALE}/claims.json",
        f"results/{SCALE}/report.html",
