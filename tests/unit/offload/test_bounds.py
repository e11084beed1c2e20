"""Limits by a second road: every placement and every exchange tried."""

import itertools

import numpy as np
import pytest

from stages.lib.core.errors import InputError
from stages.offload.placement import best_dynamic_ms, best_static, loads_between, misses_of, subsets
from stages.offload.routing import cosine, counts_of, top_share, top_share_of_noise

LAYER_MS = np.array([1.6, 3.5, 6.5])


@pytest.mark.parametrize("seed", range(5))
def test_best_exchanges_are_those_of_every_path_tried(seed):
    chance = np.random.default_rng(seed)
    chosen = np.array([chance.choice(4, 2, replace=False) for _ in range(5)])
    ways = subsets(4, 2)
    misses, loads = misses_of(chosen, ways), loads_between(ways)
    start = int(chance.integers(len(ways)))
    load_ms = float(chance.uniform(0.1, 6))
    least = min(
        sum(LAYER_MS[misses[t, path[t]]] + load_ms * loads[([start, *path])[t], path[t]] for t in range(5))
        for path in itertools.product(range(len(ways)), repeat=5)
    )
    found, exchanges = best_dynamic_ms(misses, loads, LAYER_MS, load_ms, start)
    assert found == pytest.approx(least)
    assert (exchanges == 0) == (found == pytest.approx(LAYER_MS[misses[:, start]].sum()))


def test_the_best_static_placement_is_the_best_of_all_and_no_better_than_exchanges_for_nothing():
    chance = np.random.default_rng(0)
    chosen = np.array([chance.choice(6, 2, replace=False) for _ in range(40)])
    ways = subsets(6, 3)
    times = [sum(LAYER_MS[sum(not way[e] for e in pair)] for pair in chosen) for way in ways]
    best, ms = best_static(chosen, ways, LAYER_MS)
    assert ms == pytest.approx(min(times)) == pytest.approx(times[best])
    free, _ = best_dynamic_ms(misses_of(chosen, ways), loads_between(ways), LAYER_MS, 0.0, 0)
    dear, moved = best_dynamic_ms(misses_of(chosen, ways), loads_between(ways), LAYER_MS, 1e6, best)
    assert free == pytest.approx(40 * LAYER_MS[0])
    assert dear == pytest.approx(ms)
    assert moved == 0


def test_too_many_placements_are_refused():
    with pytest.raises(InputError, match="too many"):
        subsets(64, 32)


def test_shares_of_known_counts():
    counts = np.array([[[6, 2, 1, 1]], [[0, 5, 5, 0]]])
    np.testing.assert_allclose(top_share(counts, 1)[:, 0], [0.6, 0.5])
    np.testing.assert_allclose(top_share(counts, 2)[:, 0], [0.8, 1.0])
    np.testing.assert_array_equal(counts_of(np.array([[0, 1], [1, 3]]), 4), [1, 2, 0, 1])
    np.testing.assert_allclose(cosine(np.array([1, 0]), np.array([[1, 1], [0, 3]])), [0.5**0.5, 0])
    even = np.full((50, 1, 8), 1000)
    noise = top_share_of_noise(even, 2, np.random.default_rng(0))
    assert (
        0.25 < noise.mean() < 0.27
    )  # of 8,000 choices chance makes two of eight experts hardly more than a quarter
