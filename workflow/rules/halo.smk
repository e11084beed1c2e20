# HALO: language models on the few weight values that are fast, their perplexity, and the array that they would run on.


rule train_language_model:
    input:
        train=lambda wc: f"data/prepared/{CATALOGUE.llama_models()[wc.model][0].dataset}/train/text.txt",
        valid=lambda wc: f"data/prepared/{CATALOGUE.llama_models()[wc.model][0].dataset}/valid/text.txt",
    output:
        # its other files stand beside it
        model=none("results/{scale}/models/{model}/model.json"),
        curve=dvc("results/{scale}/halo/tables/training/{model}.csv"),
    log:
        "results/{scale}/logs/train_language_model/{model}.log",
    benchmark:
        "results/{scale}/benchmarks/train_language_model/{model}.tsv"
    wildcard_constraints:
        model="|".join(CATALOGUE.llama_models()) or "none",
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
        calibration=lambda wc: f"data/prepared/{SETTINGS.halo.perplexity[wc.study].dataset}/valid/text.txt",
        test=lambda wc: f"data/prepared/{SETTINGS.halo.perplexity[wc.study].dataset}/test/text.txt",
        profile=f"results/{{scale}}/hardware/weight_profile/{CATALOGUE.technologies()[0]}.csv",
    output:
        table=dvc("results/{scale}/halo/tables/perplexity/{study}/{model}.csv"),
        losses=dvc("results/{scale}/halo/tables/perplexity/{study}/{model}.npz"),
    log:
        "results/{scale}/logs/evaluate_rows/{study}/{model}.log",
    benchmark:
        "results/{scale}/benchmarks/evaluate_rows/{study}/{model}.tsv"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        config=lambda wc: to_json(
            replace(SETTINGS.halo.perplexity[wc.study], models=())
        ),
        folder=lambda wc: CATALOGUE.language_model_folder(wc.model),
        code=code_of("halo.evaluate_rows"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.halo.evaluate_rows --model {params.folder} --calibration {input.calibration}"
        " --test {input.test} --profile {input.profile} --config {params.config:q}"
        " --state scratch/{params.code} --table {output.table} --losses {output.losses} > {log} 2>&1"
