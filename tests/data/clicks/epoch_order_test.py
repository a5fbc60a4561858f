"""The order of an epoch: a permutation, whatever the pieces."""

import numpy as np
import pytest

from tfrec_zoo.data.clicks.epoch_order import EpochOrder


@pytest.mark.parametrize("window", [0, 1, 7, 10, 64, 1000])
@pytest.mark.parametrize("piece", [1, 6, 64])
def test_pieces_make_up_a_permutation(window, piece):
    order = EpochOrder(64, window, (1, 2))
    pieces = [order.piece(start, start + piece) for start in range(0, 64, piece)]
    assert sorted(np.concatenate(pieces)) == list(range(64))
    np.testing.assert_array_equal(
        np.concatenate(pieces), EpochOrder(64, window, (1, 2)).piece(0, 64)
    )


def test_a_piece_does_not_depend_on_what_was_asked_before():
    order = EpochOrder(100, 9, (3,))
    whole = order.piece(0, 100)
    for start, stop in ((50, 71), (0, 3), (95, 100), (8, 10)):
        np.testing.assert_array_equal(
            EpochOrder(100, 9, (3,)).piece(start, stop), whole[start:stop]
        )


def test_numbers_stay_in_their_windows():
    numbers = EpochOrder(95, 10, (4,)).piece(0, 95)
    windows = numbers // 10
    assert np.count_nonzero(np.diff(windows)) == 9
    assert not np.array_equal(np.sort(numbers), numbers)
    assert list(dict.fromkeys(windows)) != list(range(10))


def test_seeds_give_orders_of_their_own():
    assert not np.array_equal(
        EpochOrder(50, 0, (1, 1)).piece(0, 50), EpochOrder(50, 0, (1, 2)).piece(0, 50)
    )


def test_nothing_has_an_order():
    assert EpochOrder(0, 0, (1,)).piece(0, 5).size == 0
