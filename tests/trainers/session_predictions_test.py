"""The best items after clicks against scores in float64, one session at a time; and their files."""

import numpy as np
import pandas as pd
import pytest
from oracles import gru_step, make_sessions

from tfrec_zoo.models.gru4rec import GRU4Rec
from tfrec_zoo.models.gru4rec_config import GRU4RecConfig
from tfrec_zoo.trainers import session_predictions
from tfrec_zoo.trainers.session_predictions import predict_sessions, write_predictions

NUM_ITEMS = 30


@pytest.fixture(scope="module")
def model():
    model = GRU4Rec(GRU4RecConfig(hidden_dims=(6,)), NUM_ITEMS + 1)
    rng = np.random.default_rng(2)
    model.set_weights([rng.normal(0, 0.7, weight.shape) for weight in model.get_weights()])
    return model


def best_slowly(model, clicks, k, candidates):
    table = model.item_table.numpy().astype(np.float64)
    cell = model.network.cells[0]
    names = ("kernel", "gate_kernel", "candidate_kernel", "bias")
    weights = {name: getattr(cell, name).numpy() for name in names}
    state = np.zeros((1, 6))
    for row in clicks:
        state = gru_step(table[None, row, :6], state, weights)
    scores = table @ np.append(state, 1.0)
    rows = sorted(candidates, key=lambda row: (-scores[row], row))[:k]
    return rows, scores[rows]


def join(predictions):
    names = ("session_numbers", "positions", "rows", "scores")
    blocks = list(predictions)
    return [np.concatenate([getattr(block, name) for block in blocks]) for name in names]


@pytest.mark.parametrize("at_every_position", [False, True])
@pytest.mark.parametrize("candidates", [None, [3, 4, 9, 17, 22, 30]])
def test_predictions_are_the_best_in_float64(model, monkeypatch, at_every_position, candidates):
    monkeypatch.setattr(session_predictions, "_CLICKS_PER_GROUP", 20)
    sessions = make_sessions([1, 5, 25, 2, 9, 1], NUM_ITEMS)
    numbers, positions, rows, scores = join(
        predict_sessions(
            model, sessions, 4, at_every_position=at_every_position, candidate_rows=candidates
        )
    )
    expected = [
        (session, position)
        for session, length in enumerate(sessions.lengths)
        for position in (range(1, length + 1) if at_every_position else [length])
    ]
    assert list(zip(numbers, positions, strict=True)) == expected
    for event, (session, position) in enumerate(expected):
        begin = sessions.offsets[session]
        clicks = sessions.rows[begin : begin + position]
        best = best_slowly(model, clicks, 4, candidates or range(1, NUM_ITEMS + 1))
        np.testing.assert_array_equal(rows[event], best[0])
        np.testing.assert_allclose(scores[event], best[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ending", ["tsv", "csv.gz", "parquet"])
def test_files_have_a_line_for_each_item(model, tmp_path, ending):
    sessions = make_sessions([3, 1, 4], NUM_ITEMS)
    session_ids = np.array(["s,1", "007", "z"], dtype=object)
    item_ids = np.array(["", *(f"i{row}" for row in range(1, NUM_ITEMS + 1))], dtype=object)
    path = tmp_path / f"predictions.{ending}"
    write_predictions(path, predict_sessions(model, sessions, 2), session_ids, item_ids)
    if ending == "parquet":
        frame = pd.read_parquet(path)
    else:
        frame = pd.read_csv(path, sep="\t" if ending == "tsv" else ",", dtype={"session_id": str})
    numbers, positions, rows, scores = join(predict_sessions(model, sessions, 2))
    assert list(frame.columns) == ["session_id", "position", "item_id", "rank", "score"]
    assert frame.session_id.tolist() == session_ids.repeat(2).tolist()
    assert frame.position.tolist() == [3, 3, 1, 1, 4, 4]
    assert frame.item_id.tolist() == [f"i{row}" for row in rows.ravel()]
    assert frame["rank"].tolist() == [1, 2] * 3
    np.testing.assert_array_equal(frame.score.to_numpy(np.float32), scores.ravel())


def test_a_failure_leaves_the_old_file(model, tmp_path):
    path = tmp_path / "predictions.tsv"
    path.write_text("old")

    def fail_late():
        yield from predict_sessions(model, make_sessions([2], NUM_ITEMS), 2)
        raise OSError(28, "no space")

    ids = np.array([f"i{row}" for row in range(NUM_ITEMS + 1)], dtype=object)
    with pytest.raises(OSError, match="no space"):
        write_predictions(path, fail_late(), ids[:1], ids)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("k", "candidates"), [(0, None), (31, None), (3, [5, 6])])
def test_k_must_fit_the_candidates(model, k, candidates):
    sessions = make_sessions([2], NUM_ITEMS)
    with pytest.raises(ValueError, match="k must be from 1 to the number of candidates"):
        next(predict_sessions(model, sessions, k, candidate_rows=candidates))


def test_one_session_a_line_cannot_hold_predictions(tmp_path):
    ids = np.array(["a"], dtype=object)
    with pytest.raises(ValueError, match="written as .tsv, .csv or .parquet"):
        write_predictions(tmp_path / "x.txt", iter([]), ids, ids)
