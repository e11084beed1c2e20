"""Holds manifests to the schemas that Kubernetes publishes: in the environment `oracles`, called by test_kubernetes.py.

envs/py oracles tests/cluster/kubernetes_judge.py manifest.json ...   unknown keys are errors
"""

import json
import sys
from pathlib import Path

import kubernetes_validate

# the first version whose Jobs start disrupted pods again without a feature gate, and the newest that is known here
VERSIONS = ("1.31", kubernetes_validate.latest_version())


def main() -> None:
    for path in sys.argv[1:]:
        for version in VERSIONS:
            kubernetes_validate.validate(json.loads(Path(path).read_text()), version, strict=True)


if __name__ == "__main__":
    main()
