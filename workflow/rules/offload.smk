# DAOP: mixture-of-experts inference with experts in CPU memory: a model, its routing, policies on modelled machines.
OFFLOAD = SETTINGS.offload


rule train_moe:
    input:
        train=lambda wc: CATALOGUE.domain_texts(wc.model, "train"),
        valid=lambda wc: CATALOGUE.domain_texts(wc.model, "valid"),
    output:
        model=dvc("results/{scale}/models/{model}/model.json"),
        weights=dvc("results/{scale}/models/{model}/weights.safetensors"),
        tokenizer=dvc("results/{scale}/models/{model}/tokenizer.json"),
        curve=dvc("results/{scale}/daop/tables/{model}/curve.csv"),
    log:
        "results/{scale}/logs/train_moe/{model}.log",
    benchmark:
        "results/{scale}/benchmarks/train_moe/{model}.tsv"
    wildcard_constraints:
        model="|".join(CATALOGUE.moe_models()) or "none",
    priority: EARLY
    retries: 1
    threads: 1
    resources:
        mem_mb=2500,
        runtime=240,
        gpu=GPUS,
        device=config["device"],
    params:
        domains=lambda wc: " ".join(CATALOGUE.domains_of(wc.model)),
        config=lambda wc: CATALOGUE.moe_json(wc.model),
        seed=lambda wc: CATALOGUE.moe_models()[wc.model][1],
        code=code_of("offload.train_moe"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.offload.train_moe --domains {params.domains} --train {input.train}"
        " --valid {input.valid} --config {params.config:q} --seed {params.seed} --device {resources.device}"
        " --state scratch/{params.code} --model {output.model} --weights {output.weights}"
        " --tokenizer {output.tokenizer} --curve {output.curve} > {log} 2>&1"


rule convert_moe:
    output:
        # model.json says that it was converted, and sharing leaves such a folder out
        model=dvc("results/{scale}/models/{model}/model.json"),
        weights=dvc("results/{scale}/models/{model}/weights.safetensors"),
        tokenizer=dvc("results/{scale}/models/{model}/tokenizer.json"),
    log:
        "results/{scale}/logs/convert_moe/{model}.log",
    benchmark:
        "results/{scale}/benchmarks/convert_moe/{model}.tsv"
    wildcard_constraints:
        model="|".join(OFFLOAD.converted) or "none",
    resources:
        mem_mb=110000,
        runtime=60,
    params:
        source=lambda wc: OFFLOAD.converted[wc.model],
        target=lambda wc, output: parent_of(output.model),
        code=code_of("offload.convert_moe"),
        env=env_of("main"),
    shell:
        'envs/py main -m stages.offload.convert_moe --source="${params.source}" --target {params.target}'
        " > {log} 2>&1"


rule record_traces:
    input:
        model="results/{scale}/models/{model}/model.json",
        tokenizer="results/{scale}/models/{model}/tokenizer.json",
        texts=lambda wc: CATALOGUE.domain_texts(wc.model, wc.split),
    output:
        trace=dvc("results/{scale}/daop/traces/{model}/{split}.npz"),
        info=dvc("results/{scale}/daop/traces/{model}/{split}.json"),
    log:
        "results/{scale}/logs/record_traces/{model}-{split}.log",
    benchmark:
        "results/{scale}/benchmarks/record_traces/{model}-{split}.tsv"
    wildcard_constraints:
        split="test|valid",
    threads: 1
    resources:
        mem_mb=2500,
        runtime=60,
        gpu=GPUS,
        device=config["device"],
    params:
        domains=lambda wc: " ".join(CATALOGUE.domains_of(wc.model)),
        config=verbatim(to_json(OFFLOAD.traces)),
        folder=lambda wc, input: parent_of(input.model),
        code=code_of("offload.record_traces"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.offload.record_traces --model {params.folder} --domains {params.domains}"
        " --texts {input.texts} --config {params.config:q} --device {resources.device} --trace {output.trace}"
        " --info {output.info} > {log} 2>&1"


rule measure_quality:
    input:
        model="results/{scale}/models/{model}/model.json",
        texts=lambda wc: CATALOGUE.domain_texts(wc.model, "test"),
        trace="results/{scale}/daop/traces/{model}/test.npz",
        calibration="results/{scale}/daop/traces/{model}/valid.npz",
    output:
        table=dvc("results/{scale}/daop/tables/{model}/quality.csv"),
    log:
        "results/{scale}/logs/measure_quality/{model}.log",
    benchmark:
        "results/{scale}/benchmarks/measure_quality/{model}.tsv"
    threads: 1
    resources:
        mem_mb=2500,
        runtime=120,
        gpu=GPUS,
        device=config["device"],
    params:
        config=verbatim(to_json(OFFLOAD.traces)),
        ratios=" ".join(map(str, OFFLOAD.quality_ratios)),
        folder=lambda wc, input: parent_of(input.model),
        code=code_of("offload.measure_quality"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.offload.measure_quality --model {params.folder} --texts {input.texts}"
        " --trace {input.trace} --calibration {input.calibration} --config {params.config:q}"
        " --ratios {params.ratios} --device {resources.device} --table {output.table} > {log} 2>&1"


rule verify_engine:
    input:
        model=f"results/{{scale}}/models/{CATALOGUE.first_moe()}/model.json",
        texts=CATALOGUE.domain_texts(CATALOGUE.first_moe(), "test"),
        calibration=f"results/{{scale}}/daop/traces/{CATALOGUE.first_moe()}/valid.npz",
    output:
        measurements=dvc("results/{scale}/daop/parts/verify_engine.json"),
    log:
        "results/{scale}/logs/verify_engine.log",
    benchmark:
        "results/{scale}/benchmarks/verify_engine.tsv"
    threads: 1
    resources:
        mem_mb=2500,
        runtime=30,
    params:
        config=verbatim(to_json(OFFLOAD.traces)),
        ratio=OFFLOAD.emulation.ratio,
        folder=lambda wc, input: parent_of(input.model),
        code=code_of("offload.verify_engine"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.offload.verify_engine --model {params.folder} --texts {input.texts}"
        " --calibration {input.calibration} --config {params.config:q} --ratio {params.ratio}"
        " --measurements {output.measurements} > {log} 2>&1"


rule emulate_policies:
    input:
        model=f"results/{{scale}}/models/{CATALOGUE.first_moe()}/model.json",
        texts=CATALOGUE.domain_texts(CATALOGUE.first_moe(), "test"),
        trace=f"results/{{scale}}/daop/traces/{CATALOGUE.first_moe()}/test.npz",
        calibration=f"results/{{scale}}/daop/traces/{CATALOGUE.first_moe()}/valid.npz",
    output:
        table=dvc("results/{scale}/daop/tables/emulated.csv"),
        measurements=dvc("results/{scale}/daop/parts/emulate_policies.json"),
    log:
        "results/{scale}/logs/emulate_policies.log",
    benchmark:
        "results/{scale}/benchmarks/emulate_policies.tsv"
    # what else runs would be measured too
    threads: workflow.cores
    resources:
        mem_mb=2500,
        runtime=30,
    params:
        traces=verbatim(to_json(OFFLOAD.traces)),
        config=verbatim(to_json(OFFLOAD.emulation)),
        folder=lambda wc, input: parent_of(input.model),
        code=code_of("offload.emulate_policies"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.offload.emulate_policies --model {params.folder} --texts {input.texts}"
        " --trace {input.trace} --calibration {input.calibration} --traces-config {params.traces:q}"
        " --config {params.config:q} --table {output.table} --measurements {output.measurements} > {log} 2>&1"


rule study_routing:
    input:
        traces=CATALOGUE.studied_files("test.npz"),
        calibrations=CATALOGUE.studied_files("valid.npz"),
    output:
        shares=dvc("results/{scale}/daop/tables/shares.csv"),
        recall=dvc("results/{scale}/daop/tables/recall.csv"),
        hits=dvc("results/{scale}/daop/tables/hits.csv"),
    log:
        "results/{scale}/logs/study_routing.log",
    benchmark:
        "results/{scale}/benchmarks/study_routing.tsv"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=30,
    params:
        ratios=" ".join(map(str, OFFLOAD.grid.ratios)),
        code=code_of("offload.study_routing"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.offload.study_routing --traces {input.traces} --calibrations {input.calibrations}"
        " --ratios {params.ratios} --shares {output.shares} --recall {output.recall} --hits {output.hits}"
        " > {log} 2>&1"


rule simulate_policies:
    input:
        traces=CATALOGUE.studied_files("test.npz"),
        calibrations=CATALOGUE.studied_files("valid.npz"),
    output:
        table=dvc("results/{scale}/daop/tables/grid.csv"),
        limits=dvc("results/{scale}/daop/tables/limits.csv"),
    log:
        "results/{scale}/logs/simulate_policies.log",
    benchmark:
        "results/{scale}/benchmarks/simulate_policies.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        config=verbatim(to_json(OFFLOAD.grid)),
        machines=verbatim(
            json.dumps({name: asdict(m) for name, m in OFFLOAD.machines.items()})
        ),
        code=code_of("offload.simulate_policies"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.offload.simulate_policies --traces {input.traces}"
        " --calibrations {input.calibrations} --config {params.config:q} --machines {params.machines:q}"
        " --table {output.table} --limits {output.limits} > {log} 2>&1"


rule time_policies:
    input:
        trace=CATALOGUE.studied_files("test.npz")[:1],
        calibration=CATALOGUE.studied_files("valid.npz")[:1],
    output:
        table=dvc("results/{scale}/daop/tables/timed.csv"),
    log:
        "results/{scale}/logs/time_policies.log",
    benchmark:
        "results/{scale}/benchmarks/time_policies.tsv"
    threads: workflow.cores
    resources:
        mem_mb=110000,
        runtime=60,
        gpu=1,
    params:
        config=verbatim(to_json(OFFLOAD.timing) if OFFLOAD.timing else "{}"),
        code=code_of("offload.time_policies"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.offload.time_policies --trace {input.trace} --calibration {input.calibration}"
        " --config {params.config:q} --device cuda --table {output.table} > {log} 2>&1"


rule measure_offload:
    input:
        shares="results/{scale}/daop/tables/shares.csv",
        recall="results/{scale}/daop/tables/recall.csv",
        hits="results/{scale}/daop/tables/hits.csv",
        grid="results/{scale}/daop/tables/grid.csv",
        limits="results/{scale}/daop/tables/limits.csv",
        quality=CATALOGUE.studied_files("quality.csv"),
        curves=CATALOGUE.studied_files("curve.csv"),
    output:
        measurements=dvc("results/{scale}/daop/parts/measure_offload.json"),
    log:
        "results/{scale}/logs/measure_offload.log",
    benchmark:
        "results/{scale}/benchmarks/measure_offload.tsv"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        machine=verbatim(OFFLOAD.grid.machines[0]),
        code=code_of("offload.measure_offload"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.offload.measure_offload --shares {input.shares} --recall {input.recall}"
        " --hits {input.hits} --grid {input.grid} --limits {input.limits} --quality {input.quality}"
        " --curves {input.curves} --machine={params.machine:q} --measurements {output.measurements} > {log} 2>&1"


rule plot_offload:
    input:
        shares="results/{scale}/daop/tables/shares.csv",
        recall="results/{scale}/daop/tables/recall.csv",
        hits="results/{scale}/daop/tables/hits.csv",
        grid="results/{scale}/daop/tables/grid.csv",
        limits="results/{scale}/daop/tables/limits.csv",
        quality=CATALOGUE.studied_files("quality.csv"),
        curves=CATALOGUE.studied_files("curve.csv"),
    output:
        policies=report(
            dvc("results/{scale}/daop/figures/policies.svg"),
            caption="../report/policies.rst",
            category="daop",
            labels={"figure": "policies and limits"},
        ),
        drawn_policies=dvc("results/{scale}/daop/figures/policies.csv"),
        routing=report(
            dvc("results/{scale}/daop/figures/routing.svg"),
            caption="../report/routing.rst",
            category="daop",
            labels={"figure": "routing"},
        ),
        drawn_routing=dvc("results/{scale}/daop/figures/routing.csv"),
        lengths=report(
            dvc("results/{scale}/daop/figures/lengths.svg"),
            caption="../report/lengths.rst",
            category="daop",
            labels={"figure": "length of the answer"},
        ),
        drawn_lengths=dvc("results/{scale}/daop/figures/lengths.csv"),
        pareto=report(
            dvc("results/{scale}/daop/figures/pareto.svg"),
            caption="../report/pareto.rst",
            category="daop",
            labels={"figure": "speed and quality"},
        ),
        drawn_pareto=dvc("results/{scale}/daop/figures/pareto.csv"),
    log:
        "results/{scale}/logs/plot_offload.log",
    benchmark:
        "results/{scale}/benchmarks/plot_offload.tsv"
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        machine=verbatim(OFFLOAD.grid.machines[0]),
        code=code_of("offload.plot_offload"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.offload.plot_offload --shares {input.shares} --recall {input.recall}"
        " --hits {input.hits} --grid {input.grid} --limits {input.limits} --quality {input.quality}"
        " --curves {input.curves} --machine={params.machine:q} --routing {output.routing}"
        " --drawn-routing {output.drawn_routing} --policies {output.policies}"
        " --drawn-policies {output.drawn_policies} --lengths {output.lengths}"
        " --drawn-lengths {output.drawn_lengths} --pareto {output.pareto} --drawn-pareto {output.drawn_pareto}"
        " > {log} 2>&1"


rule bench_offload:
    output:
        bench=none("results/{scale}/bench/offload.json"),
        table=none("results/{scale}/bench/offload.csv"),
    log:
        "results/{scale}/logs/bench_offload.log",
    benchmark:
        "results/{scale}/benchmarks/bench_offload.tsv"
    threads: workflow.cores
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code_of("offload.bench_offload"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.offload.bench_offload --bench {output.bench} --table {output.table} > {log} 2>&1"


rule daop:
    input:
        f"results/{SCALE}/daop/measurements.json",
        expand(
            "results/{scale}/daop/figures/{figure}.svg",
            scale=SCALE,
            figure=["policies", "routing", "lengths", "pareto"],
        ),
        expand(
            "results/{scale}/daop/tables/{model}/quality.csv",
            scale=SCALE,
            model=CATALOGUE.moe_models(),
        ),
        f"results/{SCALE}/daop/tables/timed.csv" if OFFLOAD.timing else [],
