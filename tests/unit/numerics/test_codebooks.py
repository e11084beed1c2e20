"""Code books, tiles and packed bits against brute force."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stages.lib.core.errors import InputError
from stages.lib.numerics.bit_packing import bits_for, pack_fields, unpack_field
from stages.lib.numerics.codebooks import (
    CLIPS,
    code_book,
    fitted_scales,
    nearest,
    rounded,
    weighted_centroids,
)
from stages.lib.numerics.tiles import from_tiles, spread, to_tiles

BOOKS = st.lists(st.integers(-128, 127), min_size=1, max_size=16, unique=True).filter(any)


@given(BOOKS, st.lists(st.floats(-200, 200, width=32), min_size=1, max_size=30))
def test_no_value_of_the_book_is_nearer(values, x):
    book, x = code_book(values), torch.tensor(x)
    chosen = (book[nearest(x, book)].double() - x).abs()
    assert torch.equal(chosen, (book[None].double() - x[:, None]).abs().min(1).values)


@given(BOOKS, st.integers(0, 100))
def test_no_clip_and_no_sign_has_a_smaller_error(values, seed):
    book = code_book(values)
    row = torch.randn(40, generator=torch.Generator().manual_seed(seed))
    scale = fitted_scales(row[None], book)[0]
    errors = []
    for sign in (1, -1):
        turned = (sign * book).sort().values
        reach = max(
            float(row.max() / turned[-1]) if turned[-1] > 0 else 0,
            float(row.min() / turned[0]) if turned[0] < 0 else 0,
        )
        errors += [
            float(((rounded(row, turned, torch.tensor(reach * c)) - row) ** 2).sum())
            for c in CLIPS
            if reach > 0
        ]
    found = float(((rounded(row, book, scale) - row) ** 2).sum())
    assert found == pytest.approx(min(errors), rel=1e-4)


def test_a_lopsided_book_serves_both_signs():
    book = code_book([0, 1, 2, 4, 8, 16, 32, 64, -128])
    row = -torch.rand(200, generator=torch.Generator().manual_seed(0))[None]
    assert fitted_scales(row, book)[0] < 0
    assert fitted_scales(row, book, signs=False)[0] > 0


def test_a_book_of_zeros_is_refused():
    with pytest.raises(InputError, match="other than 0"):
        code_book([0])


def test_two_centroids_are_the_best_split():
    """The best two clusters on a line are two intervals: all splits are tried."""
    values = torch.tensor([[0.1, 0.25, 0.9, 1.3, 5.0, 5.5, 6.1, 9.0]])
    weight = torch.tensor([[1.0, 2.0, 1.0, 1.0, 3.0, 1.0, 1.0, 2.0]])

    def error(centroids):
        return float(((values[0][:, None] - centroids).abs().min(1).values ** 2 * weight[0]).sum())

    def mean(part):
        return (values[0, part] * weight[0, part]).sum() / weight[0, part].sum()

    best = min(error(torch.stack([mean(slice(0, k)), mean(slice(k, 8))])) for k in range(1, 8))
    assert error(weighted_centroids(values, weight, 2)[0]) == pytest.approx(best, rel=1e-5)


def test_centroids_beat_every_book_drawn_from_the_values():
    row = torch.randn(1, 12, generator=torch.Generator().manual_seed(1))
    found = weighted_centroids(row, torch.ones_like(row), 3)[0]

    def error(book):
        return float(((row[0][:, None] - book).abs().min(1).values ** 2).sum())

    assert error(found) <= 1.05 * min(error(torch.tensor(c)) for c in combinations(row[0].tolist(), 3))


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4))
def test_tiles_give_the_matrix_back(rows, columns, side):
    matrix = torch.arange(rows * columns, dtype=torch.float32).view(rows, columns)
    tiles = to_tiles(matrix, side)
    assert torch.equal(from_tiles(tiles, matrix.shape), matrix)
    numbers = torch.arange(tiles.shape[0] * tiles.shape[1]).view(tiles.shape[:2])
    wanted = [[int(numbers[i // side, j // side]) for j in range(columns)] for i in range(rows)]
    assert spread(numbers, side, matrix.shape).tolist() == wanted


@given(
    st.integers(1, 20).flatmap(
        lambda w: st.tuples(st.just(w), arrays(np.int64, 13, elements=st.integers(0, 2**w - 1)))
    )
)
def test_packed_bits_read_as_one_long_number(case):
    width, values = case
    packed = pack_fields((values, width))
    assert "".join(f"{v:0{width}b}" for v in values) == "".join(f"{b:08b}" for b in packed)[: 13 * width]
    assert len(packed) == -(-13 * width // 8)
    assert unpack_field(packed, n=13, width=width).tolist() == values.tolist()


@pytest.mark.parametrize(("cases", "bits"), [(1, 0), (2, 1), (9, 4), (16, 4), (17, 5), (729, 10)])
def test_bits_that_tell_cases_apart(cases, bits):
    assert bits_for(cases) == bits
