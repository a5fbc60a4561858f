"""Embedding tables against one lookup after the other in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_zoo.data.clicks.click_schema import CategoricalFeature, ClickSchema
from tfrec_zoo.layers.embedding_tables import EmbeddingTables
from tfrec_zoo.layers.table_layout import TableSettings

DIM = 4
SCHEMA = ClickSchema(
    dense=(),
    categorical=(
        CategoricalFeature("user", "user", 30),
        CategoricalFeature("genres", "genres", 9, max_values=3),
        CategoricalFeature("film.id", "film", 50),
        CategoricalFeature("tags", "tags", 40, max_values=2),
    ),
)
ROWS = np.array([[3, 8, 2, 0, 49, 39, 0], [29, 0, 0, 0, 0, 5, 17]], np.int32)
WEIGHTS = np.array([[1, 0.5, 2, 0, 1, 1, 0], [1, 0, 0, 0, 1, 0.25, 0.75]], np.float32)


def make_tables(widths=None, *, first_order=False, factors=False, **options) -> EmbeddingTables:
    settings = TableSettings(
        embedding_dim=DIM, widths=widths or {}, num_extra_columns=first_order + factors, **options
    )
    tables = EmbeddingTables(
        SCHEMA, settings, has_first_order=first_order, has_factors=factors, seed=3
    )
    rng = np.random.default_rng(5)
    for table in tables.tables:
        # Extra columns start at 0 and 1: other values show that they are used.
        table.variable.assign(rng.normal(size=table.variable.shape))
    return tables


def look_up(tables: EmbeddingTables, rows, weights) -> tuple[np.ndarray, np.ndarray]:
    """Returns vectors [B, F, D] and the sums of the first-order weights [B], row by row."""
    settings, num_extra = tables.settings, tables.settings.num_extra_columns
    vectors = np.zeros((len(rows), tables.num_features, DIM))
    first_order = np.zeros(len(rows))
    for store, table, projection in zip(
        tables.stores, tables.tables, tables.projections, strict=True
    ):
        values = table.variable.numpy().astype(np.float64)
        width = store.width - num_extra
        for place, feature in enumerate(store.features):
            part = store.tables[place]
            for example in range(len(rows)):
                for slot in part.slots:
                    row = rows[example, slot]
                    found = values[part.first_row + row // part.divisor]
                    vector, extra = found[:width], found[width:]
                    if store.remainders:
                        rest = store.remainders[place]
                        other = values[rest.first_row + row % settings.qr_collisions]
                        vector = {
                            "mult": lambda a, b: a * b,
                            "add": lambda a, b: a + b,
                            "concat": lambda a, b: np.concatenate([a, b]),
                        }[settings.qr_operation](vector, other[:width])
                        extra = [extra[0] + other[width], *(extra[1:] * other[width + 1 :])]
                    weight = weights[example, slot]
                    factor = extra[-1] if num_extra == 2 else 1.0
                    vector = vector * factor * weight
                    if projection is not None:
                        vector = vector @ projection.numpy()[place]
                    vectors[example, feature] += vector
                    first_order[example] += weight * (extra[0] if num_extra else 0.0)
    return vectors, first_order


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"widths": {"genres": 2, "user": 7}},
        {"qr_threshold": 35, "first_order": True, "factors": True},
        {"qr_threshold": 35, "qr_operation": "add", "first_order": True},
        {"qr_threshold": 35, "qr_operation": "concat", "first_order": True},
        {"widths": {"film.id": 2}, "qr_threshold": 29, "first_order": True, "factors": True},
    ],
)
def test_vectors_are_those_of_one_lookup_after_the_other(options):
    if options.get("qr_threshold") and not options.get("factors"):
        options = {"first_order": True, **options}
    tables = make_tables(**options)
    pooled = tables(tf.constant(ROWS), tf.constant(WEIGHTS))
    vectors, first_order = look_up(tables, ROWS, WEIGHTS)
    np.testing.assert_allclose(pooled.vectors, vectors, rtol=1e-5, atol=1e-5)
    if options.get("first_order"):
        np.testing.assert_allclose(pooled.first_order, first_order, rtol=1e-5, atol=1e-5)
    else:
        assert pooled.first_order is None


def test_without_weights_each_slot_counts_once():
    tables = make_tables(first_order=True)
    pooled = tables(tf.constant(ROWS))
    vectors, first_order = look_up(tables, ROWS, np.ones_like(WEIGHTS))
    np.testing.assert_allclose(pooled.vectors, vectors, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(pooled.first_order, first_order, rtol=1e-5, atol=1e-5)


def test_padding_changes_nothing_whatever_row_it_names():
    tables = make_tables(first_order=True, factors=True)
    rows = np.where(WEIGHTS == 0, 7, ROWS)
    for given, expected in zip(
        tables(rows, tf.constant(WEIGHTS)), tables(ROWS, tf.constant(WEIGHTS)), strict=True
    ):
        np.testing.assert_array_equal(given, expected)


@pytest.mark.parametrize("options", [{}, {"widths": {"tags": 2}, "qr_threshold": 45}])
def test_tensors_are_located_as_arrays_are(options):
    tables = make_tables(**options)
    located = tables.locate(tf.constant(ROWS), tf.constant(WEIGHTS))
    for store, found in zip(tables.stores, located, strict=True):
        np.testing.assert_array_equal(found, store.locate(ROWS, WEIGHTS))


def test_rows_start_within_the_bounds_of_dlrm():
    settings = TableSettings(DIM, {}, num_extra_columns=2, qr_threshold=45)
    tables = EmbeddingTables(SCHEMA, settings, has_first_order=True, has_factors=True, seed=1)
    for store, table in zip(tables.stores, tables.tables, strict=True):
        assert not table.variable[0].numpy().any()
        for part in store.parts:
            rows = table[part].numpy()
            bound = np.sqrt(1 / {"film.id": 50}.get(part.name[:7], part.categories))
            assert np.abs(rows[:, :DIM]).max() <= bound
            assert np.abs(rows[:, :DIM]).max() > 0.7 * bound
            np.testing.assert_array_equal(rows[:, DIM:], np.tile([0, 1], (len(rows), 1)))


def test_equal_seeds_give_equal_rows_and_others_others():
    def rows(seed):
        return EmbeddingTables(SCHEMA, TableSettings(DIM, {}), seed=seed).tables[0].variable.numpy()

    np.testing.assert_array_equal(rows(1), rows(1))
    assert not np.isclose(rows(1)[1:], rows(2)[1:]).any(axis=1).all()


@pytest.mark.parametrize("options", [{}, {"widths": {"tags": 2}, "qr_threshold": 45}])
def test_a_checkpoint_names_the_table_of_each_feature(tmp_path, options):
    tables = make_tables(**options)
    path = tf.train.Checkpoint(tables=tables).write(str(tmp_path / "checkpoint"))
    reader = tf.train.load_checkpoint(path)
    stored = {name.rpartition("/")[2]: name for name in reader.get_variable_to_shape_map()}
    for store, table in zip(tables.stores, tables.tables, strict=True):
        for part in store.parts:
            rows = reader.get_tensor(stored[part.name.replace(".", ":")])
            np.testing.assert_array_equal(rows, table[part])
    assert "VARIABLE_VALUE" not in "".join(name for name in stored if "rows" in name)
    other = make_tables(**options)
    for table in other.tables:
        table.variable.assign(tf.zeros_like(table.variable))
    status = tf.train.Checkpoint(tables=other).read(path)
    status.assert_consumed()
    for table, restored in zip(tables.tables, other.tables, strict=True):
        np.testing.assert_array_equal(restored.variable[1:], table.variable[1:])
