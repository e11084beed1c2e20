# Raw files from the first source that answers, then the prepared form that every stage reads.


rule fetch_dataset:
    output:
        manifest=none("data/raw/{dataset}/source.json"),
    log:
        "data/logs/fetch_dataset/{dataset}.log",
    benchmark:
        "data/benchmarks/fetch_dataset/{dataset}.tsv"
    resources:
        mem_mb=500,
        runtime=30,
    params:
        entry=lambda wc: CATALOGUE.entry_json(wc.dataset),
        code=code_of("datasets.fetch_dataset"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.datasets.fetch_dataset --name {wildcards.dataset} --entry {params.entry:q}"
        " --manifest {output.manifest} > {log} 2>&1"


rule prepare_images:
    input:
        manifest="data/raw/{dataset}/source.json",
    output:
        images=dvc("data/prepared/{dataset}/{split}/images.npy"),
        labels=dvc("data/prepared/{dataset}/{split}/labels.npy"),
        info=dvc("data/prepared/{dataset}/{split}/dataset.json"),
    log:
        "data/logs/prepare_images/{dataset}-{split}.log",
    benchmark:
        "data/benchmarks/prepare_images/{dataset}-{split}.tsv"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        entry=lambda wc: CATALOGUE.entry_json(wc.dataset),
        code=code_of("datasets.prepare_images"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.datasets.prepare_images --entry {params.entry:q} --manifest {input.manifest}"
        " --split {wildcards.split} --images {output.images} --labels {output.labels} --info {output.info}"
        " > {log} 2>&1"


rule prepare_text:
    input:
        manifest="data/raw/{dataset}/source.json",
    output:
        text=dvc("data/prepared/{dataset}/{split}/text.txt"),
        info=dvc("data/prepared/{dataset}/{split}/text.json"),
    log:
        "data/logs/prepare_text/{dataset}-{split}.log",
    benchmark:
        "data/benchmarks/prepare_text/{dataset}-{split}.tsv"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        entry=lambda wc: CATALOGUE.entry_json(wc.dataset),
        code=code_of("datasets.prepare_text"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.datasets.prepare_text --entry {params.entry:q} --manifest {input.manifest}"
        " --split {wildcards.split} --text {output.text} --info {output.info} > {log} 2>&1"


rule prepare_trajectories:
    input:
        manifest="data/raw/{dataset}/source.json",
    output:
        trajectories=dvc("data/prepared/{dataset}/{split}/trajectories.parquet"),
        info=dvc("data/prepared/{dataset}/{split}/trajectories.json"),
    log:
        "data/logs/prepare_trajectories/{dataset}-{split}.log",
    benchmark:
        "data/benchmarks/prepare_trajectories/{dataset}-{split}.tsv"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        entry=lambda wc: CATALOGUE.entry_json(wc.dataset),
        code=code_of("datasets.prepare_trajectories"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.datasets.prepare_trajectories --entry {params.entry:q}"
        " --manifest {input.manifest} --split {wildcards.split} --trajectories {output.trajectories}"
        " --info {output.info} > {log} 2>&1"


rule prepare_videos:
    input:
        manifest="data/raw/{dataset}/source.json",
    output:
        # copies of what may not be passed on
        index=none("data/prepared/{dataset}/videos/index.csv"),
    log:
        "data/logs/prepare_videos/{dataset}.log",
    benchmark:
        "data/benchmarks/prepare_videos/{dataset}.tsv"
    resources:
        mem_mb=500,
        runtime=10,
    params:
        videos=lambda wc, output: parent_of(output.index),
        code=code_of("datasets.prepare_videos"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.datasets.prepare_videos --manifest {input.manifest} --videos {params.videos}"
        " > {log} 2>&1"


rule prepare_language_model:
    input:
        manifest="data/raw/{model}/source.json",
    output:
        # others beside it; of a user's own folder they are links
        model=none("data/prepared/language-models/{model}/model.json"),
    log:
        "data/logs/prepare_language_model/{model}.log",
    benchmark:
        "data/benchmarks/prepare_language_model/{model}.tsv"
    wildcard_constraints:
        model="|".join(map(re.escape, CATALOGUE.registry.language_models)),
    resources:
        mem_mb=3000,
        runtime=30,
    params:
        entry=lambda wc: CATALOGUE.entry_json(wc.model),
        code=code_of("datasets.prepare_language_model"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.datasets.prepare_language_model --entry {params.entry:q}"
        " --manifest {input.manifest} --model {output.model} > {log} 2>&1"


rule prepare_pretrained:
    input:
        manifest="data/raw/{model}/source.json",
    output:
        weights=dvc("results/{scale}/models/{model}/weights.safetensors"),
        model=dvc("results/{scale}/models/{model}/model.json"),
    log:
        "results/{scale}/logs/prepare_pretrained/{model}.log",
    benchmark:
        "results/{scale}/benchmarks/prepare_pretrained/{model}.tsv"
    wildcard_constraints:
        model="|".join(CATALOGUE.registry.pretrained),
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        entry=lambda wc: CATALOGUE.entry_json(wc.model),
        code=lambda wc: code_of(
            "datasets.prepare_pretrained", family_of(CATALOGUE.net_of(wc.model))
        ),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.datasets.prepare_pretrained --name {wildcards.model}"
        " --entry {params.entry:q} --manifest {input.manifest} --weights {output.weights}"
        " --model {output.model} > {log} 2>&1"


# what a prepared split says of itself, by kind
ABOUT = {
    "images": "dataset.json",
    "text": "text.json",
    "trajectories": "trajectories.json",
}


# every data set that this scale uses and some source has
rule datasets:
    input:
        [
            f"data/prepared/{name}/{split}/{ABOUT[CATALOGUE.registry.datasets[name].kind]}"
            for name in sorted(CATALOGUE.wanted() - CATALOGUE.unavailable)
            if name in CATALOGUE.registry.datasets
            for split in CATALOGUE.registry.datasets[name].splits
        ],
