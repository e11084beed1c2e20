# One recogniser of gestures through all papers: distilled, pruned for a user, quantised, and what it costs after each step.
CHAIN = SETTINGS.chain
USERS = list(CHAIN.users)
NETWORKS_JSON = verbatim(json.dumps(CATALOGUE.chain_networks()))


rule replay_in_chain:
    input:
        teacher=lambda wc: chain_files(wc, before(wc.route), wc.owner),
        test=prepared_files(MOTION, "selection"),
        train=prepared_files(MOTION, "train"),
    output:
        curve=dvc("results/{scale}/chain/models/{seed}/{route}/{owner}/curve.csv"),
        times=dvc("results/{scale}/chain/models/{seed}/{route}/{owner}/times.csv"),
        samples=dvc("results/{scale}/chain/models/{seed}/{route}/{owner}/samples.npz"),
        student=dvc(
            "results/{scale}/chain/models/{seed}/{route}/{owner}/student/model.json"
        ),
        weights=dvc(
            "results/{scale}/chain/models/{seed}/{route}/{owner}/student/weights.safetensors"
        ),
    log:
        "results/{scale}/logs/replay_in_chain/{seed}/{route}/{owner}.log",
    benchmark:
        "results/{scale}/benchmarks/replay_in_chain/{seed}/{route}/{owner}.tsv"
    wildcard_constraints:
        route=routes_like("replay"),
    priority: SOON
    retries: 1
    threads: 1
    resources:
        mem_mb=2000,
        runtime=720,
        gpu=GPUS,
        device=config["device"],
    params:
        config=lambda wc: CATALOGUE.distil_json(CATALOGUE.chain_step(wc.route).study),
        method=lambda wc: CATALOGUE.chain_step(wc.route).method,
        teacher=lambda wc, input: parent_of(input.teacher[0]),
        test=lambda wc, input: parent_of(input.test[0]),
        train=lambda wc, input: parent_of(input.train[0]),
        folder=lambda wc, output: parent_of(output.curve),
        code=code_of("replay.distil_student", *chain_families()),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.replay.distil_student --teacher {params.teacher} --test {params.test}"
        " --train {params.train} --config {params.config:q} --method {params.method} --seed {wildcards.seed}"
        " --study chain --device {resources.device} --state scratch/{params.code}"
        " --folder {params.folder} --curve {output.curve} --times {output.times} > {log} 2>&1"


rule expand_in_chain:
    input:
        teacher=lambda wc: chain_files(wc, before(wc.route), wc.owner),
        condensed=lambda wc: [
            f"results/{wc.scale}/{CATALOGUE.chain_condensed(wc.route, wc.seed)}/{file}"
            for file in ("dataset.json", "images.npy", "labels.npy")
        ],
        test=prepared_files(MOTION, "selection"),
    output:
        curve=dvc("results/{scale}/chain/models/{seed}/{route}/{owner}/curve.csv"),
        times=dvc("results/{scale}/chain/models/{seed}/{route}/{owner}/times.csv"),
        student=dvc(
            "results/{scale}/chain/models/{seed}/{route}/{owner}/student/model.json"
        ),
        weights=dvc(
            "results/{scale}/chain/models/{seed}/{route}/{owner}/student/weights.safetensors"
        ),
        pool=dvc(
            "results/{scale}/chain/models/{seed}/{route}/{owner}/pool/dataset.json"
        ),
        images=dvc(
            "results/{scale}/chain/models/{seed}/{route}/{owner}/pool/images.npy"
        ),
        labels=dvc(
            "results/{scale}/chain/models/{seed}/{route}/{owner}/pool/labels.npy"
        ),
    log:
        "results/{scale}/logs/expand_in_chain/{seed}/{route}/{owner}.log",
    benchmark:
        "results/{scale}/benchmarks/expand_in_chain/{seed}/{route}/{owner}.tsv"
    wildcard_constraints:
        route=routes_like("expansion"),
    priority: SOON
    retries: 1
    threads: 1
    resources:
        mem_mb=2000,
        runtime=720,
        gpu=GPUS,
        device=config["device"],
    params:
        config=lambda wc: CATALOGUE.expansion_json(CATALOGUE.chain_step(wc.route).study),
        arm=lambda wc: CATALOGUE.chain_step(wc.route).method,
        teacher=lambda wc, input: parent_of(input.teacher[0]),
        condensed=lambda wc, input: parent_of(input.condensed[0]),
        test=lambda wc, input: parent_of(input.test[0]),
        folder=lambda wc, output: parent_of(output.curve),
        code=code_of("expansion.expand_set", *chain_families()),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.expansion.expand_set --teacher {params.teacher} --condensed {params.condensed}"
        " --test {params.test} --config {params.config:q} --arm {params.arm} --seed {wildcards.seed}"
        " --study chain --device {resources.device} --state scratch/{params.code}"
        " --folder {params.folder} --curve {output.curve} --times {output.times} > {log} 2>&1"


rule prune_for_classes:
    input:
        model=lambda wc: chain_files(wc, before(wc.route), EVERYONE),
        train=prepared_files(MOTION, "train"),
    output:
        models=[
            dvc(f"results/{{scale}}/chain/models/{{seed}}/{{route}}/{user}/{file}")
            for user in USERS
            for file in ("model.json", "weights.safetensors", "masks.safetensors")
        ],
    log:
        "results/{scale}/logs/prune_for_classes/{seed}/{route}.log",
    benchmark:
        "results/{scale}/benchmarks/prune_for_classes/{seed}/{route}.tsv"
    wildcard_constraints:
        route=routes_like("prune"),
    priority: SOON
    threads: 1
    resources:
        mem_mb=2000,
        runtime=240,
        gpu=GPUS,
        device=config["device"],
    params:
        config=lambda wc: CATALOGUE.pruning_json(CATALOGUE.chain_step(wc.route).study),
        arm=lambda wc: CATALOGUE.chain_step(wc.route).method,
        sparsity=lambda wc: CATALOGUE.chain_step(wc.route).sparsity,
        users=verbatim(json.dumps(CHAIN.users)),
        model=lambda wc, input: parent_of(input.model[0]),
        train=lambda wc, input: parent_of(input.train[0]),
        folder=lambda wc, output: parent_of(parent_of(output.models[0])),
        code=code_of("pruning.prune_for_classes", *chain_families()),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.pruning.prune_for_classes --model {params.model} --train {params.train}"
        " --config {params.config:q} --arm {params.arm} --sparsity {params.sparsity} --users {params.users:q}"
        " --seed {wildcards.seed} --device {resources.device} --folder {params.folder} > {log} 2>&1"


rule score_formats:
    input:
        models=lambda wc: [
            file
            for owner in CATALOGUE.chain_owners(wc.route)
            for file in chain_files(wc, wc.route, owner)
        ],
        train=prepared_files(MOTION, "train"),
        splits=[file for files in chain_splits().values() for file in files],
    output:
        table=dvc("results/{scale}/chain/tables/scores/{seed}/{route}.csv"),
    log:
        "results/{scale}/logs/score_formats/{seed}/{route}.log",
    benchmark:
        "results/{scale}/benchmarks/score_formats/{seed}/{route}.tsv"
    wildcard_constraints:
        route=routes_like("", *DISTIL, "prune"),
    priority: SOON
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
        gpu=GPUS,
        device=config["device"],
    params:
        models=lambda wc: " ".join(
            f"{owner}={parent_of(chain_files(wc, wc.route, owner)[0])}"
            for owner in CATALOGUE.chain_owners(wc.route)
        ),
        train=lambda wc, input: parent_of(input.train[0]),
        splits=" ".join(
            f"{name}={parent_of(files[0])}" for name, files in chain_splits().items()
        ),
        steps=lambda wc: CATALOGUE.chain_formats(wc.route),
        users=verbatim(json.dumps(CHAIN.users)),
        images=CHAIN.calibration_images,
        code=code_of("quantization.score_formats", *chain_families()),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.quantization.score_formats --models {params.models} --train {params.train}"
        " --splits {params.splits} --steps {params.steps:q} --users {params.users:q}"
        " --calibration-images {params.images} --name {wildcards.route} --seed {wildcards.seed}"
        " --device {resources.device} --table {output.table} > {log} 2>&1"


rule measure_routes:
    input:
        networks=chain_networks(),
        scores=[
            f"results/{{scale}}/chain/tables/scores/{seed}/{route}.csv"
            for seed, route in CATALOGUE.chain_scored()
        ],
        costs="results/{scale}/hardware/mac_costs.parquet",
    output:
        table=dvc("results/{scale}/chain/tables/routes.csv"),
    log:
        "results/{scale}/logs/measure_routes.log",
    benchmark:
        "results/{scale}/benchmarks/measure_routes.tsv"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=30,
    params:
        config=chain_json("users", "steps", "orders", "array"),
        networks=NETWORKS_JSON,
        code=code_of("chain.measure_routes", *chain_families()),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.chain.measure_routes --networks {params.networks:q} --config {params.config:q}"
        " --scores {input.scores} --mac-costs {input.costs} --table {output.table} > {log} 2>&1"


rule choose_route:
    input:
        routes="results/{scale}/chain/tables/routes.csv",
        networks=chain_networks(),
    output:
        chosen=dvc("results/{scale}/chain/chosen/chosen.json"),
        ranked=dvc("results/{scale}/chain/tables/ranked.csv"),
        model=dvc("results/{scale}/chain/chosen/float/model.json"),
        weights=dvc("results/{scale}/chain/chosen/float/weights.safetensors"),
    log:
        "results/{scale}/logs/choose_route.log",
    benchmark:
        "results/{scale}/benchmarks/choose_route.tsv"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        config=chain_json(
            "seeds", "users", "steps", "orders", "calibration_images", "budget"
        ),
        networks=NETWORKS_JSON,
        techniques=verbatim(
            CATALOGUE.techniques_json(
                sorted(
                    {
                        step.technique
                        for step in CHAIN.steps.values()
                        if step.kind == "quantise"
                    }
                )
            )
        ),
        folder=lambda wc, output: parent_of(output.model),
        code=code_of("chain.choose_route"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.chain.choose_route --routes {input.routes} --config {params.config:q}"
        " --networks {params.networks:q} --techniques {params.techniques:q} --chosen {output.chosen} --ranked {output.ranked}"
        " --folder {params.folder} > {log} 2>&1"


rule export_chosen:
    input:
        chosen="results/{scale}/chain/chosen/chosen.json",
        model="results/{scale}/chain/chosen/float/model.json",
        weights="results/{scale}/chain/chosen/float/weights.safetensors",
        train=prepared_files(MOTION, "train"),
    output:
        info=dvc("results/{scale}/chain/chosen/quantised/model.json"),
        weights=dvc("results/{scale}/chain/chosen/quantised/weights.safetensors"),
        formats=dvc("results/{scale}/chain/chosen/quantised/formats.json"),
        onnx=dvc("results/{scale}/chain/chosen/recogniser.onnx"),
    log:
        "results/{scale}/logs/export_chosen.log",
    benchmark:
        "results/{scale}/benchmarks/export_chosen.tsv"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=15,
        device=config["device"],
    params:
        model=lambda wc, input: parent_of(input.model),
        train=lambda wc, input: parent_of(input.train[0]),
        folder=lambda wc, output: parent_of(output.info),
        code=code_of("quantization.export_model", *chain_families()),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.quantization.export_model --model {params.model} --train {params.train}"
        " --plan {input.chosen} --device {resources.device} --folder {params.folder} --onnx {output.onnx}"
        " > {log} 2>&1"


rule time_steps:
    input:
        chosen="results/{scale}/chain/chosen/chosen.json",
        networks=chain_networks(),
        onnx="results/{scale}/chain/chosen/recogniser.onnx",
    output:
        table=dvc("results/{scale}/chain/tables/latency.csv"),
    log:
        "results/{scale}/logs/time_steps.log",
    benchmark:
        "results/{scale}/benchmarks/time_steps.tsv"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=15,
    params:
        config=chain_json("seeds", "steps", "latency"),
        networks=NETWORKS_JSON,
        code=code_of("chain.time_steps", *chain_families()),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.chain.time_steps --chosen {input.chosen} --networks {params.networks:q}"
        " --config {params.config:q} --onnx {input.onnx} --table {output.table} > {log} 2>&1"


rule plot_chain:
    input:
        routes="results/{scale}/chain/tables/routes.csv",
        ranked="results/{scale}/chain/tables/ranked.csv",
        chosen="results/{scale}/chain/chosen/chosen.json",
        latency="results/{scale}/chain/tables/latency.csv",
    output:
        table=dvc("results/{scale}/chain/figures/chain.csv"),
        figure=report(
            dvc("results/{scale}/chain/figures/chain.svg"),
            caption="../report/chain.rst",
            category="chain",
            labels={"figure": "step by step"},
        ),
        search=report(
            dvc("results/{scale}/chain/figures/search.svg"),
            caption="../report/chain_search.rst",
            category="chain",
            labels={"figure": "all routes"},
        ),
        drawn_search=dvc("results/{scale}/chain/figures/search.csv"),
    log:
        "results/{scale}/logs/plot_chain.log",
    benchmark:
        "results/{scale}/benchmarks/plot_chain.tsv"
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        config=chain_json("steps", "budget"),
        code=code_of("chain.plot_chain"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.chain.plot_chain --routes {input.routes} --ranked {input.ranked} --chosen {input.chosen}"
        " --latency {input.latency} --config {params.config:q} --table {output.table} --figure {output.figure}"
        " --search {output.search} --drawn-search {output.drawn_search} > {log} 2>&1"


rule chain:
    input:
        expand(
            "results/{scale}/chain/figures/{figure}.svg",
            scale=SCALE,
            figure=["chain", "search"] if CATALOGUE.chain_seeds() else [],
        ),
