"""Blocks of histories, decoded step by step and compared with a list of the examples."""

import dataclasses
import itertools
from collections import Counter

import numpy as np
import pytest
import tiny_news

from tfrec_zoo.data.news.history_batch_config import HistoryBatchConfig
from tfrec_zoo.data.news.history_batches import HistoryBatches, list_widths
from tfrec_zoo.layers.table_layout import TableSettings, lay_out

BATCH = 8
EXAMPLES = tiny_news.make_examples()
CATALOGUE = tiny_news.make_catalogue()
LISTED = tiny_news.list_examples(EXAMPLES)
# Two stores, so that more than one is located.
STORES = lay_out(tiny_news.SCHEMA, TableSettings(4, {"author": 2}))


def make_batches(
    examples=EXAMPLES,
    catalogue=CATALOGUE,
    *,
    has_ages=True,
    noise_width=0,
    steps_per_block=3,
    seed=1,
    **options,
):
    config = HistoryBatchConfig(
        **{
            "batch_size": BATCH,
            "max_history": tiny_news.MAX_HISTORY,
            "num_negatives": 6,
            "num_shown_negatives": 3,
            **options,
        }
    )
    return HistoryBatches(
        examples,
        catalogue,
        config,
        [store.locate for store in STORES],
        has_ages=has_ages,
        noise_width=noise_width,
        steps_per_block=steps_per_block,
        seed=seed,
    )


def list_steps(batches, epoch=0):
    """Yields the steps that hold examples, and asserts that the others hold none."""
    for block in batches.blocks(epoch):
        num_steps = int(block["num_steps"])
        assert num_steps >= 1
        assert block["is_valid"][:num_steps, 0].all()
        assert not block["is_valid"][num_steps:].any()
        for step in range(num_steps):
            yield {name: array[step] for name, array in block.items() if name != "num_steps"}


def read_rows(step):
    """Returns the row of each item of a step, told by its id; padding is row 0."""
    located = step["columns_0"][step["column_of_0"]]
    ids = STORES[0].parts[0]
    is_padding = step["row_weights"][:, 0] == 0
    return np.where(is_padding, 0, located[:, 0] - ids.first_row)


def decode(step):
    """Returns the valid examples of a step: history, target, row of the catalogue each."""
    items = read_rows(step)
    candidates = items[step["candidates"]]
    found = []
    for place in np.flatnonzero(step["is_valid"]):
        length = step["lengths"][place]
        assert (step["history"][place, length:] == 0).all()
        history = items[step["history"][place, :length]]
        found.append((tuple(history), candidates[step["target_column"][place]]))
    return found


def expect():
    return Counter((tuple(example["history"]), example["target"]) for example in LISTED)


@pytest.mark.parametrize("epoch", [0, 1])
@pytest.mark.parametrize("shared_negatives", [True, False])
@pytest.mark.parametrize("steps_per_block", [1, 3, 100])
def test_each_example_occurs_once_an_epoch(steps_per_block, shared_negatives, epoch):
    batches = make_batches(steps_per_block=steps_per_block, shared_negatives=shared_negatives)
    assert batches.num_examples == len(LISTED)
    steps = list(list_steps(batches, epoch))
    assert Counter(itertools.chain.from_iterable(map(decode, steps))) == expect()
    # Only the last step of a width may have empty places, and they are behind the others.
    is_full = [step["is_valid"].all() for step in steps]
    assert is_full.count(False) <= len(list_widths(tiny_news.MAX_HISTORY))
    assert all((np.diff(step["is_valid"].astype(int)) <= 0).all() for step in steps)


def test_histories_of_similar_length_come_together():
    for step in list_steps(make_batches()):
        width, lengths = step["history"].shape[1], step["lengths"]
        assert width in list_widths(tiny_news.MAX_HISTORY) == [4, 16, 18]
        assert (lengths <= width).all() and (lengths > {4: 0, 16: 4, 18: 16}[width]).all()


def test_epochs_seeds_and_blocks_differ_in_order_and_draws():
    orders = [
        [example for step in list_steps(make_batches(seed=seed), epoch) for example in decode(step)]
        for seed, epoch in ((1, 0), (1, 1), (2, 0))
    ]
    assert orders[0] != orders[1] and orders[0] != orders[2]
    blocks = [block["noise"][0, 0, :4] for block in make_batches(noise_width=9).blocks(0)]
    assert len(np.unique(blocks)) > 0.9 * np.size(blocks)


def test_items_have_their_content():
    for step in list_steps(make_batches()):
        rows = read_rows(step)
        # The first is padding, and none is there twice.
        assert rows[0] == 0
        real = rows[rows > 0]
        assert len({*real.tolist()}) == len(real)
        content = CATALOGUE.take(rows)
        np.testing.assert_array_equal(step["dense"], content.dense)
        np.testing.assert_array_equal(step["row_weights"], content.row_weights)
        for number, store in enumerate(STORES):
            located = step[f"columns_{number}"][step[f"column_of_{number}"]]
            np.testing.assert_array_equal(located, store.locate(content.rows, content.row_weights))
            columns = step[f"columns_{number}"]
            assert columns[0] == 0
            assert len({*columns.tolist()} - {0}) == np.count_nonzero(columns)
        if rows.shape != real.shape:
            assert not step["dense"][rows == 0].any()


def test_items_are_those_of_the_step_and_no_others():
    for step in list_steps(make_batches()):
        used = {*step["candidates"].tolist(), *step["history"].ravel().tolist()}
        rows = read_rows(step)
        assert {*rows[sorted(used)].tolist()} == {*rows.tolist()}


def candidate_rows(step):
    return read_rows(step)[step["candidates"]]


@pytest.mark.parametrize("num_shown_negatives", [0, 3])
def test_shared_candidates_are_counted(num_shown_negatives):
    drawn = np.zeros(tiny_news.NUM_ITEMS + 1)
    for step in list_steps(make_batches(num_shown_negatives=num_shown_negatives)):
        rows = candidate_rows(step)
        assert rows[0] == 0 and len({*rows.tolist()} - {0}) == np.count_nonzero(rows)
        targets = Counter(target for _, target in decode(step))
        wanted = [targets[row] if row else 0 for row in rows.tolist()]
        assert step["in_batch_counts"].tolist() == wanted
        assert step["negative_counts"].sum() == 6
        assert not step["negative_counts"][rows == 0].any()
        np.add.at(drawn, rows, step["negative_counts"])
        assert not step["target_column"][~step["is_valid"]].any()
        is_counted = (step["in_batch_counts"] + step["negative_counts"]) > 0
        shown = set(step.get("shown_column", np.zeros(0, int)).ravel().tolist())
        for column in np.flatnonzero(rows > 0):
            assert is_counted[column] or column in shown
    # Item 8, of row 8, has never been clicked in training.
    assert drawn[8] == 0


@pytest.mark.parametrize("popularity_exponent", [0.0, 0.75])
def test_negatives_follow_their_clicks(popularity_exponent):
    batches = make_batches(num_negatives=400, popularity_exponent=popularity_exponent)
    drawn = np.zeros(tiny_news.NUM_ITEMS + 1)
    for epoch in range(5):
        for step in list_steps(batches, epoch):
            np.add.at(drawn, candidate_rows(step), step["negative_counts"])
    clicks = CATALOGUE.vocabulary.row_counts().astype(float)
    weights = np.where(clicks > 0, clicks**popularity_exponent, 0)
    expected = drawn.sum() * weights / weights.sum()
    np.testing.assert_allclose(drawn, expected, atol=1 + 5 * np.sqrt(expected.max()))


def test_own_negatives_are_drawn_for_each_example():
    num_equal = 0
    for step in list_steps(make_batches(shared_negatives=False)):
        rows = candidate_rows(step)
        assert {"in_batch_counts", "negative_counts"}.isdisjoint(step)
        assert step["negative_column"].shape == (6, BATCH)
        negatives = rows[step["negative_column"]]
        assert (negatives > 0).all() and (negatives != 8).all()
        num_equal += (negatives == negatives[:, :1]).all()
    assert num_equal == 0


def test_what_was_shown_in_vain_is_that_of_the_impression():
    shown_of = {}
    for example in LISTED:
        key = tuple(example["history"]), example["target"]
        shown_of.setdefault(key, set()).update(example["shown"] or {0})
    num_shown = 0
    for step in list_steps(make_batches()):
        assert step["shown_column"].shape == (3, BATCH)
        rows = candidate_rows(step)[step["shown_column"]]
        assert not rows[:, ~step["is_valid"]].any()
        for place, example in zip(np.flatnonzero(step["is_valid"]), decode(step), strict=True):
            assert {*rows[:, place].tolist()} <= shown_of[example]
            num_shown += rows[:, place].any()
    assert num_shown == len(LISTED) - EXAMPLES.histories.num_examples
    without = make_batches(tiny_news.make_examples(with_impressions=False))
    assert "shown_column" not in next(without.blocks(0))
    assert "shown_column" not in next(make_batches(num_shown_negatives=0).blocks(0))


def test_times_and_counts_are_those_of_the_items():
    counts, times = CATALOGUE.vocabulary.row_counts(), CATALOGUE.times
    time_of = {}
    for example in LISTED:
        key = tuple(example["history"]), example["target"]
        time_of.setdefault(key, set()).add(example["time"])
    num_unknown = 0
    for block in make_batches().blocks(0):
        firsts = set()
        for k in range(block["num_steps"]):
            step = {name: array[k] for name, array in block.items() if name != "num_steps"}
            rows = candidate_rows(step)
            np.testing.assert_allclose(step["log_counts"], np.log(np.maximum(counts[rows], 1)))
            is_unknown = np.isnan(times[rows])
            assert np.isposinf(step["candidate_times"][is_unknown]).all()
            num_unknown += is_unknown[rows > 0].sum()
            came_up = step["candidate_times"][~is_unknown]
            # All times of a block are counted from one first time on.
            firsts |= {*np.round(times[rows][~is_unknown] - came_up).tolist()}
            (first,) = firsts
            for place, example in zip(np.flatnonzero(step["is_valid"]), decode(step), strict=True):
                assert first + step["times"][place] in time_of[example]
    assert num_unknown
    assert {"times", "candidate_times"}.isdisjoint(next(make_batches(has_ages=False).blocks(0)))


@pytest.mark.parametrize(
    "options", [{}, {"shared_negatives": False, "unknown_rate": 0.3, "noise_width": 2}]
)
def test_an_epoch_goes_on_at_any_block(options):
    batches = make_batches(**options)
    blocks = list(batches.blocks(3))
    assert len(blocks) == 5
    for first in range(len(blocks) + 1):
        rest = list(make_batches(**options).blocks(3, first))
        assert len(rest) == len(blocks) - first
        for found, expected in zip(rest, blocks[first:], strict=True):
            assert found.keys() == expected.keys()
            for name, array in expected.items():
                np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_unknown_values_are_those_of_vocabularies_alone():
    num_values = num_dropped = 0
    rate = 0.4
    assert (tiny_news.VOCABULARY_SLOTS == [True, True, True, True, False]).all()
    # The id may be unknown itself, so a step without drops tells which items there are.
    for step, dropped in zip(
        list_steps(make_batches()), list_steps(make_batches(unknown_rate=rate)), strict=True
    ):
        for name in step.keys() - {"columns_0", "column_of_0", "columns_1", "column_of_1"}:
            np.testing.assert_array_equal(step[name], dropped[name], err_msg=name)
        # The hashed feature is as it is.
        for number, is_author in ((0, False), (1, True)):
            before = step[f"columns_{number}"][step[f"column_of_{number}"]]
            after = dropped[f"columns_{number}"][dropped[f"column_of_{number}"]]
            if is_author:
                np.testing.assert_array_equal(before, after)
                continue
            unknown = STORES[0].locate(np.zeros((len(before), 5), np.int32), step["row_weights"])
            assert ((after == before) | (after == unknown)).all()
            num_values += (before != unknown).sum()
            num_dropped += (after != before).sum()
    assert num_dropped == pytest.approx(rate * num_values, abs=5 * np.sqrt(num_values / 4))
    assert num_values > 300


def test_noise_is_uniform_and_of_the_asked_width():
    noise = np.concatenate(
        [block["noise"].ravel() for block in make_batches(noise_width=5).blocks(0)]
    )
    assert noise.dtype == np.uint16
    assert noise.mean() == pytest.approx(2**15, rel=0.02) and noise.std() > 18_000
    for block in make_batches(noise_width=5).blocks(0):
        assert block["noise"].shape == (*block["history"].shape, 5)
    assert "noise" not in next(make_batches().blocks(0))


def test_blocks_have_few_shapes():
    """Each shape is compiled once: of a width, only what is distinct may round to another size."""
    lengths = tuple(np.random.default_rng(0).integers(2, 30, 400).tolist())
    examples = dataclasses.replace(EXAMPLES, histories=tiny_news.make_histories(lengths))
    shapes, num_blocks = set(), 0
    for epoch in range(3):
        for block in make_batches(examples, steps_per_block=10).blocks(epoch):
            shapes.add(tuple(sorted((name, array.shape) for name, array in block.items())))
            num_blocks += 1
    assert num_blocks > 150
    assert len(shapes) == len(list_widths(tiny_news.MAX_HISTORY))


def test_a_block_is_no_longer_than_its_examples_need():
    examples = dataclasses.replace(
        EXAMPLES, histories=tiny_news.make_histories((3,)), impressions=None
    )
    (block,) = make_batches(examples, steps_per_block=100).blocks(0)
    assert block["is_valid"].shape == (1, BATCH)
    assert int(block["num_steps"]) == 1


@pytest.mark.parametrize(
    ("most", "expected"),
    [(1, [1]), (4, [4]), (5, [4, 5]), (50, [4, 16, 50]), (64, [4, 16, 64]), (65, [4, 16, 64, 65])],
)
def test_widths_rise_to_the_longest_history(most, expected):
    assert list_widths(most) == expected


def test_ages_without_times_are_refused():
    sentence = "age_buckets needs times of the clicks and of the items: name the time column"
    with pytest.raises(ValueError, match=sentence):
        make_batches(catalogue=tiny_news.make_catalogue(with_times=False))
    with pytest.raises(ValueError, match=sentence):
        make_batches(tiny_news.make_examples(with_times=False))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"max_history": 0}, "max_history must be at least 1, got 0"),
        ({"num_shown_negatives": -1}, "num_shown_negatives must be at least 0, got -1"),
        ({"popularity_exponent": -0.5}, "popularity_exponent must be at least 0, got -0.5"),
        ({"unknown_rate": 1.0}, r"unknown_rate must be in \[0, 1\), got 1.0"),
        ({"targets": "first"}, "targets must be one of all, last, got 'first'"),
        ({"num_negatives": 0, "batch_size": 1}, "there is nothing to rank against"),
        ({"num_negatives": 0, "in_batch_negatives": False}, "there is nothing to rank against"),
        ({"num_negatives": 0, "shared_negatives": False}, "there is nothing to rank against"),
    ],
)
def test_batches_without_a_meaning_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        HistoryBatchConfig(**options)
