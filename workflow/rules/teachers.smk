# Teachers: every later stage distils, prunes or quantises one of them.


rule train_teacher:
    input:
        train=lambda wc: prepared_files(CATALOGUE.recipe_of(wc.model).dataset, "train"),
        test=lambda wc: prepared_files(CATALOGUE.recipe_of(wc.model).dataset, "test"),
    output:
        weights=dvc("results/{scale}/models/{model}/weights.safetensors"),
        model=dvc("results/{scale}/models/{model}/model.json"),
        curve=dvc("results/{scale}/models/{model}/curve.csv"),
        metrics=dvc("results/{scale}/models/{model}/metrics.json"),
    log:
        "results/{scale}/logs/train_teacher/{model}.log",
    benchmark:
        "results/{scale}/benchmarks/train_teacher/{model}.tsv"
    wildcard_constraints:
        model="|".join(CATALOGUE.teacher_models()) or "none",
    priority: EARLY
    retries: 1
    threads: 1
    resources:
        mem_mb=3000,
        runtime=120,
        gpu=GPUS,
        device=config["device"],
    params:
        recipe=lambda wc: to_json(CATALOGUE.recipe_of(wc.model)),
        seed=lambda wc: CATALOGUE.seed_of(wc.model),
        train=lambda wc, input: parent_of(input.train[0]),
        test=lambda wc, input: parent_of(input.test[0]),
        code=lambda wc: code_of(
            "teachers.train_teacher", family_of(CATALOGUE.net_of(wc.model))
        ),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.teachers.train_teacher --train {params.train} --test {params.test}"
        " --recipe {params.recipe:q} --seed {params.seed} --state scratch/{params.code}"
        " --device {resources.device} --weights {output.weights} --model {output.model}"
        " --curve {output.curve} --metrics {output.metrics} > {log} 2>&1"


rule plot_training:
    input:
        curves=lambda wc: [
            f"results/{wc.scale}/models/{model}/curve.csv"
            for model in CATALOGUE.teachers_on(wc.dataset)
        ],
    output:
        figure=report(
            dvc("results/{scale}/teachers/figures/{dataset}.svg"),
            caption="../report/training.rst",
            category="teachers",
            labels={"figure": "accuracy over epochs", "data set": "{dataset}"},
        ),
        drawn=dvc("results/{scale}/teachers/figures/{dataset}.csv"),
    log:
        "results/{scale}/logs/plot_training/{dataset}.log",
    benchmark:
        "results/{scale}/benchmarks/plot_training/{dataset}.tsv"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        code=code_of("teachers.plot_training"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.teachers.plot_training --curves {input.curves} --figure {output.figure}"
        " --drawn {output.drawn} > {log} 2>&1"


rule evaluate_pretrained:
    input:
        model=lambda wc: expand(model_files(wc.model), scale=wc.scale),
        test=lambda wc: prepared_files(CATALOGUE.dataset_of(wc.model), "test"),
    output:
        metrics=dvc("results/{scale}/models/{model}/metrics.json"),
    log:
        "results/{scale}/logs/evaluate_pretrained/{model}.log",
    benchmark:
        "results/{scale}/benchmarks/evaluate_pretrained/{model}.tsv"
    wildcard_constraints:
        model="|".join(CATALOGUE.registry.pretrained),
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
        gpu=GPUS,
        device=config["device"],
    params:
        model=lambda wc, input: parent_of(input.model[0]),
        test=lambda wc, input: parent_of(input.test[0]),
        code=lambda wc: code_of(
            "teachers.evaluate_pretrained", family_of(CATALOGUE.net_of(wc.model))
        ),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.teachers.evaluate_pretrained --model {params.model} --test {params.test}"
        " --device {resources.device} --metrics {output.metrics} > {log} 2>&1"


rule teachers:
    input:
        [
            f"results/{SCALE}/models/{model}/metrics.json"
            for model in CATALOGUE.pretrained_models()
        ],
        [
            f"results/{SCALE}/models/{model}/model.json"
            for model in CATALOGUE.teacher_models()
        ],
        [
            f"results/{SCALE}/teachers/figures/{dataset}.svg"
            for dataset in CATALOGUE.taught_datasets()
        ],
