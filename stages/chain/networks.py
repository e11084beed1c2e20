"""The networks of the chain as a command is given them: JSON of seed, route, owner and folder."""

import json
from pathlib import Path
from typing import Any

from stages.lib.core.errors import InputError


def read_networks(text: str) -> list[dict[str, Any]]:
    try:
        networks = json.loads(text)
        for network in networks:
            network["folder"] = Path(network["folder"])
            network["route"], network["owner"], network["seed"]
    except (TypeError, KeyError, ValueError) as error:
        raise InputError(f"--networks is no JSON list of seed, route, owner, folder: {error}") from None
    return networks
