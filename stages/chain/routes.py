"""Routes of a recogniser through the steps, as names that stand in paths: teacher+guided+prune-75+int8."""

import itertools
from collections.abc import Iterator, Mapping

from stages.chain.config import SKIP, ChainConfig, ChainStep
from stages.lib.core.errors import InputError
from stages.lib.core.users import EVERYONE

START = "teacher"
JOINT = "+"
DISTIL = ("replay", "expansion")


def routes_of(config: ChainConfig) -> dict[str, tuple[str, ...]]:
    """Route -> the users for whom it is taken, of every route and all that lie on its way, shorter ones first.

    Raises InputError where the order of steps is one that cannot be: see check_order.
    """
    found: dict[str, set[str]] = {}
    for steps, users in _choices(config):
        check_order(steps, config.steps)
        for length in range(len(steps) + 1):
            found.setdefault(JOINT.join((START, *steps[:length])), set()).update(users)
    ordered = sorted(found, key=lambda route: route.count(JOINT))
    return {route: tuple(user for user in config.users if user in found[route]) for route in ordered}


def steps_of(route: str) -> tuple[str, ...]:
    return tuple(route.split(JOINT)[1:])


def before(route: str) -> str:
    """The route without its last step."""
    return route.rpartition(JOINT)[0]


def way(route: str) -> list[str]:
    """The route and all before it, the teacher first."""
    found = [route]
    while before(found[0]):
        found.insert(0, before(found[0]))
    return found


def kind_of(route: str, steps: Mapping[str, ChainStep]) -> str:
    """Kind of the last step; "" for the teacher."""
    names = steps_of(route)
    return steps[names[-1]].kind if names else ""


def float_route(route: str, steps: Mapping[str, ChainStep]) -> str:
    """The route up to the network that is quantised."""
    return before(route) if kind_of(route, steps) == "quantise" else route


def owners(route: str, users: tuple[str, ...], steps: Mapping[str, ChainStep]) -> tuple[str, ...]:
    """For whom there are networks of the route: each user once it is pruned, else everyone."""
    pruned = any(steps[name].kind == "prune" for name in steps_of(route))
    return users if pruned else (EVERYONE,)


def check_order(names: tuple[str, ...], steps: Mapping[str, ChainStep]) -> None:
    """Raise InputError where a step would undo the one before it or could not follow it."""
    kinds = [steps[name].kind for name in names]
    route = JOINT.join((START, *names))
    if "quantise" in kinds[:-1]:
        raise InputError(
            f"chain.orders has {route}: what follows {names[kinds.index('quantise')]} would train weights that are"
            " rounded already; put the step of kind quantise last"
        )
    if kinds.count("prune") > 1:
        raise InputError(f"chain.orders has {route}: it prunes twice; leave one of the steps out")


def _choices(config: ChainConfig) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    for order in config.orders:
        for choice in itertools.product(*order.slots):
            yield tuple(name for name in choice if name != SKIP), order.users or tuple(config.users)
