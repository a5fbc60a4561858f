"""The baselines against dictionaries of counts and a ranking of every item, one event at a time."""

import collections
import itertools

import numpy as np
import pandas as pd
import pytest

from tfrec_zoo.metrics import baselines, ranking

NUM_ROWS = 15
RULES = ["optimistic", "pessimistic", "expected"]


def draw_sessions(seed, num_sessions=60, num_rows=NUM_ROWS):
    """Random sessions of 1 to 6 clicks on the rows from 1 on, as rows and offsets."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 7, num_sessions)
    rows = rng.integers(1, num_rows, lengths.sum()) * rng.integers(1, 3, lengths.sum()) % num_rows
    return np.maximum(rows, 1).astype(np.int32), np.concatenate([[0], np.cumsum(lengths)])


def list_events(rows, offsets):
    """(current, next, position) of each prediction, by loops."""
    return [
        (int(rows[click]), int(rows[click + 1]), int(click - start + 1))
        for start, end in itertools.pairwise(offsets)
        for click in range(start, end - 1)
    ]


def rank_by_scores(score_of, target, candidates, tie_rule):
    """The rank of `target` among `candidates` with the scores that `score_of` gives."""
    greater = sum(score_of(item) > score_of(target) for item in candidates if item != target)
    equal = sum(score_of(item) == score_of(target) for item in candidates if item != target)
    return 1 + greater + {"optimistic": 0, "pessimistic": equal, "expected": equal / 2}[tie_rule]


@pytest.fixture(params=["all items", "some items"])
def is_candidate(request):
    """A mask that leaves out some targets, or none at all; and the candidates as a list."""
    if request.param == "all items":
        return None, list(range(1, NUM_ROWS))
    mask = np.random.default_rng(5).random(NUM_ROWS) < 0.6
    return mask, [row for row in range(1, NUM_ROWS) if mask[row]]


def test_events_are_all_clicks_with_a_predecessor():
    rows, offsets = draw_sessions(0)
    events = baselines.next_item_events(rows, offsets)
    np.testing.assert_array_equal(np.stack(events, axis=1), list_events(rows, offsets))


def test_empty_sessions_hold_no_event():
    events = baselines.next_item_events([3, 4, 5], [0, 0, 2, 2, 3, 3])
    assert [column.tolist() for column in events] == [[3], [4], [1]]


@pytest.mark.parametrize("tie_rule", RULES)
def test_markov_equals_a_dictionary_of_successors(tie_rule, is_candidate):
    train, test = draw_sessions(1), draw_sessions(2)
    followers = collections.defaultdict(collections.Counter)
    for current, target, _ in list_events(*train):
        followers[current][target] += 1
    mask, candidates = is_candidate
    wanted = [
        rank_by_scores(followers[current].__getitem__, target, candidates, tie_rule)
        for current, target, _ in list_events(*test)
    ]
    ranks = baselines.markov_ranks(*test, *train, NUM_ROWS, tie_rule, is_candidate=mask)
    np.testing.assert_array_equal(ranks, wanted)
    assert len(set(ranks)) > 5


@pytest.mark.parametrize("tie_rule", RULES)
def test_popularity_equals_a_sorted_list(tie_rule, is_candidate):
    counts = np.bincount(draw_sessions(1)[0], minlength=NUM_ROWS) // 4
    test = draw_sessions(2)
    mask, candidates = is_candidate
    wanted = [
        rank_by_scores(counts.__getitem__, target, candidates, tie_rule)
        for _, target, _ in list_events(*test)
    ]
    ranks = baselines.popularity_ranks(*test, counts, tie_rule, is_candidate=mask)
    np.testing.assert_array_equal(ranks, wanted)


def test_the_padding_row_is_never_a_candidate():
    counts = np.array([99, 5, 1])
    assert baselines.popularity_ranks([1, 2], [0, 2], counts, "pessimistic").tolist() == [2]
    everything = np.ones(3, bool)
    ranks = baselines.popularity_ranks([1, 2], [0, 2], counts, "optimistic", None, everything)
    assert ranks.tolist() == [2]
    assert everything.all(), "the caller's mask has been written to"


def test_without_a_training_transition_all_items_tie():
    ranks = baselines.markov_ranks([1, 2], [0, 2], [1, 2], [0, 1, 2], 11, "pessimistic")
    assert ranks.tolist() == [10]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: baselines.next_item_events([1, 2], [0, 1]), "number of clicks, 2"),
        (lambda: baselines.popularity_ranks([1, 0], [0, 2], [0, 3], "expected"), "rows 0 to 0"),
        (lambda: baselines.popularity_ranks([1, 9], [0, 2], [0, 3], "expected"), "rows 9 to 9"),
        (
            lambda: baselines.popularity_ranks(
                [1, 1], [0, 2], [0, 3], "expected", None, np.ones(3, bool)
            ),
            "candidate mask",
        ),
    ],
)
def test_rows_that_do_not_fit_are_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_published_baselines_of_a_real_log(shared_data):
    """The notes beside the log: Markov Recall@20 0.660, popularity 0.111.

    They fit the first 5,000 test sessions, ties broken in some order of their own, and not the
    whole test part (0.654 and 0.074).
    """
    folder = shared_data / "sessions"
    train, test = (
        pd.read_csv(folder / f"yoochoose1_64_{part}.tsv.gz", sep="\t", dtype={"ItemId": str})
        .sort_values(["SessionId", "Time"], kind="stable")
        .reset_index(drop=True)
        for part in ("train", "test")
    )
    codes, ids = pd.factorize(train.ItemId)
    test = test.assign(row=pd.Index(ids).get_indexer(test.ItemId) + 1).query("row > 0")
    test = test[test.SessionId.isin(test.SessionId.unique()[:5000])]
    train_offsets, offsets = (
        np.append(np.flatnonzero(~log.SessionId.duplicated()), len(log)) for log in (train, test)
    )
    sessions = test.row.to_numpy(), offsets
    counts = np.bincount(codes + 1)
    popularity = baselines.popularity_ranks(*sessions, counts, "expected")
    assert round(ranking.recall_at(popularity, 20), 3) == 0.111
    markov = [
        baselines.markov_ranks(*sessions, codes + 1, train_offsets, len(counts), rule)
        for rule in ("pessimistic", "expected")
    ]
    assert ranking.recall_at(markov[0], 20) < 0.660 < ranking.recall_at(markov[1], 20)
