# Shedding the Bits: PTQ sweep over all minifloats and integers, exact checks of the quantiser.


rule sweep_formats:
    input:
        model=lambda wc: expand(model_files(wc.model), scale=wc.scale),
        train=lambda wc: prepared_files(CATALOGUE.dataset_of(wc.model), "train"),
        test=lambda wc: prepared_files(CATALOGUE.dataset_of(wc.model), "test"),
    output:
        table=dvc("results/{scale}/minifloats/tables/format_sweep/{model}.csv"),
    log:
        "results/{scale}/logs/sweep_formats/{model}.log",
    benchmark:
        "results/{scale}/benchmarks/sweep_formats/{model}.tsv"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=120,
        gpu=0,
        device=config["device"],
    params:
        sweep=verbatim(to_json(SETTINGS.quantization.sweep)),
        model=lambda wc, input: parent_of(input.model[0]),
        train=lambda wc, input: parent_of(input.train[0]),
        test=lambda wc, input: parent_of(input.test[0]),
        code=lambda wc: code_of(
            "quantization.sweep_formats", family_of(CATALOGUE.net_of(wc.model))
        ),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.quantization.sweep_formats --model {params.model} --train {params.train}"
        " --test {params.test} --config {params.sweep:q} --device {resources.device} --table {output.table}"
        " > {log} 2>&1"


rule plot_format_sweep:
    input:
        tables=[
            f"results/{{scale}}/minifloats/tables/format_sweep/{model}.csv"
            for model in CATALOGUE.swept_models()
        ],
    output:
        figure=report(
            dvc("results/{scale}/minifloats/figures/format_sweep.svg"),
            caption="../report/format_sweep.rst",
            category="minifloats",
            labels={"figure": "accuracy over bits"},
        ),
        drawn=dvc("results/{scale}/minifloats/figures/format_sweep.csv"),
    log:
        "results/{scale}/logs/plot_format_sweep.log",
    benchmark:
        "results/{scale}/benchmarks/plot_format_sweep.tsv"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        code=code_of("quantization.plot_format_sweep"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.quantization.plot_format_sweep --tables {input.tables}"
        " --figure {output.figure} --drawn {output.drawn} > {log} 2>&1"


rule verify_quantiser:
    output:
        measurements=dvc("results/{scale}/minifloats/parts/verify_quantiser.json"),
    log:
        "results/{scale}/logs/verify_quantiser.log",
    benchmark:
        "results/{scale}/benchmarks/verify_quantiser.tsv"
    resources:
        mem_mb=2000,
        runtime=15,
    params:
        values=SETTINGS.quantization.verified_values,
        code=code_of("quantization.verify_quantiser"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.quantization.verify_quantiser --values {params.values}"
        " --measurements {output.measurements} > {log} 2>&1"


rule measure_format_sweep:
    input:
        tables=[
            f"results/{{scale}}/minifloats/tables/format_sweep/{model}.csv"
            for model in CATALOGUE.swept_models()
        ],
    output:
        measurements=dvc("results/{scale}/minifloats/parts/measure_format_sweep.json"),
    log:
        "results/{scale}/logs/measure_format_sweep.log",
    benchmark:
        "results/{scale}/benchmarks/measure_format_sweep.tsv"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        code=code_of("quantization.measure_format_sweep"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.quantization.measure_format_sweep --tables {input.tables}"
        " --measurements {output.measurements} > {log} 2>&1"


rule bench_quantiser:
    output:
        bench=none("results/{scale}/bench/quantiser.json"),
    log:
        "results/{scale}/logs/bench_quantiser.log",
    benchmark:
        "results/{scale}/benchmarks/bench_quantiser.tsv"
    threads: workflow.cores
    resources:
        mem_mb=3000,
        runtime=15,
    params:
        code=code_of("quantization.bench_quantiser"),
        env=env_of("oracles"),
    shell:
        "envs/py oracles -m stages.quantization.bench_quantiser --bench {output.bench} > {log} 2>&1"


rule minifloats:
    input:
        f"results/{SCALE}/minifloats/figures/format_sweep.svg",
        f"results/{SCALE}/hardware/figures/mac_costs.svg",
        f"results/{SCALE}/minifloats/measurements.json",
