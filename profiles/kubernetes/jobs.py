"""What Snakemake's executor cluster-generic calls to run jobs on Kubernetes, by kubectl.

python3 profiles/kubernetes/jobs.py submit --image IMAGE --claim CLAIM JOBSCRIPT   prints the name of the new Job
python3 profiles/kubernetes/jobs.py status NAME                                    prints running, success or failed
"""

import argparse
import json
import re
import subprocess
import sys
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    if args.command == "submit":
        properties = properties_of(args.jobscript.read_text())
        manifest = job_manifest(properties, args.jobscript, root=ROOT, image=args.image, claim=args.claim)
        done = kubectl("create", "-f", "-", stdin=json.dumps(manifest))
        if done.returncode:
            sys.exit(done.stderr)
        print(manifest["metadata"]["name"])
    else:
        done = kubectl("get", "job", args.name, "-o", "json")
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            # a Job that was deleted does not come back; a server that does not answer is asked again
            print("failed" if "(NotFound)" in done.stderr else "running")
        else:
            print(state_of(json.loads(done.stdout)))


def properties_of(jobscript: str) -> dict:
    """Rule, threads and resources of a job, which Snakemake writes as JSON into a comment of its script."""
    return json.loads(re.search(r"^# properties = (.*)$", jobscript, flags=re.MULTILINE)[1])


def job_manifest(properties: dict, jobscript: Path, *, root: Path, image: str, claim: str) -> dict:
    """The Job that runs a script, below `root` on the claim, with the threads, mem_mb, runtime and gpu of its rule.

    A pod that is evicted or preempted is started again; one that fails or passes its time is not, but then Snakemake
    submits the job again as often as its rule's `retries` say.
    """
    resources = properties["resources"]
    asked = {"cpu": str(properties["threads"]), "memory": f"{resources['mem_mb']}M"}
    if resources.get("gpu"):
        asked["nvidia.com/gpu"] = str(resources["gpu"])
    labels = {"app": "sevenfold", "rule": properties["rule"]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": f"sevenfold-{uuid.uuid4()}",
            "labels": labels,
        },
        "spec": {
            "backoffLimit": 0,
            "podFailurePolicy": {
                "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
            },
            "ttlSecondsAfterFinished": 24 * 3600,
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "restartPolicy": "Never",
                    # of the pod, not of the Job, whose time runs while it waits for a node
                    "activeDeadlineSeconds": 60 * resources["runtime"],
                    "containers": [
                        {
                            "name": "job",
                            "image": image,
                            "command": ["/bin/sh", str(jobscript)],
                            "workingDir": str(root),
                            # one thread a job, as on one machine; a home that may be written to
                            "env": [{"name": "OMP_NUM_THREADS", "value": "1"}, {"name": "HOME", "value": "/tmp"}],
                            # what is asked for is what there is: a GPU needs both, and the two equal
                            "resources": {"requests": asked, "limits": asked},
                            "volumeMounts": [{"name": "checkout", "mountPath": str(root)}],
                        }
                    ],
                    "volumes": [{"name": "checkout", "persistentVolumeClaim": {"claimName": claim}}],
                },
            },
        },
    }  # fmt: skip


def state_of(job: dict) -> str:
    conditions = job.get("status", {}).get("conditions", [])
    ended = {condition["type"] for condition in conditions if condition["status"] == "True"}
    return "success" if "Complete" in ended else "failed" if "Failed" in ended else "running"


def kubectl(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["kubectl", *arguments], input=stdin, capture_output=True, text=True)
    except FileNotFoundError:
        sys.exit("error: kubectl is not here; run where it is")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="jobs.py", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    submit = commands.add_parser("submit")
    submit.add_argument(
        "--image", required=True, help="with the Python 3.11 that the environments were made with"
    )
    submit.add_argument("--claim", required=True, help="PersistentVolumeClaim that holds this checkout")
    submit.add_argument("jobscript", type=Path)
    commands.add_parser("status").add_argument("name")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
