# HALO: language models on the few weight values that are fast, their perplexity, and the array that they would run on.
HALO = SETTINGS.halo


rule train_language_model:
    input:
        train=lambda wc: f"data/prepared/{CATALOGUE.llama_models()[wc.model][0].dataset}/train/text.txt",
        valid=lambda wc: f"data/prepared/{CATALOGUE.llama_models()[wc.model][0].dataset}/valid/text.txt",
    output:
        model=dvc("results/{scale}/models/{model}/model.json"),
        weights=dvc("results/{scale}/models/{model}/model.safetensors"),
        others=[
            dvc(f"results/{{scale}}/models/{{model}}/{file}.json")
            for file in (
                "config",
                "generation_config",
                "tokenizer",
                "tokenizer_config",
            )
        ],
        curve=dvc("results/{scale}/halo/tables/training/{model}.csv"),
    log:
        "results/{scale}/logs/train_language_model/{model}.log",
    benchmark:
        "results/{scale}/benchmarks/train_language_model/{model}.tsv"
    wildcard_constraints:
        model="|".join(CATALOGUE.llama_models()) or "none",
    retries: 1
    threads: 1
    resources:
        mem_mb=2500,
        runtime=120,
    params:
        config=lambda wc: to_json(
            replace(CATALOGUE.llama_models()[wc.model][0], seeds=())
        ),
        seed=lambda wc: CATALOGUE.llama_models()[wc.model][1],
        code=code_of("halo.train_language_model"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.halo.train_language_model --train {input.train} --valid {input.valid}"
        " --config {params.config:q} --seed {params.seed} --state scratch/{params.code}"
        " --model {output.model} --curve {output.curve} > {log} 2>&1"


rule evaluate_rows:
    input:
        model=lambda wc: f"{CATALOGUE.language_model_folder(wc.model)}/model.json",
        calibration=lambda wc: f"data/prepared/{CATALOGUE.perplexity_study(wc.study).dataset}/valid/text.txt",
        test=lambda wc: f"data/prepared/{CATALOGUE.perplexity_study(wc.study).dataset}/test/text.txt",
        profile=f"results/{{scale}}/hardware/weight_profile/{CATALOGUE.technologies()[0]}.csv",
    output:
        table=dvc("results/{scale}/halo/tables/perplexity/{study}/{model}.csv"),
        losses=dvc("results/{scale}/halo/tables/perplexity/{study}/{model}.npz"),
    log:
        "results/{scale}/logs/evaluate_rows/{study}/{model}.log",
    benchmark:
        "results/{scale}/benchmarks/evaluate_rows/{study}/{model}.tsv"
    wildcard_constraints:
        model=names.LANGUAGE_MODEL,
    retries: 1
    threads: 1
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=GPUS,
        device=config["device"],
    params:
        config=lambda wc: to_json(
            replace(CATALOGUE.perplexity_study(wc.study), models=())
        ),
        folder=lambda wc: CATALOGUE.language_model_folder(wc.model),
        code=code_of("halo.evaluate_rows"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.halo.evaluate_rows --model {params.folder} --calibration {input.calibration}"
        " --test {input.test} --profile {input.profile} --config {params.config:q}"
        " --device {resources.device} --state scratch/{params.code} --table {output.table}"
        " --losses {output.losses} > {log} 2>&1"


rule study_array:
    input:
        profile=f"results/{{scale}}/hardware/weight_profile/{CATALOGUE.technologies()[0]}.csv",
    output:
        table=dvc("results/{scale}/halo/tables/array.csv"),
        shares=dvc("results/{scale}/halo/tables/array_shares.csv"),
    log:
        "results/{scale}/logs/study_array.log",
    benchmark:
        "results/{scale}/benchmarks/study_array.tsv"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=20,
    params:
        config=verbatim(to_json(SETTINGS.halo.array)),
        code=code_of("halo.study_array"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.halo.study_array --profile {input.profile} --config {params.config:q}"
        " --table {output.table} --shares {output.shares} > {log} 2>&1"


rule measure_array:
    input:
        table="results/{scale}/halo/tables/array.csv",
        shares="results/{scale}/halo/tables/array_shares.csv",
        profile=f"results/{{scale}}/hardware/weight_profile/{CATALOGUE.technologies()[0]}.csv",
    output:
        measurements=dvc("results/{scale}/halo/parts/measure_array.json"),
    log:
        "results/{scale}/logs/measure_array.log",
    benchmark:
        "results/{scale}/benchmarks/measure_array.tsv"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        netlist=lambda wc: CATALOGUE.judged_netlist(),
        code=code_of("halo.measure_array"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.halo.measure_array --table {input.table} --shares {input.shares}"
        " --profile {input.profile} --netlist={params.netlist:q} --measurements {output.measurements} > {log} 2>&1"


rule measure_perplexity:
    input:
        tables=[
            f"results/{{scale}}/halo/tables/perplexity/{study}/{model}.csv"
            for study, model in CATALOGUE.judged_tables()
        ],
        losses=[
            f"results/{{scale}}/halo/tables/perplexity/{study}/{model}.npz"
            for study, model in CATALOGUE.judged_tables()
        ],
        array="results/{scale}/halo/tables/array.csv",
    output:
        measurements=dvc("results/{scale}/halo/parts/measure_perplexity.json"),
    log:
        "results/{scale}/logs/measure_perplexity.log",
    benchmark:
        "results/{scale}/benchmarks/measure_perplexity.tsv"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        netlist=lambda wc: CATALOGUE.judged_netlist(),
        code=code_of("halo.measure_perplexity"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.halo.measure_perplexity --tables {input.tables} --losses {input.losses}"
        " --array {input.array} --netlist={params.netlist:q} --measurements {output.measurements} > {log} 2>&1"


rule export_row:
    input:
        model=lambda wc: f"{CATALOGUE.language_model_folder(HALO.exports[wc.export].model)}/model.json",
        calibration=lambda wc: f"data/prepared/{export_study(wc).dataset}/valid/text.txt",
        profile=f"results/{{scale}}/hardware/weight_profile/{CATALOGUE.technologies()[0]}.csv",
    output:
        record=dvc("results/{scale}/halo/exports/{export}/halo.json"),
        weights=dvc("results/{scale}/halo/exports/{export}/weights.safetensors"),
        schedule=dvc("results/{scale}/halo/exports/{export}/schedule.json"),
    log:
        "results/{scale}/logs/export_row/{export}.log",
    benchmark:
        "results/{scale}/benchmarks/export_row/{export}.tsv"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=GPUS,
        device=config["device"],
    params:
        config=lambda wc: to_json(replace(export_study(wc), models=(), rows=())),
        folder=lambda wc, input: parent_of(input.model),
        row=lambda wc: HALO.exports[wc.export].row,
        transition_ns=HALO.array.transition_ns,
        target=lambda wc, output: parent_of(output.record),
        code=code_of("halo.export_row"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.halo.export_row --model {params.folder} --calibration {input.calibration}"
        " --profile {input.profile} --config {params.config:q} --row {params.row}"
        " --device {resources.device} --transition-ns {params.transition_ns} --folder {params.target} > {log} 2>&1"


rule verify_export:
    input:
        exports=[
            f"results/{{scale}}/halo/exports/{name}/halo.json"
            for name in CATALOGUE.halo_exports()
        ],
        models=[
            f"{CATALOGUE.language_model_folder(export.model)}/model.json"
            for export in CATALOGUE.halo_exports().values()
        ],
        tests=[
            f"data/prepared/{CATALOGUE.perplexity_study(export.study).dataset}/test/text.txt"
            for export in CATALOGUE.halo_exports().values()
        ],
        losses=[
            f"results/{{scale}}/halo/tables/perplexity/{export.study}/{export.model}.npz"
            for export in CATALOGUE.halo_exports().values()
        ],
        profile=f"results/{{scale}}/hardware/weight_profile/{CATALOGUE.technologies()[0]}.csv",
    output:
        measurements=dvc("results/{scale}/halo/parts/verify_export.json"),
    log:
        "results/{scale}/logs/verify_export.log",
    benchmark:
        "results/{scale}/benchmarks/verify_export.tsv"
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        exports=lambda wc, input: " ".join(parent_of(file) for file in input.exports),
        models=lambda wc, input: " ".join(parent_of(file) for file in input.models),
        configs=verbatim(
            [
                to_json(
                    replace(
                        CATALOGUE.perplexity_study(export.study), models=(), rows=()
                    )
                )
                for export in CATALOGUE.halo_exports().values()
            ]
        ),
        code=code_of("halo.verify_export"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.halo.verify_export --exports {params.exports} --models {params.models}"
        " --tests {input.tests} --losses {input.losses} --configs {params.configs:q} --profile {input.profile}"
        " --measurements {output.measurements} > {log} 2>&1"


rule plot_perplexity:
    input:
        tables=[
            f"results/{{scale}}/halo/tables/perplexity/{study}/{model}.csv"
            for study, model in CATALOGUE.judged_tables()
        ],
    output:
        figure=report(
            dvc("results/{scale}/halo/figures/perplexity.svg"),
            caption="../report/perplexity.rst",
            category="halo",
            labels={"figure": "perplexity over bits"},
        ),
        drawn=dvc("results/{scale}/halo/figures/perplexity.csv"),
        parts=report(
            dvc("results/{scale}/halo/figures/parts.svg"),
            caption="../report/halo_parts.rst",
            category="halo",
            labels={"figure": "parts of the method"},
        ),
        drawn_parts=dvc("results/{scale}/halo/figures/parts.csv"),
    log:
        "results/{scale}/logs/plot_perplexity.log",
    benchmark:
        "results/{scale}/benchmarks/plot_perplexity.tsv"
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        code=code_of("halo.plot_perplexity"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.halo.plot_perplexity --tables {input.tables} --figure {output.figure}"
        " --drawn {output.drawn} --parts {output.parts} --drawn-parts {output.drawn_parts} > {log} 2>&1"


rule plot_array:
    input:
        table="results/{scale}/halo/tables/array.csv",
        shares="results/{scale}/halo/tables/array_shares.csv",
        perplexity=[
            f"results/{{scale}}/halo/tables/perplexity/{study}/{model}.csv"
            for study, model in CATALOGUE.perplexity_tables()
        ],
    output:
        premise=report(
            dvc("results/{scale}/halo/figures/premise.svg"),
            caption="../report/premise.rst",
            category="halo",
            labels={"figure": "the premise by multiplier"},
        ),
        drawn_premise=dvc("results/{scale}/halo/figures/premise.csv"),
        bounds=report(
            dvc("results/{scale}/halo/figures/bounds.svg"),
            caption="../report/bounds.rst",
            category="halo",
            labels={"figure": "what clocks can give"},
        ),
        drawn_bounds=dvc("results/{scale}/halo/figures/bounds.csv"),
        notes=dvc("results/{scale}/halo/figures/bounds.txt"),
    log:
        "results/{scale}/logs/plot_array.log",
    benchmark:
        "results/{scale}/benchmarks/plot_array.tsv"
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        netlist=lambda wc: CATALOGUE.judged_netlist(),
        code=code_of("halo.plot_array"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.halo.plot_array --table {input.table} --shares {input.shares}"
        " --perplexity {input.perplexity} --netlist={params.netlist:q} --premise {output.premise}"
        " --drawn-premise {output.drawn_premise} --bounds {output.bounds} --drawn-bounds {output.drawn_bounds}"
        " --notes {output.notes} > {log} 2>&1"


rule halo:
    input:
        f"results/{SCALE}/halo/measurements.json",
        expand(
            "results/{scale}/halo/figures/{figure}.svg",
            scale=SCALE,
            figure=(
                ["perplexity", "bounds", "premise"]
                if CATALOGUE.judged_tables()
                else []
            ),
        ),
