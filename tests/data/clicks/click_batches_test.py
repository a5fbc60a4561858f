"""Blocks of click batches against the examples that they are made of."""

import numpy as np
import pytest

from tfrec_zoo.data.clicks.click_batch_config import ClickBatchConfig
from tfrec_zoo.data.clicks.click_batches import ClickBatches
from tfrec_zoo.data.clicks.click_schema import CategoricalFeature, ClickSchema, DenseFeature
from tfrec_zoo.data.clicks.click_shards import ClickRows
from tfrec_zoo.layers.table_layout import TableSettings, lay_out

NUM_EXAMPLES = 50
SCHEMA = ClickSchema(
    dense=(DenseFeature("a", "a"), DenseFeature("b", "b")),
    categorical=(
        CategoricalFeature("user", "user", 20),
        CategoricalFeature("tags", "tags", 30, max_values=3),
        CategoricalFeature("hour", "hour", 4, "buckets", boundaries=(6.0, 12.0)),
    ),
)


def make_examples(has_weights: bool = True) -> ClickRows:
    rng = np.random.default_rng(0)
    rows = rng.integers(1, [20, 30, 30, 30, 4], (NUM_EXAMPLES, 5)).astype(np.int32)
    row_weights = rng.uniform(0.5, 2, rows.shape).astype(np.float32)
    # The second and third tag are missing now and then.
    row_weights[:, 2:4][rng.random((NUM_EXAMPLES, 2)) < 0.4] = 0
    rows[row_weights == 0] = 0
    return ClickRows(
        # A different number each: labels tell the examples apart here.
        labels=np.arange(1, NUM_EXAMPLES + 1, dtype=np.float32),
        dense=rng.normal(size=(NUM_EXAMPLES, 2)).astype(np.float32),
        rows=rows,
        row_weights=row_weights,
        weights=rng.uniform(1, 2, NUM_EXAMPLES).astype(np.float32) if has_weights else None,
    )


STORES = lay_out(SCHEMA, TableSettings(8, {"tags": 4}))


def make_batches(examples=None, *, noise_width=0, steps_per_block=3, seed=0, **options):
    return ClickBatches(
        examples or make_examples(),
        SCHEMA,
        ClickBatchConfig(**options),
        [store.locate for store in STORES],
        noise_width=noise_width,
        steps_per_block=steps_per_block,
        seed=seed,
    )


def unpack(blocks) -> list[dict[str, np.ndarray]]:
    """Returns the valid examples of blocks, with the rows of each store looked up again."""
    found = []
    for block in blocks:
        for step in range(block["num_steps"]):
            is_valid = block["is_valid"][step]
            names = ("labels", "weights", "dense", "row_weights")
            step_found = {name: block[name][step][is_valid] for name in names if name in block}
            for number in range(len(STORES)):
                columns = block[f"columns_{number}"][step]
                step_found[f"rows_{number}"] = columns[block[f"column_of_{number}"][step]][is_valid]
            found.append(step_found)
    return found


def join(found, name):
    return np.concatenate([step[name] for step in found])


@pytest.mark.parametrize("options", [{"shuffle": False}, {}, {"shuffle_window": 11}])
def test_an_epoch_is_every_example_once(options):
    examples = make_examples()
    found = unpack(make_batches(batch_size=4, **options).blocks(epoch=1))
    order = join(found, "labels").astype(int) - 1
    assert sorted(order) == list(range(NUM_EXAMPLES))
    assert np.array_equal(order, np.sort(order)) == (options.get("shuffle") is False)
    for name in ("weights", "dense", "row_weights"):
        np.testing.assert_array_equal(join(found, name), getattr(examples, name)[order])
    for number, store in enumerate(STORES):
        expected = store.locate(examples.rows, examples.row_weights)[order]
        np.testing.assert_array_equal(join(found, f"rows_{number}"), expected)


def test_what_fills_up_the_last_batch_touches_nothing():
    blocks = list(make_batches(batch_size=8, shuffle=False).blocks(0))
    assert [int(block["num_steps"]) for block in blocks] == [3, 3, 1]
    assert [block["is_valid"].sum() for block in blocks] == [24, 24, 2]
    last = blocks[-1]
    assert last["weights"][~last["is_valid"]].sum() == 0
    for number in range(len(STORES)):
        column_of = last[f"column_of_{number}"][~last["is_valid"]]
        assert not column_of.any()
        assert not last[f"columns_{number}"][:, 0].any()


def test_columns_are_the_distinct_rows_of_a_step():
    for block in make_batches(batch_size=8, accumulate_steps=2).blocks(0):
        for number in range(len(STORES)):
            for columns in block[f"columns_{number}"]:
                real = columns[columns > 0]
                assert len(set(real)) == len(real)


def test_accumulated_batches_share_the_columns_of_their_step():
    one = list(make_batches(batch_size=8, shuffle=False).blocks(0))[0]
    two = list(make_batches(batch_size=4, accumulate_steps=2, shuffle=False).blocks(0))[0]
    assert two["labels"].shape == (3, 2, 4)
    np.testing.assert_array_equal(one["labels"].reshape(3, 2, 4), two["labels"])
    np.testing.assert_array_equal(one["columns_0"], two["columns_0"])


def test_blocks_are_functions_of_seed_epoch_and_number():
    options = {"batch_size": 4, "unknown_rate": 0.3, "noise_width": 5}
    whole = list(make_batches(**options).blocks(epoch=2))
    again = list(make_batches(**options).blocks(epoch=2, first_block=2))
    assert len(whole) == 5
    for first, second in zip(whole[2:], again, strict=True):
        assert first.keys() == second.keys()
        for name in first:
            np.testing.assert_array_equal(first[name], second[name])
    for other in (make_batches(**options).blocks(3), make_batches(seed=1, **options).blocks(2)):
        block = next(iter(other))
        for name in ("labels", "noise"):
            assert not np.array_equal(block[name], whole[0][name])


def test_some_values_of_vocabularies_are_fed_as_unknown():
    rows = np.ones((4000, 5), np.int32)
    examples = ClickRows(
        np.zeros(4000, np.float32), np.zeros((4000, 2), np.float32), rows, np.ones((4000, 5))
    )
    batches = make_batches(examples, batch_size=4000, unknown_rate=0.25)
    block = next(batches.blocks(0))
    users = block["columns_0"][0][block["column_of_0"][0, 0]]
    # Store 0 has the users from row 1 on, then the hours, which are no vocabulary.
    assert np.mean(users[:, 0] == 1) == pytest.approx(0.25, abs=0.03)
    assert set(users[:, 0]) == {1, 2}
    assert set(users[:, 1]) == {1 + 20 + 1}


def test_noise_is_uniform():
    block = next(make_batches(batch_size=16, noise_width=40).blocks(0))
    assert block["noise"].shape == (3, 1, 16, 40)
    assert block["noise"].mean() == pytest.approx(2**15, rel=0.05)


def test_examples_without_weights_count_once():
    block = next(make_batches(make_examples(has_weights=False), batch_size=8).blocks(0))
    assert set(block["weights"].ravel()) == {1.0}


def test_blocks_are_no_longer_than_an_epoch():
    assert make_batches(batch_size=32, steps_per_block=100).steps_per_block == 2


@pytest.mark.parametrize(("batch_size", "steps"), [(128, 100), (2048, 8), (20_000, 1)])
def test_blocks_of_large_batches_have_fewer_steps(batch_size, steps):
    rows = np.ones((500_000, 5), np.int32)
    labels, dense = np.zeros(500_000, np.float32), np.zeros((500_000, 2), np.float32)
    examples = ClickRows(labels, dense, rows, np.ones(rows.shape, np.float32))
    batches = make_batches(examples, batch_size=batch_size, steps_per_block=100)
    assert batches.steps_per_block == steps


def test_no_examples_are_refused():
    with pytest.raises(ValueError, match="the training data have no examples"):
        make_batches(make_examples().slice(0, 0))
