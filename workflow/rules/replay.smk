# PRE-DFKD: students that learn from a teacher without data, with and without rehearsal, and how steady they are.
REPLAY = SETTINGS.replay


rule distil_student:
    input:
        teacher=lambda wc: expand(model_files(wc.model), scale=wc.scale),
        test=lambda wc: prepared_files(CATALOGUE.dataset_of(wc.model), "test"),
        # read by the one control that may see images
        train=lambda wc: prepared_files(CATALOGUE.dataset_of(wc.model), "train"),
    output:
        curve=dvc(
            "results/{scale}/pre_dfkd/runs/{study}/{model}/{method}/{seed}/curve.csv"
        ),
        times=dvc(
            "results/{scale}/pre_dfkd/runs/{study}/{model}/{method}/{seed}/times.csv"
        ),
        samples=dvc(
            "results/{scale}/pre_dfkd/runs/{study}/{model}/{method}/{seed}/samples.npz"
        ),
        # model folders of the generator and the VAE stand beside it, where there are any
        student=dvc(
            "results/{scale}/pre_dfkd/runs/{study}/{model}/{method}/{seed}/student/model.json"
        ),
        weights=dvc(
            "results/{scale}/pre_dfkd/runs/{study}/{model}/{method}/{seed}/student/weights.safetensors"
        ),
    log:
        "results/{scale}/logs/distil_student/{study}/{model}/{method}/{seed}.log",
    benchmark:
        "results/{scale}/benchmarks/distil_student/{study}/{model}/{method}/{seed}.tsv"
    retries: 1
    threads: 1
    resources:
        mem_mb=2000,
        runtime=720,
        gpu=GPUS,
        device=config["device"],
    params:
        config=lambda wc: CATALOGUE.distil_json(wc.study),
        teacher=lambda wc, input: parent_of(input.teacher[0]),
        test=lambda wc, input: parent_of(input.test[0]),
        train=lambda wc, input: parent_of(input.train[0]),
        folder=lambda wc, output: parent_of(output.curve),
        code=lambda wc: code_of(
            "replay.distil_student",
            family_of(CATALOGUE.net_of(wc.model)),
            family_of(REPLAY.studies[wc.study].student),
        ),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.replay.distil_student --teacher {params.teacher} --test {params.test}"
        " --train {params.train} --config {params.config:q} --method {wildcards.method} --seed {wildcards.seed}"
        " --study {wildcards.study} --device {resources.device} --state scratch/{params.code}"
        " --folder {params.folder} --curve {output.curve} --times {output.times} > {log} 2>&1"


rule study_labels:
    input:
        teacher=lambda wc: expand(model_files(wc.model), scale=wc.scale),
        test=lambda wc: prepared_files(CATALOGUE.dataset_of(wc.model), "test"),
        student="results/{scale}/pre_dfkd/runs/{study}/{model}/pre/{seed}/student/model.json",
    output:
        table=dvc("results/{scale}/pre_dfkd/tables/labels/{study}/{model}/{seed}.csv"),
    log:
        "results/{scale}/logs/study_labels/{study}/{model}/{seed}.log",
    benchmark:
        "results/{scale}/benchmarks/study_labels/{study}/{model}/{seed}.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
        gpu=GPUS,
        device=config["device"],
    params:
        config=verbatim(to_json(REPLAY.labels)),
        teacher=lambda wc, input: parent_of(input.teacher[0]),
        test=lambda wc, input: parent_of(input.test[0]),
        run=lambda wc, input: parent_of(parent_of(input.student)),
        code=lambda wc: code_of(
            "replay.study_labels",
            "lib.nets.generator",
            family_of(CATALOGUE.net_of(wc.model)),
            family_of(REPLAY.studies[wc.study].student),
        ),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.replay.study_labels --teacher {params.teacher} --test {params.test}"
        " --run {params.run} --config {params.config:q} --seed {wildcards.seed} --device {resources.device}"
        " --table {output.table} > {log} 2>&1"


rule measure_replay:
    input:
        curves=run_curves(),
        labels=label_tables(),
    output:
        measurements=dvc("results/{scale}/pre_dfkd/parts/measure_replay.json"),
    log:
        "results/{scale}/logs/measure_replay.log",
    benchmark:
        "results/{scale}/benchmarks/measure_replay.tsv"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        code=code_of("replay.measure_replay"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.replay.measure_replay --curves {input.curves} --labels {input.labels}"
        " --measurements {output.measurements} > {log} 2>&1"


rule plot_replay:
    input:
        curves=run_curves(),
        labels=label_tables(),
    output:
        curves=report(
            dvc("results/{scale}/pre_dfkd/figures/curves.svg"),
            caption="../report/replay_curves.rst",
            category="pre_dfkd",
            labels={"figure": "accuracy over steps"},
        ),
        drawn_curves=dvc("results/{scale}/pre_dfkd/figures/curves.csv"),
        falls=report(
            dvc("results/{scale}/pre_dfkd/figures/falls.svg"),
            caption="../report/falls.rst",
            category="pre_dfkd",
            labels={"figure": "what rehearsal changes"},
        ),
        drawn_falls=dvc("results/{scale}/pre_dfkd/figures/falls.csv"),
        labels=report(
            dvc("results/{scale}/pre_dfkd/figures/labels.svg"),
            caption="../report/labels.rst",
            category="pre_dfkd",
            labels={"figure": "labels kept"},
        ),
        drawn_labels=dvc("results/{scale}/pre_dfkd/figures/labels.csv"),
    log:
        "results/{scale}/logs/plot_replay.log",
    benchmark:
        "results/{scale}/benchmarks/plot_replay.tsv"
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        code=code_of("replay.plot_replay"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.replay.plot_replay --curves {input.curves} --labels {input.labels}"
        " --curves-figure {output.curves} --drawn-curves {output.drawn_curves} --falls {output.falls}"
        " --drawn-falls {output.drawn_falls} --labels-figure {output.labels} --drawn-labels {output.drawn_labels}"
        " > {log} 2>&1"


rule plot_samples:
    input:
        samples=[
            f"results/{{scale}}/pre_dfkd/runs/{study}/{teacher}/{method}/{seed}/samples.npz"
            for study, teacher, method, seed in sampled_runs()
        ],
    output:
        figure=report(
            dvc("results/{scale}/pre_dfkd/figures/samples.svg"),
            caption="../report/samples.rst",
            category="pre_dfkd",
            labels={"figure": "images that were made"},
        ),
        drawn=dvc("results/{scale}/pre_dfkd/figures/samples.csv"),
    log:
        "results/{scale}/logs/plot_samples.log",
    benchmark:
        "results/{scale}/benchmarks/plot_samples.tsv"
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        names=" ".join(study for study, *_ in sampled_runs()),
        code=code_of("replay.plot_samples"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.replay.plot_samples --samples {input.samples} --names {params.names}"
        " --figure {output.figure} --drawn {output.drawn} > {log} 2>&1"


rule bench_replay:
    output:
        bench=none("results/{scale}/bench/replay.json"),
        table=none("results/{scale}/bench/replay.csv"),
    log:
        "results/{scale}/logs/bench_replay.log",
    benchmark:
        "results/{scale}/benchmarks/bench_replay.tsv"
    threads: workflow.cores
    resources:
        mem_mb=3000,
        runtime=15,
    params:
        code=code_of("replay.bench_replay"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.replay.bench_replay --bench {output.bench} --table {output.table} > {log} 2>&1"


rule pre_dfkd:
    input:
        f"results/{SCALE}/pre_dfkd/measurements.json" if CATALOGUE.distil_runs() else [],
        expand(
            "results/{scale}/pre_dfkd/figures/{figure}.svg",
            scale=SCALE,
            figure=(
                ["curves", "falls", "labels", "samples"]
                if CATALOGUE.distil_runs()
                else []
            ),
        ),
