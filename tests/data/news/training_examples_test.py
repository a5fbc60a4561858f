"""Examples of sessions and impressions, against a list of them one by one."""

import dataclasses

import numpy as np
import pytest
import tiny_news

from tfrec_zoo.data.news.history_batch_config import HistoryBatchConfig
from tfrec_zoo.data.news.history_batches import HistoryBatches
from tfrec_zoo.data.news.training_examples import TrainingExamples


@pytest.mark.parametrize("with_impressions", [True, False])
@pytest.mark.parametrize("width", [4, 16, tiny_news.MAX_HISTORY])
def test_examples_are_those_of_a_list(with_impressions, width):
    examples = tiny_news.make_examples(with_impressions=with_impressions)
    expected = tiny_news.list_examples(examples)
    assert examples.num_examples == len(expected)
    assert examples.lengths.tolist() == [len(example["history"]) for example in expected]
    order = np.random.default_rng(0).permutation(len(expected))
    batch = examples.take(order, width)
    assert batch["history"].dtype == batch["lengths"].dtype == batch["target"].dtype == np.int32
    assert batch["history"].shape == (len(order), width)
    for place, number in enumerate(order):
        wanted = expected[number]
        history = wanted["history"][-width:]
        length = len(history)
        assert batch["lengths"][place] == length
        assert batch["history"][place, :length].tolist() == history
        assert not batch["history"][place, length:].any()
        assert (batch["target"][place], batch["time"][place]) == (wanted["target"], wanted["time"])


def test_a_log_without_times_has_examples_all_the_same():
    examples = tiny_news.make_examples(with_times=False, with_impressions=False)
    batch = examples.take(np.arange(examples.num_examples), 18)
    assert not examples.has_times and not batch["time"].any()
    assert tiny_news.make_examples().has_times


def test_what_was_taken_can_be_taken_again():
    examples = tiny_news.make_examples()
    numbers = np.array([3, examples.num_examples - 1, 3])
    first, second = (examples.take(numbers, 18) for _ in range(2))
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])
    np.testing.assert_array_equal(first["history"][0], first["history"][2])


def test_draws_were_shown_with_the_target_and_not_clicked():
    examples = tiny_news.make_examples()
    expected = tiny_news.list_examples(examples)
    numbers = np.random.default_rng(1).permutation(examples.num_examples)
    shown = examples.draw_shown(np.random.default_rng(2), numbers, 200)
    assert (shown.dtype, shown.shape) == (np.int32, (len(numbers), 200))
    for number, drawn in zip(numbers, shown, strict=True):
        # Of 200 draws from 6 at most, none is left out.
        assert {*drawn.tolist()} == (expected[number]["shown"] or {0})


def test_draws_are_uniform():
    examples = tiny_news.make_examples()
    number = examples.histories.num_examples
    wanted = tiny_news.list_examples(examples)[number]["shown"]
    drawn = examples.draw_shown(np.random.default_rng(3), np.array([number]), 60_000)
    rows, counts = np.unique(drawn, return_counts=True)
    assert {*rows.tolist()} == wanted
    expected = 60_000 / len(wanted)
    np.testing.assert_allclose(counts, expected, atol=5 * np.sqrt(expected))


def test_the_fingerprint_tells_contents_apart():
    examples = tiny_news.make_examples()
    histories, impressions = examples.histories, examples.impressions
    assert examples.fingerprint == tiny_news.make_examples().fingerprint
    flipped = impressions.is_clicked.copy()
    flipped[:2] = ~flipped[:2]
    moved = impressions.history_offsets.copy()
    moved[1] += 1
    others = [
        TrainingExamples(histories),
        TrainingExamples(dataclasses.replace(histories, rows=histories.rows[::-1]), impressions),
        TrainingExamples(histories.select(histories.targets > 4), impressions),
        TrainingExamples(dataclasses.replace(histories, times=histories.times + 1), impressions),
        TrainingExamples(histories, dataclasses.replace(impressions, is_clicked=flipped)),
        TrainingExamples(histories, dataclasses.replace(impressions, history_offsets=moved)),
        TrainingExamples(histories, dataclasses.replace(impressions, times=impressions.times + 1)),
    ]
    found = {examples.fingerprint, *(other.fingerprint for other in others)}
    assert len(found) == 1 + len(others)


def test_examples_of_impressions_count_as_asked():
    examples = tiny_news.make_examples()
    config = HistoryBatchConfig(batch_size=8, impression_weight=2.5, num_negatives=2)
    batches = HistoryBatches(examples, tiny_news.make_catalogue(), config, [])
    weights = np.concatenate([block["weights"].ravel() for block in batches.blocks(0)])
    num_sessions = examples.histories.num_examples
    is_shown = examples.is_shown(np.arange(examples.num_examples))
    assert is_shown.sum() == examples.num_examples - num_sessions > 0
    assert np.count_nonzero(weights == 1) == num_sessions
    assert np.count_nonzero(weights == 2.5) == is_shown.sum()
    assert set(weights) <= {0, 1, 2.5}
