"""Integer-exact products against Python's integers, term by term, and against the exact accumulator bound."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.lib.core.errors import InputError
from stages.lib.numerics.accumulators import exact_accumulator_bits
from stages.lib.numerics.decode import decode_table
from stages.lib.numerics.formats import parse_format, values_in_steps
from stages.lib.numerics.integer_matmul import exact_matmul, steps_of

PAIRS = [
    ("INT4", "INT4"), ("FULLINT8", "UINT8"), ("E2M1", "E2M1"), ("E3M2", "UE3M3"), ("INT4", "E4M3"),
    ("E4M3", "E4M3"), ("E5M0", "INT3"), ("E5M2", "INT8"), ("E5M2", "E4M3"), ("E5M2", "E5M2"), ("E5M2", "UE5M3"),
]  # fmt: skip
pairs = st.sampled_from(PAIRS)
seeds = st.integers(0, 2**32 - 1)


def step_table(name):
    """Steps of every code, by exact fractions of Python's floats."""
    values = decode_table(parse_format(name))
    values = values[~np.isnan(values)]
    smallest = min(v for v in values if v > 0)
    return np.array([int(v / smallest) for v in values.tolist()], dtype=np.int64)


def random_operands(pair, seed, outputs=3, terms=23, columns=5):
    rng = np.random.default_rng(seed)
    w, x = (step_table(name) for name in pair)
    w, x = rng.choice(w, (outputs, terms)), rng.choice(x, (terms, columns))
    return w * rng.integers(0, 2, w.shape), x  # half of the weights are zero, as in pruned layers


def by_hand(w, x, accumulate=lambda s: s):
    """Final sums and needed widths (O, N), in Python's integers; `accumulate` is what each step leaves."""
    sums, widths = np.zeros((len(w), x.shape[1]), object), np.ones((len(w), x.shape[1]), int)
    for o, c in np.ndindex(sums.shape):
        total, exact, bits = 0, 0, 1
        for k in range(w.shape[1]):
            product = int(w[o, k]) * int(x[k, c])
            total, exact = accumulate(total + product), exact + product
            # the definition of two's complement: -2^(b - 1) <= exact < 2^(b - 1)
            while not -(2 ** (bits - 1)) <= exact < 2 ** (bits - 1):
                bits += 1
        sums[o, c], widths[o, c] = total, bits
    return sums, widths


def histogram(widths, length):
    return np.bincount(widths.ravel(), minlength=length)


def test_steps_of_the_notes_and_of_every_code():
    assert sorted(set(step_table("E2M1"))) == [-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12]
    for name in ("E2M1", "E3M0", "UE4M4", "E5M2", "INT8", "FULLINT4"):
        table = decode_table(parse_format(name))
        steps = steps_of(table[~np.isnan(table)], parse_format(name))
        np.testing.assert_array_equal(steps, step_table(name))
        assert (steps.min(), steps.max()) == values_in_steps(parse_format(name))


def test_what_is_no_value_or_too_wide_is_refused():
    for wrong in (0.25, 5.0, 8.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="not a value of E2M1"):
            steps_of(np.array([1.5, wrong]), parse_format("E2M1"))
    with pytest.raises(InputError, match="E6M1 spans 64 bits"):
        steps_of(np.array([1.0]), parse_format("E6M1"))
    w = np.full((1, 4), 2**60)
    with pytest.raises(InputError, match="sums of up to 124 bits exceed"):
        exact_matmul(w, w.T)
    with pytest.raises(InputError, match="accumulator_bits is 1"):
        exact_matmul(w, w.T, accumulator_bits=1)
    with pytest.raises(TypeError):
        exact_matmul(w + 0.5, w.T)


@settings(deadline=None)  # the first call compiles
@given(pairs, seeds)
def test_sums_and_needed_widths_are_pythons(pair, seed):
    w, x = random_operands(pair, seed)
    found = exact_matmul(w, x)
    sums, widths = by_hand(w, x)
    assert (found.to_integers() == sums).all()
    np.testing.assert_array_equal(found.needed_bits, histogram(widths, len(found.needed_bits)))
    expected = sums.astype(np.float64)  # Python rounds an integer of any size to the nearest float
    np.testing.assert_allclose(found.to_float64(), expected, rtol=2.0**-52, atol=0)


@settings(deadline=None)  # the first call compiles
@given(pairs, seeds, st.integers(0, 30))
def test_a_narrow_accumulator_wraps_or_saturates(pair, seed, less):
    w, x = random_operands(pair, seed)
    _, widths = by_hand(w, x)
    bits = max(int(widths.max()) - less, 2)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    steps = {
        "wrap": lambda s: (s - low) % 2**bits + low,
        "saturate": lambda s: min(max(s, low), high),
    }
    for overflow, accumulate in steps.items():
        found = exact_matmul(w, x, accumulator_bits=bits, overflow=overflow)
        sums, _ = by_hand(w, x, accumulate)
        assert (found.to_integers() == sums).all()
        np.testing.assert_allclose(found.to_float64(), sums.astype(float), rtol=2.0**-52, atol=0)
        assert found.overflows(bits) == int((widths > bits).sum())


# a block takes 1,024 columns, or with more than 2,048 terms 64; four terms make one unrolled step
@pytest.mark.parametrize(
    ("terms", "columns"), [(1, 1), (4, 3), (5, 1024), (3, 2500), (2100, 64), (2100, 130)]
)
def test_blocks_and_unrolled_terms_leave_no_seam(terms, columns):
    rng = np.random.default_rng(0)
    w = rng.integers(-127, 128, (2, terms))
    for limit in (127, 2**20, 2**33):  # sums of 32 bits, of 64, and two limbs
        scaled, x = w * (limit // 127), rng.integers(-limit, limit + 1, (terms, columns))
        found = exact_matmul(scaled, x)
        assert (found.to_integers() == scaled.astype(object) @ x.astype(object)).all()
        assert found.needed_bits.sum() == 2 * columns


@pytest.mark.parametrize("pair", PAIRS, ids="x".join)
@pytest.mark.parametrize("length", [1, 27, 4608])
def test_the_exact_bound_is_reached_by_the_extremes(pair, length):
    a, b = map(parse_format, pair)
    bits = exact_accumulator_bits(a, b, length=length)
    w = np.array([[v] * length for v in values_in_steps(a)])
    x = np.array([[v] * length for v in values_in_steps(b)]).T
    needed = exact_matmul(w, x).needed_bits
    assert np.flatnonzero(needed).max() == bits


@settings(max_examples=30, deadline=None)
@given(pairs, seeds)
def test_the_exact_bound_is_never_exceeded(pair, seed):
    a, b = map(parse_format, pair)
    w, x = random_operands(pair, seed, terms=50)
    assert exact_matmul(w, x).overflows(exact_accumulator_bits(a, b, length=50)) == 0
