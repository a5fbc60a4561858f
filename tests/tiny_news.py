"""A small catalogue with every kind of feature, sessions and impressions on it, without files."""

import numpy as np

from tfrec_zoo.data.clicks.click_schema import (
    CategoricalFeature,
    ClickSchema,
    DenseFeature,
    VectorFeature,
)
from tfrec_zoo.data.clicks.click_shards import ClickRows
from tfrec_zoo.data.news.histories import Histories
from tfrec_zoo.data.news.impressions import Impressions
from tfrec_zoo.data.news.item_catalogue import ItemCatalogue
from tfrec_zoo.data.news.training_examples import TrainingExamples
from tfrec_zoo.vocabulary import Vocabulary

NUM_ITEMS = 23
MAX_HISTORY = 18
SESSION_LENGTHS = (2, 5, 3, 19, 7, 2, 23, 4, 3, 11)
HISTORY_LENGTHS = (1, 6, 20, 3, 17)
START = 1000
SCHEMA = ClickSchema(
    dense=[DenseFeature("length", "length")],
    categorical=[
        CategoricalFeature("id", "id", NUM_ITEMS + 1),
        CategoricalFeature("title", "title", 12, max_values=3),
        CategoricalFeature("author", "author", 7, kind="hash"),
    ],
    vectors=[VectorFeature("vec", "vec", 2)],
)
# The slots of features with a vocabulary.
VOCABULARY_SLOTS = np.array([True, True, True, True, False])


def make_catalogue(*, with_times: bool = True, seed: int = 0) -> ItemCatalogue:
    """Returns items with random content, and clicks as in `make_histories`."""
    rng = np.random.default_rng((seed, 1))
    num_rows = NUM_ITEMS + 1
    rows = np.zeros((num_rows, 5), np.int32)
    rows[1:, 0] = np.arange(1, num_rows)
    rows[1:, 1:4] = rng.integers(0, 12, (NUM_ITEMS, 3))
    rows[1:, 4] = rng.integers(1, 7, NUM_ITEMS)
    weights = np.ones((num_rows, 5), np.float32)
    weights[0] = 0
    # Titles of 0 to 3 words; what is behind them is padding.
    for place in range(3):
        weights[1:, 1 + place] = rng.integers(0, 4, NUM_ITEMS) > place
    weights[:, 1:4] = np.minimum.accumulate(weights[:, 1:4], axis=1)
    rows[:, 1:4] *= weights[:, 1:4].astype(np.int32)
    dense = rng.normal(size=(num_rows, 3)).astype(np.float32)
    dense[0] = 0
    times = None
    if with_times:
        times = rng.integers(START - 300, START + 600, num_rows).astype(np.float64)
        times[[0, 4, 11]] = np.nan
    counts = make_histories().row_counts(num_rows)[1:] + rng.integers(0, 3, NUM_ITEMS)
    counts[7] = 0
    ids = [f"i{number}" for number in range(1, num_rows)]
    features = ClickRows(np.zeros(num_rows, np.float32), dense, rows, row_weights=weights)
    return ItemCatalogue(Vocabulary(ids, counts), features, SCHEMA, {}, None, times)


def make_histories(
    lengths: tuple[int, ...] = SESSION_LENGTHS, *, with_times: bool = True, seed: int = 0
) -> Histories:
    """Returns an example of each click but a session's first."""
    rng = np.random.default_rng((seed, 2))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    sessions = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    targets = np.setdiff1d(np.arange(offsets[-1]), offsets)
    times = START + np.cumsum(rng.integers(0, 9, offsets[-1]))
    return Histories(
        rows=rng.integers(1, NUM_ITEMS + 1, offsets[-1]).astype(np.int32),
        times=times if with_times else None,
        offsets=offsets,
        session_ids=np.arange(len(lengths)).astype(str).astype(object),
        targets=targets,
        sessions=sessions[targets],
        max_history=MAX_HISTORY,
    )


def make_impressions(
    lengths: tuple[int, ...] = HISTORY_LENGTHS, *, num_clicked: int = 2, seed: int = 0
) -> Impressions:
    """Returns impressions of 4 to 7 different items, of which the first 1 or 2 were clicked."""
    rng = np.random.default_rng((seed, 3))
    shown, is_clicked = [], []
    for number in range(len(lengths)):
        shown.append(rng.permutation(NUM_ITEMS)[: rng.integers(4, 8)] + 1)
        is_clicked.append(np.arange(len(shown[-1])) < 1 + number % num_clicked)
    sizes = [len(rows) for rows in shown]
    return Impressions(
        history_rows=rng.integers(1, NUM_ITEMS + 1, sum(lengths)).astype(np.int32),
        history_offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        shown_rows=np.concatenate(shown).astype(np.int32),
        is_clicked=np.concatenate(is_clicked),
        shown_offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        times=START + rng.integers(0, 400, len(lengths)),
        log_numbers=np.arange(len(lengths)),
    )


def make_examples(*, with_impressions: bool = True, with_times: bool = True) -> TrainingExamples:
    """Returns the examples of the sessions and, unless told otherwise, of the impressions."""
    impressions = make_impressions() if with_impressions else None
    return TrainingExamples(make_histories(with_times=with_times), impressions)


def list_examples(examples: TrainingExamples) -> list[dict]:
    """Returns all examples one by one: `history` (rows), `target`, `time`, `shown` (in vain)."""
    found, histories, impressions = [], examples.histories, examples.impressions
    for target, session in zip(histories.targets, histories.sessions, strict=True):
        first = max(histories.offsets[session], target - histories.max_history)
        time = 0 if histories.times is None else histories.times[target]
        history = histories.rows[first:target].tolist()
        found.append({"history": history, "target": histories.rows[target], "time": time})
        found[-1]["shown"] = set()
    for number in range(0 if impressions is None else impressions.num_impressions):
        history = impressions.history_rows[slice(*impressions.history_offsets[number:][:2])]
        rows, is_clicked = impressions.shown(number)
        for target in rows[is_clicked]:
            example = {"history": history[-histories.max_history :].tolist(), "target": target}
            example |= {"time": impressions.times[number], "shown": {*rows[~is_clicked].tolist()}}
            found.append(example)
    return found
