"""The distinct rows of a step against `numpy.unique`, step by step."""

import numpy as np
import pytest

from tfrec_zoo.data.step_columns import (
    PADDING_ROW,
    count_columns,
    find_columns,
    round_up_columns,
    take_rows,
)


def random_rows(seed, shape, most):
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, most + 1, shape).astype(np.int32)
    rows[0] = rng.integers(1, most + 1, shape[1])
    return rows


@pytest.mark.parametrize(
    ("shape", "most"),
    [((5, 40), 15), ((3, 1), 4), ((4, 300), 10**6), ((2, 64), 2**31 - 1), ((6, 700), 90)],
)
def test_columns_are_the_distinct_rows_and_padding(shape, most):
    rows = random_rows(0, shape, most)
    columns, column_of = find_columns(rows)
    assert columns.dtype == column_of.dtype == np.int32 and column_of.shape == rows.shape
    for step, found, place in zip(rows, columns, column_of, strict=True):
        wanted = np.unique(np.append(step, PADDING_ROW))
        np.testing.assert_array_equal(found[: len(wanted)], wanted)
        assert (found[len(wanted) :] == PADDING_ROW).all()
        np.testing.assert_array_equal(found[place], step)
        assert (place[step == PADDING_ROW] == 0).all()


def test_counts_are_those_of_each_step():
    rows = random_rows(1, (5, 60), 20)
    columns, column_of = find_columns(rows)
    counts = count_columns(column_of.reshape(5, 6, 10), columns.shape[1])
    assert counts.dtype == np.float32
    for step, found, count in zip(rows, columns, counts, strict=True):
        for column, row in enumerate(found):
            wanted = 0 if row == PADDING_ROW else np.count_nonzero(step == row)
            assert count[column] == wanted


@pytest.mark.parametrize("most", [1, 33, 64, 65, 2081, 2176])
def test_few_column_counts_are_possible_and_all_are_enough(most):
    sizes = [round_up_columns(needed, most) for needed in range(1, most + 1)]
    assert all(needed <= size <= most for needed, size in enumerate(sizes, 1))
    assert len(set(sizes)) <= 33


def test_silent_positions_take_the_padding_row():
    rows = np.array([7, 8, 9], np.int32)
    assert take_rows(rows, np.array([[2, -1], [0, 1]])).tolist() == [[9, 0], [7, 8]]
