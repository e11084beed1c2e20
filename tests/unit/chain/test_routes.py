"""Routes against plain enumeration, and the orders that cannot be."""

import itertools

import pytest

from stages.chain.config import ChainConfig, ChainStep, OrderConfig
from stages.chain.routes import float_route, owners, routes_of, way
from stages.lib.core.errors import InputError
from stages.lib.core.users import EVERYONE

STEPS = {
    "replay": ChainStep(kind="replay", study="s", method="pre"),
    "half": ChainStep(kind="prune", study="s", method="hybrid", sparsity=0.5),
    "most": ChainStep(kind="prune", study="s", method="hybrid", sparsity=0.9),
    "int8": ChainStep(kind="quantise", formats="INT8"),
    "int4": ChainStep(kind="quantise", formats="INT4"),
}
USERS = {"anna": ("tick",), "ben": ("left",)}


def chain(*orders: OrderConfig) -> ChainConfig:
    return ChainConfig(users=USERS, steps=STEPS, orders=orders)


def test_routes_are_all_choices_and_all_that_lies_on_their_way():
    slots = (("skip", "replay"), ("half", "most"), ("skip", "int8", "int4"))
    expected = set()
    for choice in itertools.product(*slots):
        names = ["teacher", *(name for name in choice if name != "skip")]
        expected |= {"+".join(names[:length]) for length in range(1, len(names) + 1)}
    found = routes_of(chain(OrderConfig(slots=slots)))
    assert set(found) == expected
    assert all(users == ("anna", "ben") for users in found.values())
    # what a route rests on comes before it
    order = list(found)
    assert all(order.index(step) < order.index(route) for route in order for step in way(route)[:-1])


def test_a_route_is_taken_for_the_users_of_all_orders_that_lead_over_it():
    found = routes_of(
        chain(
            OrderConfig(slots=(("half",), ("int8",))),
            OrderConfig(slots=(("half",), ("replay",)), users=("ben",)),
        )
    )
    assert found["teacher+half"] == ("anna", "ben")
    assert found["teacher+half+replay"] == ("ben",)
    assert owners("teacher+half+replay", ("ben",), STEPS) == ("ben",)
    assert owners("teacher+replay", ("ben",), STEPS) == (EVERYONE,)
    assert float_route("teacher+half+int8", STEPS) == "teacher+half"
    assert float_route("teacher+half", STEPS) == "teacher+half"


@pytest.mark.parametrize(
    ("slots", "why"), [((("int8",), ("half",)), "rounded already"), ((("half",), ("most",)), "prunes twice")]
)
def test_orders_that_cannot_be_are_refused(slots, why):
    with pytest.raises(InputError, match=why):
        routes_of(chain(OrderConfig(slots=slots)))
