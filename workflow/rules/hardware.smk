# FPGA operators, gate-level timing and energy of weight values, closed-form accelerator models.
import re

from stages.hardware.cell_library import TECHNOLOGIES
from workflow.lib.hardware_flags import layer_flags, timing_flags, user_netlist_flags

HARDWARE = SETTINGS.hardware
# netlists of the user, profiled beside those that are synthesised here
USER_NETLISTS = {user.name: user for user in HARDWARE.timing.user_netlists}


rule synthesise_macs:
    output:
        costs=dvc("results/{scale}/hardware/mac_costs.parquet"),
    log:
        "results/{scale}/logs/synthesise_macs.log",
    benchmark:
        "results/{scale}/benchmarks/synthesise_macs.tsv"
    priority: FIRST
    retries: 1
    threads: 2
    resources:
        mem_mb=2000,
        runtime=240,
    params:
        macs=verbatim(to_json(HARDWARE.macs)),
        code=code_of("hardware.synthesise_macs", files=["hardware/rows.v"]),
        env=env_of("hardware"),
    shell:
        "envs/py hardware -m stages.hardware.synthesise_macs --config {params.macs:q} --cache scratch/synthesis"
        " --threads {threads} --costs {output.costs} > {log} 2>&1"


rule plot_mac_costs:
    input:
        costs="results/{scale}/hardware/mac_costs.parquet",
    output:
        figure=report(
            dvc("results/{scale}/hardware/figures/mac_costs.svg"),
            caption="../report/mac_costs.rst",
            category="hardware",
            labels={"figure": "look-up tables a MAC"},
        ),
        drawn=dvc("results/{scale}/hardware/figures/mac_costs.csv"),
    log:
        "results/{scale}/logs/plot_mac_costs.log",
    benchmark:
        "results/{scale}/benchmarks/plot_mac_costs.tsv"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        code=code_of("hardware.plot_mac_costs"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.hardware.plot_mac_costs --costs {input.costs} --figure {output.figure}"
        " --drawn {output.drawn} > {log} 2>&1"


rule measure_macs:
    input:
        costs="results/{scale}/hardware/mac_costs.parquet",
    output:
        measurements=dvc("results/{scale}/minifloats/parts/measure_macs.json"),
    log:
        "results/{scale}/logs/measure_macs.log",
    benchmark:
        "results/{scale}/benchmarks/measure_macs.tsv"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        code=code_of("hardware.measure_macs"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.hardware.measure_macs --costs {input.costs}"
        " --measurements {output.measurements} > {log} 2>&1"


rule synthesise_multipliers:
    output:
        netlists=[
            dvc(f"results/{{scale}}/hardware/netlists/{{technology}}/{name}.{ending}")
            for name in HARDWARE.timing.netlists
            for ending in ("json", "v", "report.json")
        ],
    log:
        "results/{scale}/logs/synthesise_multipliers/{technology}.log",
    benchmark:
        "results/{scale}/benchmarks/synthesise_multipliers/{technology}.tsv"
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        netlists=" ".join(HARDWARE.timing.netlists),
        folder=lambda wc, output: parent_of(output.netlists[0]),
        code=code_of("hardware.synthesise_multipliers"),
        env=env_of("hardware"),
    shell:
        "envs/py hardware -m stages.hardware.synthesise_multipliers --netlists {params.netlists}"
        " --library {wildcards.technology} --folder {params.folder} > {log} 2>&1"


rule profile_weights:
    input:
        netlists=[
            f"results/{{scale}}/hardware/netlists/{{technology}}/{name}.json"
            for name in HARDWARE.timing.netlists
        ],
    output:
        profile=dvc("results/{scale}/hardware/weight_profile/{technology}.csv"),
    log:
        "results/{scale}/logs/profile_weights/{technology}.log",
    benchmark:
        "results/{scale}/benchmarks/profile_weights/{technology}.tsv"
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        vectors=HARDWARE.timing.vectors_per_weight,
        seed=HARDWARE.timing.seed,
        flags=timing_flags(HARDWARE.timing),
        code=code_of("hardware.profile_weights"),
        env=env_of("hardware"),
    shell:
        "envs/py hardware -m stages.hardware.profile_weights --netlist {input.netlists}"
        " --library {wildcards.technology} --vectors {params.vectors} --seed {params.seed} {params.flags}"
        " --profile {output.profile} > {log} 2>&1"


rule profile_user_netlist:
    input:
        netlist=lambda wc: USER_NETLISTS[wc.netlist].netlist,
        library=lambda wc: [
            file
            for file in [USER_NETLISTS[wc.netlist].library]
            if file not in TECHNOLOGIES
        ],
    output:
        profile=dvc("results/{scale}/hardware/weight_profile/user/{netlist}.csv"),
    log:
        "results/{scale}/logs/profile_user_netlist/{netlist}.log",
    benchmark:
        "results/{scale}/benchmarks/profile_user_netlist/{netlist}.tsv"
    wildcard_constraints:
        netlist="|".join(USER_NETLISTS) or "none",
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        flags=lambda wc: user_netlist_flags(USER_NETLISTS[wc.netlist]),
        vectors=HARDWARE.timing.vectors_per_weight,
        seed=HARDWARE.timing.seed,
        code=code_of("hardware.profile_weights"),
        env=env_of("hardware"),
    shell:
        "envs/py hardware -m stages.hardware.profile_weights --netlist={input.netlist:q} {params.flags}"
        " --vectors {params.vectors} --seed {params.seed} --profile {output.profile} > {log} 2>&1"


rule plot_weight_profiles:
    input:
        profiles=[
            f"results/{{scale}}/hardware/weight_profile/{technology}.csv"
            for technology in CATALOGUE.technologies()
        ],
    output:
        delays=dvc("results/{scale}/hardware/figures/weight_delays.svg"),
        drawn_delays=dvc("results/{scale}/hardware/figures/weight_delays.csv"),
        sensitivity=report(
            dvc("results/{scale}/hardware/figures/weight_sensitivity.svg"),
            caption="../report/weight_sensitivity.rst",
            category="hardware",
            labels={"figure": "delay of weight values by microarchitecture"},
        ),
        drawn_sensitivity=dvc("results/{scale}/hardware/figures/weight_sensitivity.csv"),
    log:
        "results/{scale}/logs/plot_weight_profiles.log",
    benchmark:
        "results/{scale}/benchmarks/plot_weight_profiles.tsv"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        code=code_of("hardware.plot_weight_profiles"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.hardware.plot_weight_profiles --profiles {input.profiles}"
        " --delays {output.delays} --drawn-delays {output.drawn_delays}"
        " --sensitivity {output.sensitivity} --drawn-sensitivity {output.drawn_sensitivity} > {log} 2>&1"


rule measure_weight_profiles:
    input:
        profiles=[
            f"results/{{scale}}/hardware/weight_profile/{technology}.csv"
            for technology in CATALOGUE.technologies()
        ],
    output:
        measurements=dvc("results/{scale}/halo/parts/measure_weight_profiles.json"),
    log:
        "results/{scale}/logs/measure_weight_profiles.log",
    benchmark:
        "results/{scale}/benchmarks/measure_weight_profiles.tsv"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        code=code_of("hardware.measure_weight_profiles"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.hardware.measure_weight_profiles --profiles {input.profiles}"
        " --measurements {output.measurements} > {log} 2>&1"


# optional: the committed curve of stages/lib/costs again, by SPICE; no target asks for it
rule measure_voltage_curve:
    input:
        sky130=HARDWARE.sky130 or "hardware.sky130-is-not-set",
    output:
        curve=none("results/{scale}/hardware/voltage/sky130_voltage.csv"),
        fit=none("results/{scale}/hardware/voltage/sky130_voltage_fit.json"),
    log:
        "results/{scale}/logs/measure_voltage_curve.log",
    benchmark:
        "results/{scale}/benchmarks/measure_voltage_curve.tsv"
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        code=code_of("hardware.measure_voltage_curve"),
        env=env_of("hardware"),
    shell:
        "envs/py hardware -m stages.hardware.measure_voltage_curve --sky130={input.sky130:q}"
        " --curve {output.curve} --fit {output.fit} > {log} 2>&1"


rule plot_voltage_curve:
    output:
        figure=dvc("results/{scale}/hardware/figures/voltage_curve.svg"),
        drawn=dvc("results/{scale}/hardware/figures/voltage_curve.csv"),
    log:
        "results/{scale}/logs/plot_voltage_curve.log",
    benchmark:
        "results/{scale}/benchmarks/plot_voltage_curve.tsv"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        code=code_of(
            "hardware.plot_voltage_curve",
            files=[
                "lib/costs/sky130_voltage.csv",
                "lib/costs/sky130_voltage_fit.json",
            ],
        ),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.hardware.plot_voltage_curve --figure {output.figure} --drawn {output.drawn}"
        " > {log} 2>&1"


rule tabulate_layers:
    output:
        layers=dvc("results/{scale}/hardware/layers/{layers}.csv"),
    log:
        "results/{scale}/logs/tabulate_layers/{layers}.log",
    benchmark:
        "results/{scale}/benchmarks/tabulate_layers/{layers}.tsv"
    wildcard_constraints:
        layers="|".join(map(re.escape, HARDWARE.layers)) or "none",
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        source=lambda wc: layer_flags(HARDWARE.layers[wc.layers]),
        code=lambda wc: code_of(
            "hardware.tabulate_layers",
            *([family_of(net)] if (net := HARDWARE.layers[wc.layers].net) else []),
        ),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.hardware.tabulate_layers {params.source} --layers {output.layers} > {log} 2>&1"


rule estimate_systolic:
    input:
        layers="results/{scale}/hardware/layers/{layers}.csv",
    output:
        table=dvc("results/{scale}/hardware/systolic/{layers}.csv"),
    log:
        "results/{scale}/logs/estimate_systolic/{layers}.log",
    benchmark:
        "results/{scale}/benchmarks/estimate_systolic/{layers}.tsv"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        systolic=verbatim(to_json(HARDWARE.arrays.systolic)),
        code=code_of(
            "hardware.estimate_systolic",
            files=["lib/costs/sram_cacti.csv", "lib/costs/sky130_voltage_fit.json"],
        ),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.hardware.estimate_systolic --layers {input.layers}"
        " --config {params.systolic:q} --table {output.table} > {log} 2>&1"


rule estimate_tensor_cores:
    input:
        layers="results/{scale}/hardware/layers/{layers}.csv",
    output:
        table=dvc("results/{scale}/hardware/tensor_cores/{layers}.csv"),
    log:
        "results/{scale}/logs/estimate_tensor_cores/{layers}.log",
    benchmark:
        "results/{scale}/benchmarks/estimate_tensor_cores/{layers}.tsv"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        tensor_cores=verbatim(to_json(HARDWARE.arrays.tensor_cores)),
        code=code_of("hardware.estimate_tensor_cores"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.hardware.estimate_tensor_cores --layers {input.layers}"
        " --config {params.tensor_cores:q} --table {output.table} > {log} 2>&1"


rule measure_tensor_cores:
    output:
        measurements=dvc("results/{scale}/crisp/parts/measure_tensor_cores.json"),
        table=dvc("results/{scale}/hardware/tensor_cores_reference.csv"),
    log:
        "results/{scale}/logs/measure_tensor_cores.log",
    benchmark:
        "results/{scale}/benchmarks/measure_tensor_cores.tsv"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        code=code_of(
            "hardware.measure_tensor_cores",
            files=["lib/costs/sparseloop_reference.csv"],
        ),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.hardware.measure_tensor_cores --measurements {output.measurements}"
        " --table {output.table} > {log} 2>&1"


rule plot_tensor_cores:
    output:
        figure=report(
            dvc("results/{scale}/hardware/figures/tensor_cores.svg"),
            caption="../report/tensor_cores.rst",
            category="hardware",
            labels={"figure": "cycles of tensor cores"},
        ),
        drawn=dvc("results/{scale}/hardware/figures/tensor_cores.csv"),
    log:
        "results/{scale}/logs/plot_tensor_cores.log",
    benchmark:
        "results/{scale}/benchmarks/plot_tensor_cores.tsv"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        code=code_of(
            "hardware.plot_tensor_cores", files=["lib/costs/sparseloop_reference.csv"]
        ),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.hardware.plot_tensor_cores --figure {output.figure} --drawn {output.drawn}"
        " > {log} 2>&1"


rule bench_static_timing:
    input:
        netlists=[
            f"results/{{scale}}/hardware/netlists/nangate45/{name}.{ending}"
            for name in HARDWARE.timing.netlists
            for ending in ("json", "v")
        ],
    output:
        bench=none("results/{scale}/bench/static_timing.json"),
    log:
        "results/{scale}/logs/bench_static_timing.log",
    benchmark:
        "results/{scale}/benchmarks/bench_static_timing.tsv"
    threads: workflow.cores
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        netlists=lambda wc, input: [
            file for file in input.netlists if file.endswith(".json")
        ],
        code=code_of("hardware.bench_static_timing"),
        env=env_of("hardware"),
    shell:
        "envs/py hardware -m stages.hardware.bench_static_timing --netlist {params.netlists}"
        " --bench {output.bench} > {log} 2>&1"


rule bench_systolic:
    output:
        bench=none("results/{scale}/bench/systolic.json"),
    log:
        "results/{scale}/logs/bench_systolic.log",
    benchmark:
        "results/{scale}/benchmarks/bench_systolic.tsv"
    threads: workflow.cores
    resources:
        mem_mb=2000,
        runtime=15,
    params:
        code=code_of("hardware.bench_systolic"),
        env=env_of("oracles"),
    shell:
        "envs/py oracles -m stages.hardware.bench_systolic --bench {output.bench} > {log} 2>&1"


rule hardware:
    input:
        f"results/{SCALE}/hardware/mac_costs.parquet",
        expand(
            f"results/{SCALE}/hardware/figures/{{figure}}.svg",
            figure=[
                "mac_costs",
                "weight_delays",
                "weight_sensitivity",
                "voltage_curve",
                "tensor_cores",
            ],
        ),
        expand(
            f"results/{SCALE}/hardware/weight_profile/user/{{netlist}}.csv",
            netlist=USER_NETLISTS,
        ),
        expand(
            f"results/{SCALE}/hardware/{{array}}/{{layers}}.csv",
            array=["systolic", "tensor_cores"],
            layers=HARDWARE.layers,
        ),
        f"results/{SCALE}/minifloats/parts/measure_macs.json",
        f"results/{SCALE}/crisp/parts/measure_tensor_cores.json",
        f"results/{SCALE}/halo/parts/measure_weight_profiles.json",


rule bench:
    input:
        f"results/{SCALE}/bench/quantiser.json",
        f"results/{SCALE}/bench/networks.json",
        f"results/{SCALE}/bench/offload.json",
        f"results/{SCALE}/bench/replay.json",
        f"results/{SCALE}/bench/sparse.json",
        f"results/{SCALE}/bench/static_timing.json",
        f"results/{SCALE}/bench/systolic.json",
