"""The profile for Kubernetes: manifests that Kubernetes' schemas accept, and a run with a stand-in for kubectl.

The stand-in runs a Job's command on this machine with nothing but the environment of its manifest. What a real
cluster does with a Job (scheduling, mounting, disruptions) is not tested.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from profiles.kubernetes.jobs import job_manifest, state_of
from tests.checkout import ROOT, copy_of_checkout

KUBECTL = f"""\
#!{sys.executable}
import json, os, pathlib, subprocess, sys
folder = pathlib.Path(os.environ["STAND_IN"])
match sys.argv[1:]:
    case ["create", "-f", "-"]:
        job = json.load(sys.stdin)
        first = not any(folder.glob("*.json"))
        (pod,) = job["spec"]["template"]["spec"]["containers"]
        environ = {{"PATH": "/usr/bin:/bin"}} | {{e["name"]: e["value"] for e in pod["env"]}}
        # the first job that comes passes its time without having done anything
        code = 1 if first else subprocess.run(pod["command"], cwd=pod["workingDir"], env=environ).returncode
        job["status"] = {{"conditions": [{{"type": "Failed" if code else "Complete", "status": "True"}}]}}
        (folder / f"{{len(list(folder.iterdir()))}}.json").write_text(json.dumps(job))
    case ["get", "job", name, "-o", "json"]:
        (text,) = [t for t in map(pathlib.Path.read_text, folder.iterdir()) if json.loads(t)["metadata"]["name"] == name]
        print(text)
"""
TARGET = "data/prepared/digits/test/labels.npy"
GPU_JOB = {"rule": "train_teacher", "threads": 2, "resources": {"mem_mb": 3000, "runtime": 120, "gpu": 1}}


def judge(*manifests: Path) -> None:
    command = [ROOT / "envs/py", "oracles", ROOT / "tests/cluster/kubernetes_judge.py", *manifests]
    if not (ROOT / ".venv/oracles").exists():
        pytest.skip("the environment oracles is not there: ./repro setup oracles")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_run_through_kubectl_sends_a_failed_job_again(tmp_path):
    checkout = copy_of_checkout(tmp_path / "checkout")
    bin, sent = tmp_path / "bin", tmp_path / "sent"
    bin.mkdir(), sent.mkdir()
    (bin / "kubectl").write_text(KUBECTL)
    (bin / "kubectl").chmod(0o755)
    environ = os.environ | {"PATH": f"{bin}:{os.environ['PATH']}", "STAND_IN": str(sent)}
    command = ["./repro", "run", "--scale", "smoke", "--profile", "kubernetes", TARGET]
    options = ["--", "--retries", "1", "--seconds-between-status-checks", "1"]
    done = subprocess.run(
        [*command, *options], cwd=checkout.root, env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = [json.loads(file.read_text()) for file in sorted(sent.iterdir())]
    assert [state_of(job) for job in jobs] == ["failed", "success"]
    assert len({job["metadata"]["name"] for job in jobs}) == 2
    pod = jobs[1]["spec"]["template"]["spec"]
    rule = (ROOT / "workflow/rules/datasets.smk").read_text().split("rule prepare_images:")[1]
    memory, minutes = re.search(r"mem_mb=(\d+),\s+runtime=(\d+)", rule).groups()
    asked = {"cpu": "1", "memory": f"{memory}M"}
    assert pod["containers"][0]["resources"] == {"requests": asked, "limits": asked}
    assert pod["activeDeadlineSeconds"] == int(minutes) * 60
    assert (checkout.root / TARGET).is_file()
    assert not checkout.planned("--", TARGET)
    for job in jobs:
        del job["status"]
    (tmp_path / "job.json").write_text(json.dumps(jobs[1]))
    judge(tmp_path / "job.json")


def test_a_gpu_is_asked_for_as_kubernetes_wants_it(tmp_path):
    manifest = job_manifest(
        GPU_JOB, Path("job.sh"), root=Path("/checkout"), image="python:3.11", claim="mine"
    )
    resources = manifest["spec"]["template"]["spec"]["containers"][0]["resources"]
    # more than requests: Kubernetes refuses a GPU whose limit is not given, or another
    assert resources["limits"]["nvidia.com/gpu"] == resources["requests"]["nvidia.com/gpu"] == "1"
    (tmp_path / "job.json").write_text(json.dumps(manifest))
    judge(tmp_path / "job.json")


@pytest.mark.parametrize(("profile", "device", "gpus"), [("slurm", "auto", "0"), ("kubernetes", "cuda", "1")])
def test_the_smoke_scale_can_be_planned_and_only_cuda_asks_for_gpus(profile, device, gpus, tmp_path):
    checkout = copy_of_checkout(tmp_path / "checkout")
    arguments = ["--profile", f"profiles/{profile}", "--config", "scale=smoke", f"device={device}"]
    done = checkout.snakemake("--dry-run", "--quiet", "progress", *arguments)
    assert done.returncode == 0, done.stderr
    assert set(re.findall(r"gpu=(\d+)", done.stdout)) == {gpus}


def test_a_job_that_kubectl_does_not_know_has_failed_and_other_trouble_is_waited_out(tmp_path):
    for words, state in (("from server (NotFound)", "failed"), (": i/o timeout", "running")):
        (tmp_path / "kubectl").write_text(f"#!/bin/sh\necho 'Error {words}' >&2; exit 1\n")
        (tmp_path / "kubectl").chmod(0o755)
        environ = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        command = [sys.executable, ROOT / "profiles/kubernetes/jobs.py", "status", "a"]
        done = subprocess.run(command, env=environ, capture_output=True, text=True)
        assert (done.returncode, done.stdout.strip()) == (0, state)
