# The paper's own arm: flat hands by a GAN and by cut and paste, against rendered ones.


rule train_compositor:
    input:
        datasets=[
            f"data/rendered/{{scale}}/{name}/dataset/annotations.json"
            for name in SETTINGS.hands.planar.datasets
        ],
    output:
        weights=dvc("results/{scale}/egogestvid/models/compositor/{seed}.safetensors"),
    log:
        "results/{scale}/logs/train_compositor/{seed}.log",
    benchmark:
        "results/{scale}/benchmarks/train_compositor/{seed}.tsv"
    retries: 1
    threads: 1
    resources:
        mem_mb=2000,
        runtime=240,
        gpu=GPUS,
        device=config["device"],
    params:
        config=verbatim(to_json(SETTINGS.hands.planar.compositor)),
        datasets=lambda wc, input: [parent_of(file) for file in input.datasets],
        code=code_of("hands.planar.train_compositor"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.hands.planar.train_compositor --datasets {params.datasets} --config {params.config:q}"
        " --seed {wildcards.seed} --device {resources.device} --state scratch/{params.code}"
        " --weights {output.weights} > {log} 2>&1"


rule compare_arms:
    input:
        datasets=[
            f"data/rendered/{{scale}}/{name}/dataset/annotations.json"
            for name in SETTINGS.hands.planar.datasets
        ],
        articulated=f"data/rendered/{{scale}}/{SETTINGS.hands.planar.articulated}/dataset/annotations.json",
        held_out=f"data/rendered/{{scale}}/{SETTINGS.hands.planar.held_out}/dataset/annotations.json",
        held_out_poses=f"data/rendered/{{scale}}/{SETTINGS.hands.planar.held_out_poses}/dataset/annotations.json",
        panoramas="data/prepared/panoramas/panoramas.npz",
        compositor="results/{scale}/egogestvid/models/compositor/{seed}.safetensors",
    output:
        table=dvc("results/{scale}/egogestvid/tables/arms/{seed}.csv"),
    log:
        "results/{scale}/logs/compare_arms/{seed}.log",
    benchmark:
        "results/{scale}/benchmarks/compare_arms/{seed}.tsv"
    retries: 1
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
        gpu=GPUS,
        device=config["device"],
    params:
        steps=SETTINGS.hands.planar.steps,
        cycle=verbatim(to_json(SETTINGS.hands.planar.cycle)),
        datasets=lambda wc, input: [parent_of(file) for file in input.datasets],
        articulated=lambda wc, input: parent_of(input.articulated),
        held_out=lambda wc, input: parent_of(input.held_out),
        held_out_poses=lambda wc, input: parent_of(input.held_out_poses),
        code=code_of("hands.planar.compare_arms"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.hands.planar.compare_arms --datasets {params.datasets}"
        " --articulated {params.articulated} --held-out {params.held_out} --held-out-poses {params.held_out_poses}"
        " --panoramas {input.panoramas} --compositor {input.compositor} --steps {params.steps}"
        " --cycle {params.cycle:q} --state scratch/{params.code}"
        " --seed {wildcards.seed} --device {resources.device} --table {output.table} > {log} 2>&1"


rule study_compositor:
    input:
        held_out=f"data/rendered/{{scale}}/{SETTINGS.hands.planar.held_out}/dataset/annotations.json",
        panoramas="data/prepared/panoramas/panoramas.npz",
        compositor="results/{scale}/egogestvid/models/compositor/{seed}.safetensors",
    output:
        table=dvc("results/{scale}/egogestvid/tables/compositor/{seed}.csv"),
    log:
        "results/{scale}/logs/study_compositor/{seed}.log",
    benchmark:
        "results/{scale}/benchmarks/study_compositor/{seed}.tsv"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=30,
    params:
        held_out=lambda wc, input: parent_of(input.held_out),
        code=code_of("hands.planar.study_compositor"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.hands.planar.study_compositor --held-out {params.held_out}"
        " --panoramas {input.panoramas} --compositor {input.compositor} --seed {wildcards.seed}"
        " --table {output.table} > {log} 2>&1"


rule measure_planar:
    input:
        arms=[
            f"results/{{scale}}/egogestvid/tables/arms/{seed}.csv"
            for seed in SETTINGS.hands.planar.seeds
        ],
        compositor=[
            f"results/{{scale}}/egogestvid/tables/compositor/{seed}.csv"
            for seed in SETTINGS.hands.planar.seeds
        ],
    output:
        measurements=dvc("results/{scale}/egogestvid/parts/measure_planar.json"),
    log:
        "results/{scale}/logs/measure_planar.log",
    benchmark:
        "results/{scale}/benchmarks/measure_planar.tsv"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        code=code_of("hands.planar.measure_planar"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.hands.planar.measure_planar --arms {input.arms} --compositor {input.compositor}"
        " --measurements {output.measurements} > {log} 2>&1"


rule plot_arms:
    input:
        held_out=f"data/rendered/{{scale}}/{SETTINGS.hands.planar.held_out}/dataset/annotations.json",
        panoramas="data/prepared/panoramas/panoramas.npz",
        compositor=f"results/{{scale}}/egogestvid/models/compositor/{SETTINGS.hands.planar.seeds[0]}.safetensors",
        arms=[
            f"results/{{scale}}/egogestvid/tables/arms/{seed}.csv"
            for seed in SETTINGS.hands.planar.seeds
        ],
    output:
        figure=report(
            dvc("results/{scale}/egogestvid/figures/arms.svg"),
            caption="../report/arms.rst",
            category="egogestvid",
            labels={"figure": "flat and rendered hands"},
        ),
        drawn=dvc("results/{scale}/egogestvid/figures/arms.csv"),
    log:
        "results/{scale}/logs/plot_arms.log",
    benchmark:
        "results/{scale}/benchmarks/plot_arms.tsv"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        held_out=lambda wc, input: parent_of(input.held_out),
        code=code_of("hands.planar.plot_arms"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.hands.planar.plot_arms --held-out {params.held_out} --panoramas {input.panoramas}"
        " --compositor {input.compositor} --arms {input.arms} --figure {output.figure} --drawn {output.drawn}"
        " > {log} 2>&1"
