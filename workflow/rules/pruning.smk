# CRISP: networks pruned for the classes of one user, their storage, and what they would cost on sparse tensor cores.


rule study_accuracy:
    input:
        weights="results/{scale}/models/{model}/weights.safetensors",
        info="results/{scale}/models/{model}/model.json",
        train=lambda wc: prepared_files(CATALOGUE.dataset_of(wc.model), "train"),
        test=lambda wc: prepared_files(CATALOGUE.dataset_of(wc.model), "test"),
    output:
        table=dvc(
            "results/{scale}/crisp/tables/accuracy/{study}/{model}.user{seed}.csv"
        ),
        layers=dvc("results/{scale}/crisp/tables/layers/{study}/{model}.user{seed}.csv"),
    log:
        "results/{scale}/logs/study_accuracy/{study}/{model}.user{seed}.log",
    benchmark:
        "results/{scale}/benchmarks/study_accuracy/{study}/{model}.user{seed}.tsv"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=240,
        gpu=GPUS,
        device=config["device"],
    params:
        config=lambda wc: to_json(
            replace(SETTINGS.pruning.studies[wc.study], models=(), seeds=())
        ),
        model=lambda wc, input: parent_of(input.info),
        train=lambda wc, input: parent_of(input.train[0]),
        test=lambda wc, input: parent_of(input.test[0]),
        code=lambda wc: code_of(
            "pruning.study_accuracy", family_of(CATALOGUE.net_of(wc.model))
        ),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.pruning.study_accuracy --model {params.model} --train {params.train}"
        " --test {params.test} --config {params.config:q} --seed {wildcards.seed} --device {resources.device}"
        " --table {output.table} --layers {output.layers} > {log} 2>&1"


rule verify_patterns:
    output:
        measurements=dvc("results/{scale}/crisp/parts/verify_patterns.json"),
    log:
        "results/{scale}/logs/verify_patterns.log",
    benchmark:
        "results/{scale}/benchmarks/verify_patterns.tsv"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=15,
    params:
        cases=SETTINGS.pruning.verified_layers,
        code=code_of("pruning.verify_patterns"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.pruning.verify_patterns --cases {params.cases}"
        " --measurements {output.measurements} > {log} 2>&1"


rule study_accelerator:
    input:
        layers=f"results/{{scale}}/hardware/layers/{SETTINGS.pruning.accelerator}.csv",
    output:
        table=dvc("results/{scale}/crisp/tables/accelerator.csv"),
        by_layer=dvc("results/{scale}/crisp/tables/accelerator_by_layer.csv"),
    log:
        "results/{scale}/logs/study_accelerator.log",
    benchmark:
        "results/{scale}/benchmarks/study_accelerator.tsv"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code_of("pruning.study_accelerator"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.pruning.study_accelerator --layers {input.layers} --table {output.table}"
        " --by-layer {output.by_layer} > {log} 2>&1"


rule plot_accelerator:
    input:
        by_layer="results/{scale}/crisp/tables/accelerator_by_layer.csv",
    output:
        figure=report(
            dvc("results/{scale}/crisp/figures/accelerator.svg"),
            caption="../report/accelerator.rst",
            category="crisp",
            labels={"figure": "sparse tensor cores"},
        ),
        drawn=dvc("results/{scale}/crisp/figures/accelerator.csv"),
    log:
        "results/{scale}/logs/plot_accelerator.log",
    benchmark:
        "results/{scale}/benchmarks/plot_accelerator.tsv"
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        code=code_of("pruning.plot_accelerator"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.pruning.plot_accelerator --by-layer {input.by_layer}"
        " --figure {output.figure} --drawn {output.drawn} > {log} 2>&1"


rule study_storage:
    input:
        layers=f"results/{{scale}}/hardware/layers/{SETTINGS.pruning.accelerator}.csv",
    output:
        table=dvc("results/{scale}/crisp/tables/storage.csv"),
    log:
        "results/{scale}/logs/study_storage.log",
    benchmark:
        "results/{scale}/benchmarks/study_storage.tsv"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        code=code_of("pruning.study_storage"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.pruning.study_storage --layers {input.layers} --table {output.table} > {log} 2>&1"


rule plot_storage:
    input:
        table="results/{scale}/crisp/tables/storage.csv",
    output:
        figure=report(
            dvc("results/{scale}/crisp/figures/storage.svg"),
            caption="../report/storage.rst",
            category="crisp",
            labels={"figure": "storage"},
        ),
        drawn=dvc("results/{scale}/crisp/figures/storage.csv"),
    log:
        "results/{scale}/logs/plot_storage.log",
    benchmark:
        "results/{scale}/benchmarks/plot_storage.tsv"
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        code=code_of("pruning.plot_storage"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.pruning.plot_storage --table {input.table}"
        " --figure {output.figure} --drawn {output.drawn} > {log} 2>&1"


rule plot_accuracy:
    input:
        accuracy=[
            f"results/{{scale}}/crisp/tables/accuracy/{study}/{model}.user{seed}.csv"
            for study, model, seed in CATALOGUE.pruning_studies()
        ],
    output:
        figure=report(
            dvc("results/{scale}/crisp/figures/accuracy.svg"),
            caption="../report/accuracy.rst",
            category="crisp",
            labels={"figure": "accuracy over sparsity"},
        ),
        drawn=dvc("results/{scale}/crisp/figures/accuracy.csv"),
        parts=report(
            dvc("results/{scale}/crisp/figures/parts.svg"),
            caption="../report/parts.rst",
            category="crisp",
            labels={"figure": "parts of the method"},
        ),
        drawn_parts=dvc("results/{scale}/crisp/figures/parts.csv"),
    log:
        "results/{scale}/logs/plot_accuracy.log",
    benchmark:
        "results/{scale}/benchmarks/plot_accuracy.tsv"
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        code=code_of("pruning.plot_accuracy"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.pruning.plot_accuracy --accuracy {input.accuracy} --figure {output.figure}"
        " --drawn {output.drawn} --parts {output.parts} --drawn-parts {output.drawn_parts} > {log} 2>&1"


rule measure_pruning:
    input:
        accuracy=[
            f"results/{{scale}}/crisp/tables/accuracy/{study}/{model}.user{seed}.csv"
            for study, model, seed in CATALOGUE.pruning_studies()
        ],
        layers=[
            f"results/{{scale}}/crisp/tables/layers/{study}/{model}.user{seed}.csv"
            for study, model, seed in CATALOGUE.pruning_studies()
        ],
        accelerator="results/{scale}/crisp/tables/accelerator.csv",
    output:
        measurements=dvc("results/{scale}/crisp/parts/measure_pruning.json"),
    log:
        "results/{scale}/logs/measure_pruning.log",
    benchmark:
        "results/{scale}/benchmarks/measure_pruning.tsv"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        code=code_of("pruning.measure_pruning"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.pruning.measure_pruning --accuracy {input.accuracy} --layers {input.layers}"
        " --accelerator {input.accelerator} --measurements {output.measurements} > {log} 2>&1"


rule bench_sparse:
    output:
        bench=none("results/{scale}/bench/sparse.json"),
        table=none("results/{scale}/bench/sparse.csv"),
    log:
        "results/{scale}/logs/bench_sparse.log",
    benchmark:
        "results/{scale}/benchmarks/bench_sparse.tsv"
    threads: workflow.cores
    resources:
        mem_mb=3000,
        runtime=30,
    params:
        code=code_of("pruning.bench_sparse"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.pruning.bench_sparse --bench {output.bench} --table {output.table} > {log} 2>&1"


rule bench_networks:
    output:
        bench=none("results/{scale}/bench/networks.json"),
        table=none("results/{scale}/bench/networks.csv"),
    log:
        "results/{scale}/logs/bench_networks.log",
    benchmark:
        "results/{scale}/benchmarks/bench_networks.tsv"
    threads: workflow.cores
    resources:
        mem_mb=3000,
        runtime=30,
    params:
        code=code_of("pruning.bench_networks"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.pruning.bench_networks --bench {output.bench} --table {output.table} > {log} 2>&1"


rule crisp:
    input:
        f"results/{SCALE}/crisp/measurements.json",
        expand(
            "results/{scale}/crisp/figures/{figure}.svg",
            scale=SCALE,
            figure=["accelerator", "storage"] if SETTINGS.pruning.accelerator else [],
        ),
        expand(
            "results/{scale}/crisp/figures/accuracy.svg",
            scale=SCALE if CATALOGUE.pruning_studies() else [],
        ),
