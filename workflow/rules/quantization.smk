# Shedding the Bits: PTQ sweeps over formats and techniques, exact checks of the quantiser and of integer inference.


rule sweep_formats:
    input:
        model=lambda wc: expand(model_files(wc.model), scale=wc.scale),
        train=lambda wc: prepared_files(CATALOGUE.dataset_of(wc.model), "train"),
        test=lambda wc: prepared_files(CATALOGUE.dataset_of(wc.model), "test"),
    output:
        table=dvc("results/{scale}/minifloats/tables/sweeps/{sweep}/{model}.csv"),
        outcomes=dvc("results/{scale}/minifloats/tables/sweeps/{sweep}/{model}.npz"),
    log:
        "results/{scale}/logs/sweep_formats/{sweep}/{model}.log",
    benchmark:
        "results/{scale}/benchmarks/sweep_formats/{sweep}/{model}.tsv"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=120,
        gpu=GPUS,
        device=config["device"],
    params:
        sweep=lambda wc: CATALOGUE.sweep_json(wc.sweep),
        techniques=lambda wc: CATALOGUE.techniques_json(
            SETTINGS.quantization.sweeps[wc.sweep].techniques
        ),
        model=lambda wc, input: parent_of(input.model[0]),
        train=lambda wc, input: parent_of(input.train[0]),
        test=lambda wc, input: parent_of(input.test[0]),
        code=lambda wc: code_of(
            "quantization.sweep_formats", family_of(CATALOGUE.net_of(wc.model))
        ),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.quantization.sweep_formats --model {params.model} --train {params.train}"
        " --test {params.test} --config {params.sweep:q} --techniques {params.techniques:q}"
        " --device {resources.device} --table {output.table} --outcomes {output.outcomes} > {log} 2>&1"


rule plot_format_sweep:
    input:
        tables=sweep_files("csv"),
        outcomes=sweep_files("npz"),
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
        mem_mb=1000,
        runtime=5,
    params:
        code=code_of("quantization.plot_format_sweep"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.quantization.plot_format_sweep --tables {input.tables}"
        " --figure {output.figure} --drawn {output.drawn} > {log} 2>&1"


rule plot_techniques:
    input:
        tables=sweep_files("csv"),
        outcomes=sweep_files("npz"),
    output:
        figure=report(
            dvc("results/{scale}/minifloats/figures/techniques.svg"),
            caption="../report/techniques.rst",
            category="minifloats",
            labels={"figure": "techniques"},
        ),
        drawn=dvc("results/{scale}/minifloats/figures/techniques.csv"),
    log:
        "results/{scale}/logs/plot_techniques.log",
    benchmark:
        "results/{scale}/benchmarks/plot_techniques.tsv"
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        code=code_of("quantization.plot_techniques"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.quantization.plot_techniques --tables {input.tables}"
        " --figure {output.figure} --drawn {output.drawn} > {log} 2>&1"


rule plot_fronts:
    input:
        tables=sweep_files("csv"),
        outcomes=sweep_files("npz"),
        costs="results/{scale}/hardware/mac_costs.parquet",
    output:
        figure=report(
            dvc("results/{scale}/minifloats/figures/fronts.svg"),
            caption="../report/fronts.rst",
            category="minifloats",
            labels={"figure": "accuracy over cost"},
        ),
        drawn=dvc("results/{scale}/minifloats/figures/fronts.csv"),
    log:
        "results/{scale}/logs/plot_fronts.log",
    benchmark:
        "results/{scale}/benchmarks/plot_fronts.tsv"
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        code=code_of("quantization.plot_fronts"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.quantization.plot_fronts --tables {input.tables} --costs {input.costs}"
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


rule measure_sweeps:
    input:
        tables=sweep_files("csv"),
        outcomes=sweep_files("npz"),
        costs="results/{scale}/hardware/mac_costs.parquet",
    output:
        measurements=dvc("results/{scale}/minifloats/parts/measure_sweeps.json"),
    log:
        "results/{scale}/logs/measure_sweeps.log",
    benchmark:
        "results/{scale}/benchmarks/measure_sweeps.tsv"
    resources:
        mem_mb=1000,
        runtime=15,
    params:
        draws=SETTINGS.quantization.bootstrap_draws,
        code=code_of("quantization.measure_sweeps"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.quantization.measure_sweeps --tables {input.tables} --costs {input.costs}"
        " --draws {params.draws} --measurements {output.measurements} > {log} 2>&1"


rule search_formats:
    input:
        model=lambda wc: expand(model_files(wc.model), scale=wc.scale),
        train=lambda wc: prepared_files(CATALOGUE.dataset_of(wc.model), "train"),
        test=lambda wc: prepared_files(CATALOGUE.dataset_of(wc.model), "test"),
        costs="results/{scale}/hardware/mac_costs.parquet",
    output:
        table=dvc("results/{scale}/minifloats/tables/mixed/{model}.csv"),
        outcomes=dvc("results/{scale}/minifloats/tables/mixed/{model}.npz"),
        formats=dvc("results/{scale}/minifloats/tables/mixed/{model}.json"),
    log:
        "results/{scale}/logs/search_formats/{model}.log",
    benchmark:
        "results/{scale}/benchmarks/search_formats/{model}.tsv"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=120,
        gpu=GPUS,
        device=config["device"],
    params:
        search=verbatim(to_json(replace(SETTINGS.quantization.mixed, models=()))),
        technique=verbatim(to_json(CATALOGUE.mixed_technique())),
        model=lambda wc, input: parent_of(input.model[0]),
        train=lambda wc, input: parent_of(input.train[0]),
        test=lambda wc, input: parent_of(input.test[0]),
        code=lambda wc: code_of(
            "quantization.search_formats", family_of(CATALOGUE.net_of(wc.model))
        ),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.quantization.search_formats --model {params.model} --train {params.train}"
        " --test {params.test} --costs {input.costs} --config {params.search:q} --technique {params.technique:q}"
        " --device {resources.device} --table {output.table} --outcomes {output.outcomes}"
        " --formats {output.formats} > {log} 2>&1"


rule measure_search:
    input:
        tables=expand(
            "results/{{scale}}/minifloats/tables/mixed/{model}.csv",
            model=CATALOGUE.searched_models(),
        ),
        outcomes=expand(
            "results/{{scale}}/minifloats/tables/mixed/{model}.npz",
            model=CATALOGUE.searched_models(),
        ),
    output:
        measurements=dvc("results/{scale}/minifloats/parts/measure_search.json"),
    log:
        "results/{scale}/logs/measure_search.log",
    benchmark:
        "results/{scale}/benchmarks/measure_search.tsv"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        draws=SETTINGS.quantization.bootstrap_draws,
        code=code_of("quantization.measure_search"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.quantization.measure_search --tables {input.tables} --draws {params.draws}"
        " --measurements {output.measurements} > {log} 2>&1"


rule verify_integer_inference:
    input:
        model=lambda wc: expand(model_files(wc.model), scale=wc.scale),
        train=lambda wc: prepared_files(CATALOGUE.dataset_of(wc.model), "train"),
        test=lambda wc: prepared_files(CATALOGUE.dataset_of(wc.model), "test"),
    output:
        table=dvc("results/{scale}/minifloats/tables/accumulators/{model}.csv"),
        measurements=dvc("results/{scale}/minifloats/tables/accumulators/{model}.json"),
    log:
        "results/{scale}/logs/verify_integer_inference/{model}.log",
    benchmark:
        "results/{scale}/benchmarks/verify_integer_inference/{model}.tsv"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=120,
    params:
        settings=verbatim(to_json(replace(SETTINGS.quantization.integer, models=()))),
        model=lambda wc, input: parent_of(input.model[0]),
        train=lambda wc, input: parent_of(input.train[0]),
        test=lambda wc, input: parent_of(input.test[0]),
        code=lambda wc: code_of(
            "quantization.verify_integer_inference",
            family_of(CATALOGUE.net_of(wc.model)),
        ),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.quantization.verify_integer_inference --model {params.model} --train {params.train}"
        " --test {params.test} --config {params.settings:q} --table {output.table}"
        " --measurements {output.measurements} > {log} 2>&1"


rule plot_accumulators:
    input:
        tables=expand(
            "results/{{scale}}/minifloats/tables/accumulators/{model}.csv",
            model=CATALOGUE.integer_models(),
        ),
    output:
        figure=report(
            dvc("results/{scale}/minifloats/figures/accumulators.svg"),
            caption="../report/accumulators.rst",
            category="minifloats",
            labels={"figure": "accumulator widths"},
        ),
        drawn=dvc("results/{scale}/minifloats/figures/accumulators.csv"),
    log:
        "results/{scale}/logs/plot_accumulators.log",
    benchmark:
        "results/{scale}/benchmarks/plot_accumulators.tsv"
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        code=code_of("quantization.plot_accumulators"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.quantization.plot_accumulators --tables {input.tables}"
        " --figure {output.figure} --drawn {output.drawn} > {log} 2>&1"


rule tabulate_sqnr:
    input:
        models=lambda wc: [
            file.format(scale=wc.scale)
            for model in CATALOGUE.sqnr_models()
            for file in model_files(model)
        ],
    output:
        table=dvc("results/{scale}/minifloats/tables/sqnr.csv"),
    log:
        "results/{scale}/logs/tabulate_sqnr.log",
    benchmark:
        "results/{scale}/benchmarks/tabulate_sqnr.tsv"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=60,
    params:
        models=lambda wc, input: [
            parent_of(file) for file in input.models if file.endswith("model.json")
        ],
        code=lambda wc: code_of(
            "quantization.tabulate_sqnr",
            *sorted({family_of(CATALOGUE.net_of(m)) for m in CATALOGUE.sqnr_models()}),
        ),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.quantization.tabulate_sqnr --models {params.models} --table {output.table}"
        " > {log} 2>&1"


rule measure_sqnr:
    input:
        table="results/{scale}/minifloats/tables/sqnr.csv",
    output:
        measurements=dvc("results/{scale}/minifloats/parts/measure_sqnr.json"),
    log:
        "results/{scale}/logs/measure_sqnr.log",
    benchmark:
        "results/{scale}/benchmarks/measure_sqnr.tsv"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        code=code_of("quantization.measure_sqnr"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.quantization.measure_sqnr --table {input.table}"
        " --measurements {output.measurements} > {log} 2>&1"


rule plot_sqnr:
    input:
        table="results/{scale}/minifloats/tables/sqnr.csv",
    output:
        figure=report(
            dvc("results/{scale}/minifloats/figures/sqnr.svg"),
            caption="../report/sqnr.rst",
            category="minifloats",
            labels={"figure": "error by format"},
        ),
        drawn=dvc("results/{scale}/minifloats/figures/sqnr.csv"),
    log:
        "results/{scale}/logs/plot_sqnr.log",
    benchmark:
        "results/{scale}/benchmarks/plot_sqnr.tsv"
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        code=code_of("quantization.plot_sqnr"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.quantization.plot_sqnr --table {input.table}"
        " --figure {output.figure} --drawn {output.drawn} > {log} 2>&1"


rule export_model:
    input:
        model=lambda wc: expand(
            model_files(CATALOGUE.exports()[wc.export].model), scale=wc.scale
        ),
        train=lambda wc: prepared_files(
            CATALOGUE.dataset_of(CATALOGUE.exports()[wc.export].model), "train"
        ),
    output:
        weights=dvc("results/{scale}/models/quantised/{export}/weights.safetensors"),
        model=dvc("results/{scale}/models/quantised/{export}/model.json"),
        formats=dvc("results/{scale}/models/quantised/{export}/formats.json"),
        onnx=dvc("results/{scale}/models/quantised/{export}/network.onnx"),
    log:
        "results/{scale}/logs/export_model/{export}.log",
    benchmark:
        "results/{scale}/benchmarks/export_model/{export}.tsv"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=60,
        gpu=GPUS,
        device=config["device"],
    params:
        export=lambda wc: to_json(replace(CATALOGUE.exports()[wc.export], model="")),
        technique=lambda wc: to_json(
            SETTINGS.quantization.techniques[CATALOGUE.exports()[wc.export].technique]
        ),
        model=lambda wc, input: parent_of(input.model[0]),
        train=lambda wc, input: parent_of(input.train[0]),
        folder=lambda wc, output: parent_of(output.model),
        code=lambda wc: code_of(
            "quantization.export_model",
            family_of(CATALOGUE.net_of(CATALOGUE.exports()[wc.export].model)),
        ),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.quantization.export_model --model {params.model} --train {params.train}"
        " --config {params.export:q} --technique {params.technique:q} --device {resources.device}"
        " --folder {params.folder} --onnx {output.onnx} > {log} 2>&1"


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
        f"results/{SCALE}/minifloats/figures/techniques.svg",
        f"results/{SCALE}/minifloats/figures/fronts.svg",
        f"results/{SCALE}/minifloats/figures/sqnr.svg",
        [
            f"results/{SCALE}/minifloats/figures/accumulators.svg"
            for model in CATALOGUE.integer_models()
        ],
        expand(
            "results/{scale}/models/quantised/{export}/network.onnx",
            scale=SCALE,
            export=CATALOGUE.exports(),
        ),
        f"results/{SCALE}/hardware/figures/mac_costs.svg",
        f"results/{SCALE}/minifloats/measurements.json",
