"""The split against sorting all rows by time and place."""

import numpy as np
import pytest

from tfrec_zoo.data.clicks.click_preparation_config import ClickPreparationConfig
from tfrec_zoo.data.clicks.click_spill import ClickSpill, SpillWriter
from tfrec_zoo.data.clicks.click_split import DROPPED, TEST, TRAIN, VALIDATION, assign_parts
from tfrec_zoo.data.tables.table_block import TableBlock


def make_spill(folder, labels, times, lengths):
    """Writes rows in blocks of the given lengths."""
    folder.mkdir()
    start = 0
    with SpillWriter(folder) as writer:
        for length in lengths:
            rows = slice(start, start + length)
            block_times = None if times is None else times[rows]
            writer.write(TableBlock(length, labels[rows], None, block_times, {}, {}), {})
            start += length
    return ClickSpill(folder)


def split(tmp_path, config, times=None, labels=None, lengths=(40, 1, 59), others=()):
    """Returns the parts of the rows; the blocks of `others` are files of that part."""
    count = sum(lengths)
    labels = np.zeros(count, np.float32) if labels is None else labels
    spill = make_spill(tmp_path / "spill", labels, times, lengths)
    blocks = {"train": range(len(lengths) - len(others)), "validation": range(0), "test": range(0)}
    for place, part in enumerate(others, start=len(lengths) - len(others)):
        blocks[part] = range(place, place + 1)
    return np.array(assign_parts(spill, blocks, config, tmp_path / "parts"))


def sorted_split(times, num_test, num_validation):
    order = sorted(range(len(times)), key=lambda row: (times[row], row))
    parts = np.full(len(times), TRAIN)
    newer = order[len(order) - num_test - num_validation :]
    parts[newer[:num_validation]] = VALIDATION
    parts[newer[num_validation:]] = TEST
    return parts


def draw_times(kind):
    rng = np.random.default_rng(3)
    return {
        "seconds": rng.integers(1_700_000_000, 1_700_000_100, 100),
        "fractions": rng.normal(0, 1e-3, 100),
        "days": rng.integers(-2, 3, 100).astype(np.float64),
        "zeros": np.array([0.0, -0.0] * 50),
        "wide": rng.choice([-1e300, -1.0, 1e-300, 5e9], 100),
    }[kind]


@pytest.mark.parametrize("kind", ["seconds", "fractions", "days", "zeros", "wide"])
@pytest.mark.parametrize(
    ("test", "validation"), [(0.2, None), (0.2, 0.25), (None, 0.1), (0.003, 0.5)]
)
def test_the_newest_share(tmp_path, kind, test, validation):
    times = draw_times(kind)
    config = ClickPreparationConfig(test_fraction=test, validation_fraction=validation)
    num_test = max(1, round(test * 100)) if test else 0
    num_validation = max(1, round(validation * (100 - num_test))) if validation else 0
    expected = sorted_split(times, num_test, num_validation)
    np.testing.assert_array_equal(split(tmp_path, config, times), expected)


@pytest.mark.parametrize(("test", "validation"), [(0.2, None), (0.3, 0.2), (None, 0.1)])
def test_without_times_the_last_rows(tmp_path, test, validation):
    config = ClickPreparationConfig(test_fraction=test, validation_fraction=validation)
    num_test = round((test or 0) * 100)
    num_validation = round((validation or 0) * (100 - num_test))
    parts = split(tmp_path, config)
    expected = [TRAIN] * (100 - num_test - num_validation)
    expected += [VALIDATION] * num_validation + [TEST] * num_test
    assert parts.tolist() == expected


@pytest.mark.parametrize("validation", [None, 0.25])
@pytest.mark.parametrize(
    ("kind", "span"), [("days", 1), ("days", 2.5), ("seconds", 30), ("wide", 6e9)]
)
def test_the_newest_span_of_time(tmp_path, kind, span, validation):
    times = draw_times(kind)
    config = ClickPreparationConfig(test_time=span, validation_fraction=validation)
    num_test = int((times > times.max() - span).sum())
    num_validation = round(validation * (100 - num_test)) if validation else 0
    expected = sorted_split(times, num_test, num_validation)
    np.testing.assert_array_equal(split(tmp_path, config, times), expected)


def test_files_of_their_own_stay_whole(tmp_path):
    times = draw_times("seconds")
    config = ClickPreparationConfig(validation_fraction=0.2)
    parts = split(tmp_path, config, times, lengths=(50, 30, 20), others=("test",))
    np.testing.assert_array_equal(parts[:80], sorted_split(times[:80], 0, 16))
    assert (parts[80:] == TEST).all()


def test_files_of_all_parts(tmp_path):
    parts = split(
        tmp_path, ClickPreparationConfig(), lengths=(50, 30, 20), others=("validation", "test")
    )
    assert parts.tolist() == [TRAIN] * 50 + [VALIDATION] * 30 + [TEST] * 20


def test_a_share_of_the_training_negatives_is_dropped(tmp_path):
    count = 30_000
    labels = (np.arange(count) % 3 == 0).astype(np.float32)
    config = ClickPreparationConfig(test_fraction=0.1, negative_keep_rate=0.25)
    parts = split(tmp_path, config, labels=labels, lengths=(12_000, 18_000))
    assert (parts[27_000:] == TEST).all()
    train, clicks = parts[:27_000], labels[:27_000] == 1
    assert set(train[clicks]) == {TRAIN}
    assert set(train[~clicks]) == {TRAIN, DROPPED}
    # 18,000 draws: the share is within 4 deviations of 0.25.
    assert abs((train[~clicks] == TRAIN).mean() - 0.25) < 4 * (0.25 * 0.75 / 18_000) ** 0.5
    (tmp_path / "again").mkdir()
    np.testing.assert_array_equal(
        split(tmp_path / "again", config, labels=labels, lengths=(12_000, 18_000)), parts
    )
    (tmp_path / "other").mkdir()
    other = ClickPreparationConfig(test_fraction=0.1, negative_keep_rate=0.25, sampling_seed=1)
    assert (
        split(tmp_path / "other", other, labels=labels, lengths=(12_000, 18_000)) != parts
    ).any()


@pytest.mark.parametrize(
    ("options", "times", "message"),
    [
        ({"test_time": 10.0}, None, "test_time needs the column of times, and the specification"),
        ({"test_time": 1e9}, "days", "the split of 100 rows into test leaves none to train on"),
        ({"test_fraction": 0.999}, None, "the split of 100 rows into test leaves none"),
        (
            {"test_fraction": 0.5, "validation_fraction": 0.999},
            None,
            "into test and validation leaves none to train on: lower test_time, test_fraction or",
        ),
    ],
)
def test_splits_that_cannot_be(tmp_path, options, times, message):
    with pytest.raises(ValueError, match=message):
        split(tmp_path, ClickPreparationConfig(**options), times and draw_times(times))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_count": 0}, "min_count must be 1 or more, got 0"),
        ({"num_shards": 0}, "num_shards must be 1 or more, got 0"),
        ({"max_bad_rows": -1}, "max_bad_rows must be 0 or more, got -1"),
        ({"max_rows": 1}, "max_rows must be from 2 to 2147483647, got 1"),
        ({"test_fraction": 1.0}, "test_fraction must be between 0 and 1, got 1.0"),
        ({"validation_fraction": 0.0}, "validation_fraction must be between 0 and 1, got 0.0"),
        ({"test_time": 0.0}, "test_time must be positive, got 0.0"),
        ({"test_time": 1.0, "test_fraction": 0.1}, "two ways to say one thing: set one"),
        ({"negative_keep_rate": 0.0}, "negative_keep_rate must be above 0, up to 1, got 0.0"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        ClickPreparationConfig(**options)
