"""Ranks and metrics of sessions against a NumPy model in float64 that ranks one event at a time."""

import numpy as np
import pytest
from oracles import ACTIVATIONS, gru_step

from tfrec_zoo.data.sessions.session_log import Sessions
from tfrec_zoo.metrics.ranking import TIE_RULES
from tfrec_zoo.models.gru4rec import GRU4Rec
from tfrec_zoo.models.gru4rec_config import GRU4RecConfig
from tfrec_zoo.trainers import session_replay
from tfrec_zoo.trainers.session_evaluation import (
    MIN_EXACT_EVENTS,
    SessionRanker,
    chunk_size,
    evaluate_sessions,
    rank_sessions,
)

NUM_ROWS = 41
SCORE_ACTIVATIONS = {"linear": "linear", "elu": "elu-0.5"}
CONFIGS = {
    "tied": GRU4RecConfig(hidden_dims=(8,)),
    "separate": GRU4RecConfig(hidden_dims=(6, 5), tie_embeddings=False, embedding_dim=4),
    "one_hot": GRU4RecConfig(hidden_dims=(7,), tie_embeddings=False, use_item_bias=False),
    "elu": GRU4RecConfig(hidden_dims=(8,), score_activation="elu", elu_alpha=0.5),
}


def make_sessions(lengths, seed=0, num_rows=NUM_ROWS) -> Sessions:
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    rows = rng.integers(1, num_rows, offsets[-1]).astype(np.int32)
    return Sessions(rows, offsets, np.arange(len(lengths)), num_unknown_clicks=3)


def make_model(config=CONFIGS["tied"], seed=0) -> GRU4Rec:
    """A model whose weights are all random; the rows 5, 9 and the last one have equal vectors."""
    model = GRU4Rec(config, NUM_ROWS, seed)
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        variable.assign(rng.normal(size=variable.shape) * 0.7)
    table = model.item_table.numpy()
    table[[9, NUM_ROWS - 1]] = table[5]
    model.item_table.assign(table)
    return model


def score_slowly(model, clicks):
    """Scores float64 [V + 1] after the clicks of one session."""
    table = model.item_table.numpy().astype(np.float64)
    inputs = table if model.input_table is None else model.input_table.numpy().astype(np.float64)
    layers = [
        {weight.name.split("/")[-1].split(":")[0]: weight.numpy() for weight in cell.weights}
        for cell in model.network.cells
    ]
    states = [np.zeros((1, width)) for width in model.network.state_dims]
    for row in clicks:
        x = inputs[None, row, : model.input_dim]
        for layer, weights in enumerate(layers):
            x = states[layer] = gru_step(x, states[layer], weights)
    vector = np.append(x, 1.0) if model.config.use_item_bias else x[0]
    return ACTIVATIONS[SCORE_ACTIVATIONS[model.config.score_activation]](table @ vector)


def rank_slowly(model, sessions, candidates):
    """(greater, equal, target, position) of each event; scores as close as 1e-9 are equal."""
    found = []
    for begin, end in zip(sessions.offsets, sessions.offsets[1:], strict=False):
        clicks = sessions.rows[begin:end]
        for position in range(1, len(clicks)):
            scores, target = score_slowly(model, clicks[:position]), clicks[position]
            others = scores[[j for j in candidates if j != target]] - scores[target]
            equal = np.abs(others) < 1e-9
            found.append((np.sum(others[~equal] > 0), equal.sum(), target, position))
    return np.array(found)


@pytest.mark.parametrize("name", CONFIGS)
def test_ranks_equal_a_model_in_float64_ties_included(name, monkeypatch):
    monkeypatch.setattr(session_replay, "_MAX_LANES", 4)  # So that lanes play several sessions.
    model = make_model(CONFIGS[name])
    sessions = make_sessions([2, 9, 3, 40, 5, 2, 7] * 3)
    found = rank_sessions(model, sessions)
    expected = rank_slowly(model, sessions, range(1, NUM_ROWS))
    columns = (found.num_greater, found.num_equal, found.target_rows, found.positions)
    np.testing.assert_array_equal(np.transpose(columns), expected)
    assert found.num_equal.any() and found.num_candidates == NUM_ROWS - 1


def test_a_target_is_ranked_against_the_candidates_even_if_it_is_none_of_them():
    model, sessions = make_model(), make_sessions([6, 2, 11, 4])
    candidates = np.array([5, 9, 2, 33, 40, 12])
    found = rank_sessions(model, sessions, candidates)
    expected = rank_slowly(model, sessions, candidates)
    np.testing.assert_array_equal(
        np.transpose([found.num_greater, found.num_equal]), expected[:, :2]
    )
    assert found.num_candidates == 6
    assert not np.isin(found.target_rows, candidates).all()


@pytest.mark.parametrize("tie_rule", TIE_RULES)
def test_metrics_are_those_of_ranks_counted_one_by_one(tie_rule):
    model, sessions = make_model(), make_sessions([5, 8, 30, 2, 2] * 4, num_rows=12)
    metrics = evaluate_sessions(model, sessions, ks=(10, 25), tie_rule=tie_rule, seed=7)
    greater, equal, *_ = rank_slowly(model, sessions, range(1, NUM_ROWS)).T
    ties = {
        "optimistic": 0 * equal,
        "pessimistic": equal,
        "expected": equal / 2,
        "random": np.random.default_rng(7).integers(0, equal + 1),
    }
    ranks = 1 + greater + ties[tie_rule]
    for k in (10, 25):
        hits = [rank for rank in ranks if rank <= k]
        assert metrics[f"recall@{k}"] == pytest.approx(len(hits) / len(ranks))
        assert metrics[f"mrr@{k}"] == pytest.approx(sum(1 / r for r in hits) / len(ranks))
        gain = sum(1 / np.log2(1 + r) for r in hits)
        assert metrics[f"ndcg@{k}"] == pytest.approx(gain / len(ranks))
    assert metrics["tie_rule"] == tie_rule
    assert metrics["num_test_events"] == len(ranks) == 168
    assert metrics["num_candidates"] == NUM_ROWS - 1
    assert metrics["num_unknown_clicks"] == 3


def test_a_second_evaluation_begins_from_a_zero_state_and_sees_new_weights():
    model, sessions = make_model(), make_sessions([5, 8, 30, 2, 2])
    ranker = SessionRanker(model)
    first = evaluate_sessions(ranker, sessions)
    assert evaluate_sessions(ranker, sessions) == evaluate_sessions(model, sessions) == first
    other = make_model(seed=1)
    expected = evaluate_sessions(other, sessions)
    for old, new in zip(model.weights, other.weights, strict=True):
        old.assign(new)
    assert evaluate_sessions(ranker, sessions) == expected != first


def test_ranks_do_not_depend_on_the_chunks_the_lanes_or_the_compiler(monkeypatch):
    model, sessions = make_model(), make_sessions([2, 3, 70, 4, 5] * 30)
    seen = []
    found = rank_sessions(model, sessions, progress=lambda *done: seen.append(done))
    num_events = len(found.target_rows)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[-1] == (num_events, num_events)
    monkeypatch.setattr(session_replay, "_MAX_LANES", 8)
    other = SessionRanker(model, jit_compile=False).rank(sessions, memory_budget=1)
    np.testing.assert_array_equal(found.num_greater, other.num_greater)
    np.testing.assert_array_equal(found.num_equal, other.num_equal)


def test_chunks_stay_within_the_memory():
    assert chunk_size(10**6 + 1, 10**6) * 4 * (10**6 + 1) <= 256 * 2**20
    assert chunk_size(10**6 + 1, 10**6) == 64
    assert chunk_size(10**9, 10**6) == MIN_EXACT_EVENTS
    assert chunk_size(100, 20) == 32


def test_breakdowns_and_baselines_stand_beside_the_metrics():
    model, sessions = make_model(), make_sessions([5, 8, 30, 2, 2])
    training = make_sessions([4] * 50, seed=3)
    counts = np.bincount(training.rows, minlength=NUM_ROWS)
    metrics = evaluate_sessions(
        model,
        sessions,
        ks=(5,),
        row_counts=counts,
        by_position=True,
        by_popularity=True,
        baselines_from=training,
    )
    for prefix in ("position", "popularity"):
        events = [v for k, v in metrics.items() if k.startswith(prefix) and "num_events" in k]
        assert sum(events) == metrics["num_test_events"] and len(events) > 1
    assert metrics["position/1/num_events"] == sessions.num_sessions
    order = np.argsort(-counts[1:], kind="stable") + 1
    targets = np.concatenate(
        [
            sessions.rows[a + 1 : b]
            for a, b in zip(sessions.offsets, sessions.offsets[1:], strict=False)
        ]
    )
    assert metrics["baseline_popularity/recall@5"] <= np.isin(targets, order[:5]).mean()
    assert 0 <= metrics["baseline_markov/mrr@5"] < 1


def test_weights_that_are_no_numbers_are_refused():
    model = make_model()
    table = model.item_table.numpy()
    table[7] = np.nan
    model.item_table.assign(table)
    with pytest.raises(ValueError, match=r"not numbers \(NaN\) for \d+ items.*diverged"):
        rank_sessions(model, make_sessions([3, 4]))


@pytest.mark.parametrize(
    ("candidates", "sentence"),
    [
        ([], "no candidate items"),
        ([0, 3], r"must be in 1\.\.40, got 0\.\.3"),
        ([3, 41], r"must be in 1\.\.40, got 3\.\.41"),
    ],
)
def test_candidates_that_are_no_items_are_refused(candidates, sentence):
    with pytest.raises(ValueError, match=sentence):
        rank_sessions(make_model(), make_sessions([3]), candidates)


def test_what_cannot_be_evaluated_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match="none of the 2 sessions has a second click"):
        rank_sessions(make_model(), make_sessions([1, 1]))
    with pytest.raises(ValueError, match="Unknown tie rule 'first'"):
        evaluate_sessions(make_model(), make_sessions([3]), tie_rule="first")
    with pytest.raises(ValueError, match="need row_counts"):
        evaluate_sessions(make_model(), make_sessions([3]), by_popularity=True)
