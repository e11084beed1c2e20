# Every claim of every paper gets a verdict with its reason; one page shows them beside the figures.


rule collect_measurements:
    input:
        parts=lambda wc: [f"results/{wc.scale}/{part}" for part in PARTS[wc.paper]],
    output:
        measurements=git("results/{scale}/{paper}/measurements.json"),
    log:
        "results/{scale}/logs/collect_measurements/{paper}.log",
    benchmark:
        "results/{scale}/benchmarks/collect_measurements/{paper}.tsv"
    wildcard_constraints:
        paper="|".join(PARTS),
    resources:
        mem_mb=500,
        runtime=5,
    params:
        code=code_of("claims.collect_measurements"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.claims.collect_measurements --parts {input.parts}"
        " --measurements {output.measurements} > {log} 2>&1"


rule judge_claims:
    input:
        measurements=MEASUREMENTS,
    output:
        claims=git("results/{scale}/claims.json"),
        markdown=git("results/{scale}/claims.md"),
        metrics=git("results/{scale}/metrics.json"),
    log:
        "results/{scale}/logs/judge_claims.log",
    benchmark:
        "results/{scale}/benchmarks/judge_claims.tsv"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        claims=verbatim(to_json(load_claims())),
        settings=verbatim(to_json(SETTINGS.claims)),
        unavailable=verbatim(",".join(sorted(CATALOGUE.unavailable))),
        built=",".join(BUILT),
        code=code_of("claims.judge_claims"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.claims.judge_claims --claims {params.claims:q} --settings {params.settings:q}"
        " --measurements {input.measurements} --scale {wildcards.scale} --built={params.built}"
        " --unavailable={params.unavailable:q}"
        " --json {output.claims} --markdown {output.markdown} --metrics {output.metrics} > {log} 2>&1"


rule write_report:
    input:
        claims="results/{scale}/claims.json",
        figures=[
            f"results/{{scale}}/{section[part]}"
            for section in SECTIONS
            for part in ("figure", "notes")
            if part in section
        ],
    output:
        page=dvc("results/{scale}/report.html"),
    log:
        "results/{scale}/logs/write_report.log",
    benchmark:
        "results/{scale}/benchmarks/write_report.tsv"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        sections=verbatim(json.dumps(SECTIONS)),
        run=described_run,
        code=code_of("claims.write_report", files=["claims/report.html.j2"]),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.claims.write_report --claims {input.claims} --sections {params.sections:q}"
        " --results results/{wildcards.scale} --run {params.run:q}"
        " --benchmarks results/{wildcards.scale}/benchmarks data/benchmarks --report {output.page} > {log} 2>&1"
