# EgoGestVid: hands rendered by Blender, put before backgrounds with exact labels; gestures from their trajectories.


rule prepare_arm:
    output:
        arm=dvc("data/prepared/makehuman-arm/arm.npz"),
    log:
        "data/logs/prepare_arm.log",
    benchmark:
        "data/benchmarks/prepare_arm.tsv"
    priority: FIRST
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        code=code_of("hands.prepare_arm"),
        env=env_of("render"),
    shell:
        "envs/py render -m stages.hands.prepare_arm --arm {output.arm} > {log} 2>&1"


rule unpack_panoramas:
    input:
        manifest="data/raw/pmndrs-panoramas/source.json",
    output:
        index=none("data/prepared/pmndrs-panoramas/index.csv"),
    log:
        "data/logs/unpack_panoramas.log",
    benchmark:
        "data/benchmarks/unpack_panoramas.tsv"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        folder=lambda wc, output: parent_of(output.index),
        code=code_of("datasets.unpack_panoramas"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.datasets.unpack_panoramas --manifest {input.manifest} --panoramas {params.folder}"
        " > {log} 2>&1"


rule prepare_panoramas:
    input:
        more=(
            ["data/prepared/pmndrs-panoramas/index.csv"]
            if CATALOGUE.more_panoramas()
            else []
        ),
    output:
        panoramas=dvc("data/prepared/panoramas/panoramas.npz"),
    log:
        "data/logs/prepare_panoramas.log",
    benchmark:
        "data/benchmarks/prepare_panoramas.tsv"
    priority: FIRST
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        more=lambda wc, input: (
            f"--folder {parent_of(input.more[0])}" if input.more else ""
        ),
        code=code_of("hands.render.prepare_panoramas"),
        env=env_of("render"),
    shell:
        "envs/py render -m stages.hands.render.prepare_panoramas {params.more} --panoramas {output.panoramas} > {log} 2>&1"


rule prepare_plates:
    output:
        plates=none("data/prepared/plates/plates.npz"),
    log:
        "data/logs/prepare_plates.log",
    benchmark:
        "data/benchmarks/prepare_plates.tsv"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        folder=verbatim(
            [f"--folder={folder}"] if (folder := SETTINGS.hands.plates.folder) else []
        ),
        code=code_of("hands.prepare_plates"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.hands.prepare_plates {params.folder:q} --plates {output.plates} > {log} 2>&1"


rule render_clips:
    input:
        arm="data/prepared/makehuman-arm/arm.npz",
        panoramas="data/prepared/panoramas/panoramas.npz",
    output:
        layers=dvc("data/rendered/{scale}/{clips}/layers-{job}.npz"),
    log:
        "results/{scale}/logs/render_clips/{clips}-{job}.log",
    benchmark:
        "results/{scale}/benchmarks/render_clips/{clips}-{job}.tsv"
    priority: FIRST
    retries: 1
    threads: 1
    resources:
        mem_mb=1500,
        runtime=60,
    params:
        clips=lambda wc: to_json(CATALOGUE.clip_set(wc.clips)),
        render=verbatim(to_json(SETTINGS.hands.render)),
        first=lambda wc: int(wc.job) * SETTINGS.hands.clips_per_job,
        size=SETTINGS.hands.clips_per_job,
        code=code_of("hands.render.render_clips"),
        env=env_of("render"),
    shell:
        "envs/py render -m stages.hands.render.render_clips --arm {input.arm} --panoramas {input.panoramas}"
        " --set {wildcards.clips} --config {params.clips:q} --render {params.render:q} --first {params.first}"
        " --count {params.size} --state scratch/{params.code} --layers {output.layers} > {log} 2>&1"


rule compose_clips:
    input:
        layers=lambda wc: [
            f"data/rendered/{wc.scale}/{wc.clips}/layers-{job}.npz"
            for job in CATALOGUE.render_jobs(wc.clips)
        ],
        panoramas="data/prepared/panoramas/panoramas.npz",
        plates=lambda wc: (
            ["data/prepared/plates/plates.npz"]
            if wc.clips in SETTINGS.hands.plates.sets
            else []
        ),
    output:
        labels=dvc("data/rendered/{scale}/{clips}/dataset/annotations.json"),
    log:
        "results/{scale}/logs/compose_clips/{clips}.log",
    benchmark:
        "results/{scale}/benchmarks/compose_clips/{clips}.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        seed=lambda wc: SETTINGS.hands.sets[wc.clips].seed,
        plates=lambda wc, input: (
            f"--plates {input.plates} --plate-share {SETTINGS.hands.plates.share}"
            if input.plates
            else ""
        ),
        dataset=lambda wc, output: parent_of(output.labels),
        code=code_of("hands.compose_clips"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.hands.compose_clips --layers {input.layers} --panoramas {input.panoramas}"
        " {params.plates} --seed {params.seed} --dataset {params.dataset} > {log} 2>&1"


rule flatten_clips:
    input:
        layers=lambda wc: [
            f"data/rendered/{wc.scale}/{wc.clips}/layers-{job}.npz"
            for job in CATALOGUE.render_jobs(wc.clips)
        ],
        panoramas="data/prepared/panoramas/panoramas.npz",
        plates=lambda wc: (
            ["data/prepared/plates/plates.npz"]
            if wc.clips in SETTINGS.hands.plates.sets
            else []
        ),
    output:
        labels=none("data/rendered/{scale}/{clips}/flat/annotations.json"),
    log:
        "results/{scale}/logs/flatten_clips/{clips}.log",
    benchmark:
        "results/{scale}/benchmarks/flatten_clips/{clips}.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        seed=lambda wc: SETTINGS.hands.sets[wc.clips].seed,
        plates=lambda wc, input: (
            f"--plates {input.plates} --plate-share {SETTINGS.hands.plates.share}"
            if input.plates
            else ""
        ),
        dataset=lambda wc, output: parent_of(output.labels),
        code=code_of("hands.compose_clips"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.hands.compose_clips --flat --layers {input.layers} --panoramas {input.panoramas}"
        " {params.plates} --seed {params.seed} --dataset {params.dataset} > {log} 2>&1"


rule judge_hands:
    input:
        datasets=[
            f"data/rendered/{{scale}}/{name}/dataset/annotations.json"
            for name in SETTINGS.hands.sets
        ],
        flat=[
            f"data/rendered/{{scale}}/{name}/flat/annotations.json"
            for name in SETTINGS.hands.sets
        ],
        videos=(
            ["data/prepared/egogestar/videos/index.csv"]
            if CATALOGUE.real_gestures()
            else []
        ),
    output:
        table=dvc("results/{scale}/egogestvid/tables/mediapipe.csv"),
    log:
        "results/{scale}/logs/judge_hands.log",
    benchmark:
        "results/{scale}/benchmarks/judge_hands.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        videos=lambda wc, input: (
            f"--videos {parent_of(input.videos[0])}" if input.videos else ""
        ),
        datasets=lambda wc, input: [parent_of(file) for file in input.datasets],
        flat=lambda wc, input: [parent_of(file) for file in input.flat],
        code=code_of("hands.judge_hands"),
        env=env_of("oracles"),
    shell:
        "envs/py oracles -m stages.hands.judge_hands --datasets {params.datasets} --flat {params.flat} {params.videos}"
        " --table {output.table} > {log} 2>&1"


# an independent look at the rendered hands, with the environment oracles
rule judge:
    input:
        f"results/{SCALE}/egogestvid/tables/mediapipe.csv",


rule validate_clips:
    input:
        labels="data/rendered/{scale}/{clips}/dataset/annotations.json",
    output:
        report=dvc("results/{scale}/egogestvid/tables/validation/{clips}.json"),
    log:
        "results/{scale}/logs/validate_clips/{clips}.log",
    benchmark:
        "results/{scale}/benchmarks/validate_clips/{clips}.tsv"
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    params:
        dataset=lambda wc, input: parent_of(input.labels),
        code=code_of("hands.validate_clips"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.hands.validate_clips --dataset {params.dataset} --report {output.report}"
        " > {log} 2>&1"


rule measure_labels:
    input:
        datasets=[
            f"data/rendered/{{scale}}/{name}/dataset/annotations.json"
            for name in SETTINGS.hands.sets
        ],
        valid=[
            f"results/{{scale}}/egogestvid/tables/validation/{name}.json"
            for name in SETTINGS.hands.sets
        ],
    output:
        measurements=dvc("results/{scale}/egogestvid/parts/measure_labels.json"),
    log:
        "results/{scale}/logs/measure_labels.log",
    benchmark:
        "results/{scale}/benchmarks/measure_labels.tsv"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        datasets=lambda wc, input: [parent_of(file) for file in input.datasets],
        code=code_of("hands.measure_labels"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.hands.measure_labels --datasets {params.datasets}"
        " --measurements {output.measurements} > {log} 2>&1"


rule verify_rerender:
    input:
        arm="data/prepared/makehuman-arm/arm.npz",
        panoramas="data/prepared/panoramas/panoramas.npz",
        layers=f"data/rendered/{{scale}}/{FIRST_CLIPS}/layers-0.npz",
    output:
        measurements=dvc("results/{scale}/egogestvid/parts/verify_rerender.json"),
    log:
        "results/{scale}/logs/verify_rerender.log",
    benchmark:
        "results/{scale}/benchmarks/verify_rerender.tsv"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=30,
    params:
        clips=lambda wc: to_json(CATALOGUE.clip_set(FIRST_CLIPS)),
        name=FIRST_CLIPS,
        render=verbatim(to_json(SETTINGS.hands.render)),
        frames=SETTINGS.hands.rerendered_frames,
        code=code_of("hands.render.verify_rerender"),
        env=env_of("render"),
    shell:
        "envs/py render -m stages.hands.render.verify_rerender --arm {input.arm} --panoramas {input.panoramas}"
        " --set {params.name} --config {params.clips:q} --render {params.render:q} --layers {input.layers}"
        " --frames {params.frames} --measurements {output.measurements} > {log} 2>&1"


rule study_diversity:
    input:
        layers=lambda wc: [
            f"data/rendered/{wc.scale}/{name}/layers-{job}.npz"
            for name in SETTINGS.hands.diversity.datasets
            for job in CATALOGUE.render_jobs(name)
        ],
        held_out=lambda wc: [
            f"data/rendered/{wc.scale}/{SETTINGS.hands.diversity.held_out}/layers-{job}.npz"
            for job in CATALOGUE.render_jobs(SETTINGS.hands.diversity.held_out)
        ],
        panoramas="data/prepared/panoramas/panoramas.npz",
    output:
        table=dvc("results/{scale}/egogestvid/tables/diversity.csv"),
        weights=dvc("results/{scale}/egogestvid/models/diversity/weights.safetensors"),
    log:
        "results/{scale}/logs/study_diversity.log",
    benchmark:
        "results/{scale}/benchmarks/study_diversity.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=120,
        gpu=GPUS,
        device=config["device"],
    params:
        config=verbatim(
            to_json(
                replace(SETTINGS.hands.diversity, datasets=(), held_out="", clips=1)
            )
        ),
        code=code_of("hands.study_diversity"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.hands.study_diversity --layers {input.layers} --held-out {input.held_out}"
        " --panoramas {input.panoramas}"
        " --config {params.config:q} --device {resources.device} --table {output.table}"
        " --weights {output.weights} > {log} 2>&1"


rule recognise_drawn:
    input:
        layers=lambda wc: [
            f"data/rendered/{wc.scale}/{SETTINGS.hands.diversity.held_out}/layers-{job}.npz"
            for job in CATALOGUE.render_jobs(SETTINGS.hands.diversity.held_out)
        ],
        panoramas="data/prepared/panoramas/panoramas.npz",
        diversity="results/{scale}/egogestvid/models/diversity/weights.safetensors",
        classifier="results/{scale}/egogestvid/models/trajectories/weights.safetensors",
        classifier_info="results/{scale}/egogestvid/models/trajectories/classifier.json",
    output:
        table=dvc("results/{scale}/egogestvid/tables/gestures.csv"),
    log:
        "results/{scale}/logs/recognise_drawn.log",
    benchmark:
        "results/{scale}/benchmarks/recognise_drawn.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        clips=SETTINGS.hands.diversity.clips,
        code=code_of("hands.recognise_drawn"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.hands.recognise_drawn --layers {input.layers} --panoramas {input.panoramas}"
        " --diversity {input.diversity} --classifier {input.classifier} --classifier-info {input.classifier_info}"
        " --clips {params.clips} --table {output.table} > {log} 2>&1"


rule measure_diversity:
    input:
        table="results/{scale}/egogestvid/tables/diversity.csv",
        gestures="results/{scale}/egogestvid/tables/gestures.csv",
    output:
        measurements=dvc("results/{scale}/egogestvid/parts/measure_diversity.json"),
    log:
        "results/{scale}/logs/measure_diversity.log",
    benchmark:
        "results/{scale}/benchmarks/measure_diversity.tsv"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        code=code_of("hands.measure_diversity"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.hands.measure_diversity --table {input.table} --gestures {input.gestures}"
        " --measurements {output.measurements} > {log} 2>&1"


rule plot_diversity:
    input:
        table="results/{scale}/egogestvid/tables/diversity.csv",
    output:
        figure=report(
            dvc("results/{scale}/egogestvid/figures/diversity.svg"),
            caption="../report/diversity.rst",
            category="egogestvid",
            labels={"figure": "training places"},
        ),
        drawn=dvc("results/{scale}/egogestvid/figures/diversity.csv"),
    log:
        "results/{scale}/logs/plot_diversity.log",
    benchmark:
        "results/{scale}/benchmarks/plot_diversity.tsv"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        code=code_of("hands.plot_diversity"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.hands.plot_diversity --table {input.table} --figure {output.figure}"
        " --drawn {output.drawn} > {log} 2>&1"


rule train_trajectory_classifier:
    output:
        weights=dvc(
            "results/{scale}/egogestvid/models/trajectories/weights.safetensors"
        ),
        info=dvc("results/{scale}/egogestvid/models/trajectories/classifier.json"),
    log:
        "results/{scale}/logs/train_trajectory_classifier.log",
    benchmark:
        "results/{scale}/benchmarks/train_trajectory_classifier.tsv"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=30,
    params:
        config=verbatim(to_json(SETTINGS.hands.trajectories)),
        code=code_of("hands.train_trajectory_classifier"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.hands.train_trajectory_classifier --config {params.config:q}"
        " --weights {output.weights} --info {output.info} > {log} 2>&1"


rule classify_trajectories:
    input:
        weights="results/{scale}/egogestvid/models/trajectories/weights.safetensors",
        info="results/{scale}/egogestvid/models/trajectories/classifier.json",
        trajectories="data/prepared/egogestar/{split}/trajectories.parquet",
    output:
        table=dvc("results/{scale}/egogestvid/tables/trajectories/{split}.csv"),
    log:
        "results/{scale}/logs/classify_trajectories/{split}.log",
    benchmark:
        "results/{scale}/benchmarks/classify_trajectories/{split}.tsv"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=10,
    params:
        code=code_of("hands.classify_trajectories"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.hands.classify_trajectories --weights {input.weights} --info {input.info}"
        " --trajectories {input.trajectories} --table {output.table} > {log} 2>&1"


rule train_fingertips:
    input:
        layers=[
            f"data/rendered/{{scale}}/{name}/layers-{job}.npz"
            for name in SETTINGS.hands.sets
            for job in CATALOGUE.render_jobs(name)
        ],
        panoramas="data/prepared/panoramas/panoramas.npz",
    output:
        weights=dvc("results/{scale}/egogestvid/models/fingertips/weights.safetensors"),
        info=dvc("results/{scale}/egogestvid/models/fingertips/fingertips.json"),
    log:
        "results/{scale}/logs/train_fingertips.log",
    benchmark:
        "results/{scale}/benchmarks/train_fingertips.tsv"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=120,
        gpu=GPUS,
        device=config["device"],
    params:
        config=verbatim(to_json(SETTINGS.hands.fingertips)),
        code=code_of("hands.train_fingertips"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.hands.train_fingertips --layers {input.layers} --panoramas {input.panoramas}"
        " --config {params.config:q} --device {resources.device} --weights {output.weights} --info {output.info}"
        " > {log} 2>&1"


rule make_motion_images:
    input:
        layers=lambda wc: [
            f"data/rendered/{wc.scale}/{name}/layers-{job}.npz"
            for name in CATALOGUE.motion_sets(wc.split)
            for job in CATALOGUE.render_jobs(name)
        ],
        panoramas="data/prepared/panoramas/panoramas.npz",
    output:
        images=dvc("data/rendered/{scale}/motion/{split}/images.npy"),
        labels=dvc("data/rendered/{scale}/motion/{split}/labels.npy"),
        info=dvc("data/rendered/{scale}/motion/{split}/dataset.json"),
    log:
        "results/{scale}/logs/make_motion_images/{split}.log",
    benchmark:
        "results/{scale}/benchmarks/make_motion_images/{split}.tsv"
    wildcard_constraints:
        split="train|selection|test",
    priority: EARLY
    threads: 1
    resources:
        mem_mb=3000,
        runtime=60,
    params:
        size=lambda wc: getattr(SETTINGS.hands.motion, wc.split),
        seed=SETTINGS.hands.motion.seed,
        folder=lambda wc, output: parent_of(output.info),
        code=code_of("hands.make_motion_images"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.hands.make_motion_images --layers {input.layers} --panoramas {input.panoramas}"
        " --split {wildcards.split} --count {params.size} --seed {params.seed} --folder {params.folder}"
        " > {log} 2>&1"


rule picture_videos:
    input:
        index="data/prepared/egogestar/videos/index.csv",
    output:
        images=none("data/rendered/{scale}/motion_of_videos/images.npy"),
        labels=none("data/rendered/{scale}/motion_of_videos/labels.npy"),
        info=none("data/rendered/{scale}/motion_of_videos/dataset.json"),
    log:
        "results/{scale}/logs/picture_videos.log",
    benchmark:
        "results/{scale}/benchmarks/picture_videos.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        videos=lambda wc, input: parent_of(input.index),
        folder=lambda wc, output: parent_of(output.info),
        code=code_of("hands.make_motion_images"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.hands.make_motion_images --videos {params.videos} --split test"
        " --folder {params.folder} > {log} 2>&1"


rule recognise_videos:
    input:
        index="data/prepared/egogestar/videos/index.csv",
        fingertips="results/{scale}/egogestvid/models/fingertips/weights.safetensors",
        fingertips_info="results/{scale}/egogestvid/models/fingertips/fingertips.json",
        classifier="results/{scale}/egogestvid/models/trajectories/weights.safetensors",
        classifier_info="results/{scale}/egogestvid/models/trajectories/classifier.json",
    output:
        table=dvc("results/{scale}/egogestvid/tables/videos.csv"),
    log:
        "results/{scale}/logs/recognise_videos.log",
    benchmark:
        "results/{scale}/benchmarks/recognise_videos.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        videos=lambda wc, input: parent_of(input.index),
        code=code_of("hands.recognise_videos"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.hands.recognise_videos --videos {params.videos} --fingertips {input.fingertips}"
        " --fingertips-info {input.fingertips_info} --classifier {input.classifier}"
        " --classifier-info {input.classifier_info} --table {output.table} > {log} 2>&1"


rule measure_recognition:
    input:
        trajectories="results/{scale}/egogestvid/tables/trajectories/test.csv",
        videos="results/{scale}/egogestvid/tables/videos.csv",
    output:
        measurements=dvc("results/{scale}/egogestvid/parts/measure_recognition.json"),
    log:
        "results/{scale}/logs/measure_recognition.log",
    benchmark:
        "results/{scale}/benchmarks/measure_recognition.tsv"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        code=code_of("hands.measure_recognition"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.hands.measure_recognition --trajectories {input.trajectories}"
        " --videos {input.videos} --measurements {output.measurements} > {log} 2>&1"


rule plot_contact_sheet:
    input:
        datasets=[
            f"data/rendered/{{scale}}/{name}/dataset/annotations.json"
            for name in SETTINGS.hands.sets
        ],
    output:
        figure=report(
            dvc("results/{scale}/egogestvid/figures/contact_sheet.svg"),
            caption="../report/contact_sheet.rst",
            category="egogestvid",
            labels={"figure": "rendered frames"},
        ),
        drawn=dvc("results/{scale}/egogestvid/figures/contact_sheet.csv"),
    log:
        "results/{scale}/logs/plot_contact_sheet.log",
    benchmark:
        "results/{scale}/benchmarks/plot_contact_sheet.tsv"
    resources:
        mem_mb=1500,
        runtime=10,
    params:
        datasets=lambda wc, input: [parent_of(file) for file in input.datasets],
        code=code_of("hands.plot_contact_sheet"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.hands.plot_contact_sheet --datasets {params.datasets} --figure {output.figure}"
        " --drawn {output.drawn} > {log} 2>&1"


rule plot_preview:
    input:
        datasets=[
            f"data/rendered/{{scale}}/{name}/dataset/annotations.json"
            for name in SETTINGS.hands.sets
        ],
    output:
        figure=report(
            dvc("results/{scale}/egogestvid/figures/preview.svg"),
            caption="../report/preview.rst",
            category="egogestvid",
            labels={"figure": "rendered clips"},
        ),
        drawn=dvc("results/{scale}/egogestvid/figures/preview.csv"),
    log:
        "results/{scale}/logs/plot_preview.log",
    benchmark:
        "results/{scale}/benchmarks/plot_preview.tsv"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        datasets=lambda wc, input: [parent_of(file) for file in input.datasets],
        code=code_of("hands.plot_preview"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.hands.plot_preview --datasets {params.datasets} --figure {output.figure}"
        " --drawn {output.drawn} > {log} 2>&1"


rule compare_templates:
    input:
        trajectories="data/prepared/egogestar/train/trajectories.parquet",
    output:
        figure=report(
            dvc("results/{scale}/egogestvid/figures/templates.svg"),
            caption="../report/templates.rst",
            category="egogestvid",
            labels={"figure": "drawn and real trajectories"},
        ),
        drawn=dvc("results/{scale}/egogestvid/figures/templates.csv"),
    log:
        "results/{scale}/logs/compare_templates.log",
    benchmark:
        "results/{scale}/benchmarks/compare_templates.tsv"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code_of("hands.compare_templates"),
        env=env_of("main"),
    shell:
        "envs/py main -m stages.hands.compare_templates --trajectories {input.trajectories}"
        " --figure {output.figure} --drawn {output.drawn} > {log} 2>&1"


rule egogestvid:
    input:
        f"results/{SCALE}/egogestvid/figures/preview.svg",
        (
            f"results/{SCALE}/egogestvid/figures/templates.svg"
            if CATALOGUE.real_gestures()
            else []
        ),
        f"results/{SCALE}/egogestvid/figures/contact_sheet.svg",
        (
            f"results/{SCALE}/egogestvid/figures/diversity.svg"
            if SETTINGS.hands.diversity.datasets
            else []
        ),
        (
            f"results/{SCALE}/egogestvid/figures/arms.svg"
            if SETTINGS.hands.planar.datasets
            else []
        ),
        f"results/{SCALE}/egogestvid/measurements.json",
        f"results/{SCALE}/egogestvid/models/fingertips/fingertips.json",
        expand(
            "data/rendered/{scale}/motion/{split}/dataset.json",
            scale=SCALE,
            split=["train", "selection", "test"],
        ),
        f"results/{SCALE}/egogestvid/models/trajectories/classifier.json",
