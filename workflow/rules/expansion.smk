# Condensed Data Expansion: a few images a class, the pool that guided inversion makes of them, a student of both.
EXPANSION = SETTINGS.expansion


rule condense:
    input:
        train=lambda wc: prepared_files(CATALOGUE.dataset_of(wc.model), "train"),
        teacher=lambda wc: expand(model_files(wc.model), scale=wc.scale),
    output:
        split=dvc(
            "results/{scale}/condensed_expansion/condensed/{model}/{condensation}/{images}/{seed}/dataset.json"
        ),
        images=dvc(
            "results/{scale}/condensed_expansion/condensed/{model}/{condensation}/{images}/{seed}/images.npy"
        ),
        labels=dvc(
            "results/{scale}/condensed_expansion/condensed/{model}/{condensation}/{images}/{seed}/labels.npy"
        ),
        # grid.png stands beside them, where the set may be shown
        progress=dvc(
            "results/{scale}/condensed_expansion/condensed/{model}/{condensation}/{images}/{seed}/progress.npz"
        ),
    log:
        "results/{scale}/logs/condense/{model}/{condensation}/{images}/{seed}.log",
    benchmark:
        "results/{scale}/benchmarks/condense/{model}/{condensation}/{images}/{seed}.tsv"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=720,
        gpu=GPUS,
        device=config["device"],
    params:
        config=verbatim(to_json(EXPANSION.condensation)),
        train=lambda wc, input: parent_of(input.train[0]),
        teacher=lambda wc, input: parent_of(input.teacher[0]),
        folder=lambda wc, output: parent_of(output.split),
        code=lambda wc: code_of(
            "expansion.condense", family_of(CATALOGUE.net_of(wc.model))
        ),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.expansion.condense --train {params.train} --teacher {params.teacher}"
        " --method {wildcards.condensation} --images-per-class {wildcards.images} --config {params.config:q}"
        " --seed {wildcards.seed} --device {resources.device} --folder {params.folder} > {log} 2>&1"


rule judge_condensed:
    input:
        sets=lambda wc: [
            f"results/{wc.scale}/{folder}/{file}"
            for folder in CATALOGUE.judged_sets(wc.judged)
            for file in ("dataset.json", "images.npy", "labels.npy", "progress.npz")
        ],
        test=lambda wc: prepared_files(
            CATALOGUE.dataset_of(EXPANSION.judged[wc.judged].teacher), "test"
        ),
    output:
        table=dvc("results/{scale}/condensed_expansion/tables/judged/{judged}.csv"),
    log:
        "results/{scale}/logs/judge_condensed/{judged}.log",
    benchmark:
        "results/{scale}/benchmarks/judge_condensed/{judged}.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=240,
        gpu=GPUS,
        device=config["device"],
    params:
        config=lambda wc: CATALOGUE.judged_json(wc.judged),
        sets=lambda wc: " ".join(
            f"results/{wc.scale}/{folder}"
            for folder in CATALOGUE.judged_sets(wc.judged)
        ),
        test=lambda wc, input: parent_of(input.test[0]),
        code=code_of("expansion.judge_condensed"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.expansion.judge_condensed --sets {params.sets} --test {params.test}"
        " --config {params.config:q} --device {resources.device} --table {output.table} > {log} 2>&1"


rule expand_set:
    input:
        condensed=lambda wc: [
            f"results/{wc.scale}/{CATALOGUE.condensed_of(wc.study, wc.arm, int(wc.seed))}/{file}"
            for file in ("dataset.json", "images.npy", "labels.npy")
        ],
        teacher=lambda wc: expand(
            model_files(EXPANSION.studies[wc.study].teacher), scale=wc.scale
        ),
        test=lambda wc: prepared_files(
            CATALOGUE.dataset_of(EXPANSION.studies[wc.study].teacher), "test"
        ),
    output:
        curve=dvc(
            "results/{scale}/condensed_expansion/runs/{study}/{arm}/{seed}/curve.csv"
        ),
        times=dvc(
            "results/{scale}/condensed_expansion/runs/{study}/{arm}/{seed}/times.csv"
        ),
        student=dvc(
            "results/{scale}/condensed_expansion/runs/{study}/{arm}/{seed}/student/model.json"
        ),
        weights=dvc(
            "results/{scale}/condensed_expansion/runs/{study}/{arm}/{seed}/student/weights.safetensors"
        ),
        pool=dvc(
            "results/{scale}/condensed_expansion/runs/{study}/{arm}/{seed}/pool/dataset.json"
        ),
        images=dvc(
            "results/{scale}/condensed_expansion/runs/{study}/{arm}/{seed}/pool/images.npy"
        ),
        labels=dvc(
            "results/{scale}/condensed_expansion/runs/{study}/{arm}/{seed}/pool/labels.npy"
        ),
    log:
        "results/{scale}/logs/expand_set/{study}/{arm}/{seed}.log",
    benchmark:
        "results/{scale}/benchmarks/expand_set/{study}/{arm}/{seed}.tsv"
    retries: 1
    threads: 1
    resources:
        mem_mb=2000,
        runtime=720,
        gpu=GPUS,
        device=config["device"],
    params:
        config=lambda wc: CATALOGUE.expansion_json(wc.study),
        teacher=lambda wc, input: parent_of(input.teacher[0]),
        condensed=lambda wc, input: parent_of(input.condensed[0]),
        test=lambda wc, input: parent_of(input.test[0]),
        folder=lambda wc, output: parent_of(output.curve),
        code=lambda wc: code_of(
            "expansion.expand_set",
            family_of(CATALOGUE.net_of(EXPANSION.studies[wc.study].teacher)),
            family_of(EXPANSION.studies[wc.study].student),
        ),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.expansion.expand_set --teacher {params.teacher} --condensed {params.condensed}"
        " --test {params.test} --config {params.config:q} --arm {wildcards.arm} --seed {wildcards.seed}"
        " --study {wildcards.study} --device {resources.device} --state scratch/{params.code}"
        " --folder {params.folder} --curve {output.curve} --times {output.times} > {log} 2>&1"


rule compare_pools:
    input:
        pools=lambda wc: [
            f"results/{wc.scale}/condensed_expansion/runs/{study}/{arm}/{seed}/pool/{file}"
            for study, arm, seed in CATALOGUE.expansion_runs()
            if study == wc.study
            for file in ("dataset.json", "images.npy", "labels.npy")
        ],
        condensed=lambda wc: [
            f"results/{wc.scale}/{folder}/{file}"
            for folder in expanded_sets(wc.study)
            for file in ("dataset.json", "images.npy", "labels.npy")
        ],
        teacher=lambda wc: expand(
            model_files(EXPANSION.studies[wc.study].teacher), scale=wc.scale
        ),
        train=lambda wc: prepared_files(
            CATALOGUE.dataset_of(EXPANSION.studies[wc.study].teacher), "train"
        ),
        test=lambda wc: prepared_files(
            CATALOGUE.dataset_of(EXPANSION.studies[wc.study].teacher), "test"
        ),
    output:
        features=dvc("results/{scale}/condensed_expansion/tables/features/{study}.csv"),
        nearest=dvc("results/{scale}/condensed_expansion/tables/nearest/{study}.csv"),
    log:
        "results/{scale}/logs/compare_pools/{study}.log",
    benchmark:
        "results/{scale}/benchmarks/compare_pools/{study}.tsv"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=120,
        gpu=GPUS,
        device=config["device"],
    params:
        runs=lambda wc: " ".join(
            f"results/{wc.scale}/condensed_expansion/runs/{study}/{arm}/{seed}"
            for study, arm, seed in CATALOGUE.expansion_runs()
            if study == wc.study
        ),
        condensed=lambda wc: " ".join(
            f"results/{wc.scale}/{folder}" for folder in expanded_sets(wc.study)
        ),
        teacher=lambda wc, input: parent_of(input.teacher[0]),
        train=lambda wc, input: parent_of(input.train[0]),
        test=lambda wc, input: parent_of(input.test[0]),
        code=lambda wc: code_of(
            "expansion.compare_pools",
            family_of(CATALOGUE.net_of(EXPANSION.studies[wc.study].teacher)),
        ),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.expansion.compare_pools --teacher {params.teacher} --train {params.train}"
        " --test {params.test} --runs {params.runs} --condensed {params.condensed} --study {wildcards.study}"
        " --device {resources.device} --features {output.features} --nearest {output.nearest} > {log} 2>&1"


rule measure_expansion:
    input:
        curves=expansion_curves(),
        features=pool_tables("features"),
        nearest=pool_tables("nearest"),
    output:
        measurements=dvc(
            "results/{scale}/condensed_expansion/parts/measure_expansion.json"
        ),
    log:
        "results/{scale}/logs/measure_expansion.log",
    benchmark:
        "results/{scale}/benchmarks/measure_expansion.tsv"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        studies=verbatim(CATALOGUE.expansion_differences()),
        code=code_of("expansion.measure_expansion"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.expansion.measure_expansion --curves {input.curves} --features {input.features}"
        " --nearest {input.nearest} --studies {params.studies:q} --measurements {output.measurements} > {log} 2>&1"


rule plot_expansion:
    input:
        curves=expansion_curves(),
        features=pool_tables("features"),
        nearest=pool_tables("nearest"),
        judged=judged_tables(),
    output:
        arms=report(
            dvc("results/{scale}/condensed_expansion/figures/arms.svg"),
            caption="../report/expansion_arms.rst",
            category="condensed_expansion",
            labels={"figure": "accuracy of every arm"},
        ),
        drawn_arms=dvc("results/{scale}/condensed_expansion/figures/arms.csv"),
        distances=report(
            dvc("results/{scale}/condensed_expansion/figures/distances.svg"),
            caption="../report/expansion_distances.rst",
            category="condensed_expansion",
            labels={"figure": "distances to real images"},
        ),
        drawn_distances=dvc("results/{scale}/condensed_expansion/figures/distances.csv"),
        condensed=report(
            dvc("results/{scale}/condensed_expansion/figures/condensed.svg"),
            caption="../report/condensed.rst",
            category="condensed_expansion",
            labels={"figure": "condensed sets alone"},
        ),
        drawn_condensed=dvc("results/{scale}/condensed_expansion/figures/condensed.csv"),
    log:
        "results/{scale}/logs/plot_expansion.log",
    benchmark:
        "results/{scale}/benchmarks/plot_expansion.tsv"
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        code=code_of("expansion.plot_expansion"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.expansion.plot_expansion --curves {input.curves} --features {input.features}"
        " --nearest {input.nearest} --judged {input.judged} --arms {output.arms} --drawn-arms {output.drawn_arms}"
        " --distances {output.distances} --drawn-distances {output.drawn_distances}"
        " --condensed {output.condensed} --drawn-condensed {output.drawn_condensed} > {log} 2>&1"


rule plot_condensed:
    input:
        sets=lambda wc: [
            f"results/{wc.scale}/{folder}/{file}"
            for _, folder in shown_sets()
            for file in ("dataset.json", "images.npy", "labels.npy")
        ],
    output:
        figure=report(
            dvc("results/{scale}/condensed_expansion/figures/images.svg"),
            caption="../report/expansion_images.rst",
            category="condensed_expansion",
            labels={"figure": "condensed and inverted images"},
        ),
        drawn=dvc("results/{scale}/condensed_expansion/figures/images.csv"),
    log:
        "results/{scale}/logs/plot_condensed.log",
    benchmark:
        "results/{scale}/benchmarks/plot_condensed.tsv"
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        sets=lambda wc: " ".join(
            f"results/{wc.scale}/{folder}" for _, folder in shown_sets()
        ),
        names=" ".join(name for name, _ in shown_sets()),
        code=code_of("expansion.plot_condensed"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.expansion.plot_condensed --sets {params.sets} --names {params.names}"
        " --figure {output.figure} --drawn {output.drawn} > {log} 2>&1"


rule condensed_expansion:
    input:
        f"results/{SCALE}/condensed_expansion/measurements.json"
        if CATALOGUE.expansion_runs()
        else [],
        expand(
            "results/{scale}/condensed_expansion/figures/{figure}.svg",
            scale=SCALE,
            figure=(
                ["arms", "distances", "condensed", "images"]
                if CATALOGUE.expansion_runs()
                else []
            ),
        ),
