"""Where tables lie: every value of every feature has a place of its own."""

import numpy as np
import pytest

from tfrec_zoo.data.clicks.click_schema import CategoricalFeature, ClickSchema
from tfrec_zoo.layers.table_layout import TableSettings, lay_out, mixed_widths

SCHEMA = ClickSchema(
    dense=(),
    categorical=(
        CategoricalFeature("user", "user", 50),
        CategoricalFeature("genres", "genres", 9, max_values=3),
        CategoricalFeature("film", "film", 401),
        CategoricalFeature("city", "city", 120),
    ),
)


def settings(**options) -> TableSettings:
    return TableSettings(**{"embedding_dim": 16, "widths": {}, **options})


def test_tables_of_one_width_share_a_store():
    (store,) = lay_out(SCHEMA, settings())
    assert [part.name for part in store.parts] == ["user", "genres", "film", "city"]
    assert [part.first_row for part in store.parts] == [1, 51, 60, 461]
    assert (store.num_rows, store.width) == (1 + 50 + 9 + 401 + 120, 16)
    assert store.num_bytes == store.num_rows * 16 * 4


def test_rows_are_located_behind_the_padding_row():
    (store,) = lay_out(SCHEMA, settings())
    rows = np.array([[49, 0, 8, 3, 400, 0]], np.int32)
    assert store.locate(rows).tolist() == [[50, 51, 59, 54, 460, 461]]


def test_slots_without_weight_have_the_padding_row():
    (store,) = lay_out(SCHEMA, settings())
    weights = np.array([[1, 0.5, 0, 0, 1, 1]], np.float32)
    rows = np.array([[0, 2, 0, 0, 0, 0]], np.int32)
    assert store.locate(rows, weights).tolist() == [[1, 53, 0, 0, 60, 461]]


def test_other_widths_are_other_stores():
    wide, narrow = lay_out(SCHEMA, settings(widths={"genres": 4}, num_extra_columns=1))
    assert (wide.width, narrow.width) == (17, 5)
    assert wide.features == (0, 2, 3)
    assert narrow.slots == [1, 2, 3]


@pytest.mark.parametrize(("operation", "width"), [("mult", 16), ("add", 16), ("concat", 8)])
def test_quotient_and_remainder_tell_all_values_apart(operation, width):
    options = {"qr_threshold": 100, "qr_collisions": 7, "qr_operation": operation}
    stores = lay_out(SCHEMA, settings(**options))
    (split,) = (store for store in stores if store.remainders)
    assert split.features == (2, 3)
    assert split.width == width
    assert [part.num_rows for part in split.parts] == [58, 18, 7, 7]
    rows = np.zeros((401, 6), np.int32)
    rows[:, 4] = np.arange(401)
    rows[:, 5] = np.minimum(np.arange(401), 119)
    located = split.locate(rows)
    assert len({tuple(pair) for pair in located[:, [0, 2]].tolist()}) == 401
    assert len({tuple(pair) for pair in located[:120, [1, 3]].tolist()}) == 120
    for column, part in enumerate(split.parts):
        used = np.unique(located[:, column])
        expected = np.arange(part.first_row, part.first_row + part.num_rows)
        np.testing.assert_array_equal(used, expected)


def test_tables_of_a_width_of_their_own_stay_whole():
    stores = lay_out(SCHEMA, settings(qr_threshold=100, widths={"film": 4}))
    assert [store.features for store in stores if store.remainders] == [(3,)]


def test_a_width_for_an_unknown_feature_is_refused():
    with pytest.raises(ValueError, match="table_dims names 'country', the categorical features"):
        lay_out(SCHEMA, settings(widths={"country": 4}))


def test_more_rows_than_an_int32_counts_are_refused():
    schema = ClickSchema((), tuple(CategoricalFeature(n, n, 2**30, "hash") for n in "abc"))
    with pytest.raises(ValueError, match="3,221,225,473 rows together, more than 2,147,483,647"):
        lay_out(schema, settings())


def test_mixed_widths_fall_with_the_size_of_a_table():
    # 16 * (9 / 50)^0.3 = 9.57, 16 * (9 / 401)^0.3 = 5.12, 16 * (9 / 120)^0.3 = 7.36.
    assert mixed_widths(SCHEMA, 16, 0.3) == {"user": 8, "genres": 16, "film": 4, "city": 8}
    assert set(mixed_widths(SCHEMA, 16, 0.0).values()) == {16}
    assert set(mixed_widths(SCHEMA, 16, 50.0).values()) == {1, 16}
