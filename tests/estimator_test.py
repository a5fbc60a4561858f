"""The estimator: what it answers is what the exported model answers."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import tf_keras
import tiny_runs

from tfrec_zoo.data.sessions.planted_sessions import PlantedWorld
from tfrec_zoo.data.sessions.session_log import write_session_log
from tfrec_zoo.estimator import NotFittedError, SessionRecommender
from tfrec_zoo.models.gru4rec import GRU4Rec
from tfrec_zoo.run_folder import RunFolder

OPTIONS = {
    "hidden_dims": (6, 8),
    "batch_size": 8,  # A peer's name for num_lanes.
    "num_negatives": 8,
    "learning_rate": 0.1,
    "epochs": 2,
    "steps_per_block": 10,
    "jit_compile": False,
}
NEW_SESSIONS = [["item-00004", "item-00011"], ["item-00027"], [], ["nothing"], ["item-00002"] * 3]


class LastClicks(tf_keras.layers.Layer):
    """A feed-forward network over the last click and a fading memory of the earlier ones."""

    state_dims = (4, 7)

    def build(self, input_shape):
        self.kernel = self.add_weight("kernel", (input_shape[-1], 4))
        self.mixer = self.add_weight("mixer", (4 + input_shape[-1], 7))
        self.unused = self.add_weight("unused", (3,))

    def call(self, inputs, states, noise=None):
        memory = 0.5 * states[0] + tf.matmul(inputs, self.kernel)
        return memory, tf.tanh(tf.matmul(tf.concat([memory, inputs], axis=1), self.mixer))


class FeedForwardRec(GRU4Rec):
    """The model with that network."""

    def make_network(self):
        return LastClicks()


def make_frame(num_sessions: int, seed: int) -> pd.DataFrame:
    log = PlantedWorld(tiny_runs.WORLD).sample(num_sessions, seed)
    return pd.DataFrame(
        {
            "SessionId": log.session_ids[log.session_codes()],
            "ItemId": log.item_ids[log.item_codes],
            "Time": log.times,
        }
    )


@pytest.fixture(scope="module")
def clicks() -> pd.DataFrame:
    return make_frame(200, seed=1)


@pytest.fixture(scope="module", params=[GRU4Rec, FeedForwardRec])
def fitted(request, clicks) -> SessionRecommender:
    recommender = SessionRecommender(model_class=request.param, **OPTIONS)
    return recommender.fit(clicks, validation=make_frame(60, seed=2))


@pytest.fixture(scope="module")
def plain(clicks) -> SessionRecommender:
    return SessionRecommender(**{**OPTIONS, "epochs": 1, "hidden_dims": [6]}).fit(clicks)


def pad(sessions) -> tf.Tensor:
    width = max(map(len, sessions))
    return tf.constant([[*items, *[""] * (width - len(items))] for items in sessions])


def test_fitting_learns(fitted, clicks):
    assert fitted.metrics_["epochs"] == 2
    assert fitted.evaluate(clicks)["recall@20"] > 0.6
    assert fitted.metrics_["best_value"] > 0.5
    assert fitted.vocabulary_.num_items == clicks.ItemId.nunique()


def test_steps_and_the_export_answer_as_whole_sessions_do(fitted, tmp_path):
    expected = fitted.recommend(NEW_SESSIONS, k=9)
    assert expected.items.shape == expected.scores.shape == (5, 9)

    fitted.forget()
    for name, items in enumerate(NEW_SESSIONS):
        answer = fitted.step([name], ["unknown"], k=9)
        for item in items:
            answer = fitted.step([name], [item], k=9)
        assert answer.items[0].tolist() == expected.items[name].tolist()
        np.testing.assert_allclose(answer.scores[0], expected.scores[name], atol=1e-6)

    served = tf.saved_model.load(str(fitted.export(tmp_path / "served", k=9)))
    answer = served.signatures["recommend"](session_items=pad(NEW_SESSIONS))
    assert answer["items"].numpy().astype(str).tolist() == expected.items.tolist()
    np.testing.assert_allclose(answer["scores"], expected.scores, atol=1e-6)


def test_what_is_saved_or_exported_is_loaded(fitted, tmp_path):
    expected = fitted.recommend(NEW_SESSIONS)
    fitted.save(tmp_path / "deep" / "model")
    assert sorted(path.name for path in tmp_path.rglob("deep/*")) == ["model"]
    version = fitted.export(tmp_path / "served")
    model_class = type(fitted.model_)
    for path in (tmp_path / "deep" / "model", version):
        loaded = SessionRecommender.load(path, model_class)
        found = loaded.recommend(NEW_SESSIONS)
        assert found.items.tolist() == expected.items.tolist()
        np.testing.assert_array_equal(found.scores, expected.scores)
        assert loaded.get_params()["num_lanes"] == 8
    with pytest.raises(ValueError, match="is a run folder already"):
        fitted.save(tmp_path / "deep" / "model")


def test_sessions_are_remembered_and_forgotten(plain):
    first, second = ["item-00004"], ["item-00011"]
    plain.forget()
    fresh = plain.step(["a", "b"], [*first, *first])
    assert fresh.items[0].tolist() == fresh.items[1].tolist()
    longer = plain.step(["c", "a"], [*first, *second]).scores
    np.testing.assert_allclose(longer[0], fresh.scores[0], atol=1e-6)
    np.testing.assert_allclose(longer[1], plain.recommend([first + second]).scores[0], atol=1e-6)
    plain.forget(["a", "never seen"])
    np.testing.assert_allclose(plain.step(["a"], first).scores[0], fresh.scores[0], atol=1e-6)
    # Session b goes on.
    found = plain.step(["b"], second).scores[0]
    np.testing.assert_allclose(found, longer[1], atol=1e-6)
    assert plain.step([], []).items.shape == (0, 20)


@pytest.mark.parametrize(("sessions", "items"), [(["a", "a"], ["x", "y"]), (["a"], ["x", "y"])])
def test_a_step_is_one_click_of_each_session(plain, sessions, items):
    with pytest.raises(ValueError, match="step needs one item for each of several different"):
        plain.step(sessions, items)


def test_excluded_items_never_come_back(plain):
    best = plain.recommend(NEW_SESSIONS, k=5)
    others = plain.recommend(NEW_SESSIONS, k=100, exclude=best.items.tolist())
    for row, excluded in enumerate(best.items):
        kept = [item for item in others.items[row] if item]
        assert not set(excluded) & set(kept)
        assert len(kept) == plain.vocabulary_.num_items - 5
        assert others.scores[row, len(kept)] == -np.inf


def test_scores_of_chosen_items(plain):
    best = plain.recommend(NEW_SESSIONS[:2], k=3)
    for row in range(2):
        scores = plain.score_items([NEW_SESSIONS[row]], [*best.items[row], "nothing"])[0]
        np.testing.assert_allclose(scores[:3], best.scores[row], atol=1e-6)
        assert np.isnan(scores[3])


def test_no_sessions_give_an_empty_answer(plain):
    assert plain.recommend([], k=4).items.shape == (0, 4)


def test_a_log_is_read_from_files_with_integers_as_ids(tmp_path):
    frame = make_frame(60, seed=3)
    frame["ItemId"] = frame.ItemId.str.removeprefix("item-").astype(int)
    frame = frame.rename(columns={"SessionId": "s", "ItemId": "i", "Time": "t"})
    paths = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for path, part in zip(paths, (frame[:100], frame[100:]), strict=True):
        part.to_csv(path, index=False)
    columns = {"session_key": "s", "item_key": "i", "time_key": "t"}
    options = {**OPTIONS, "epochs": 1, **columns}
    answers = [
        SessionRecommender(**options).fit(log).recommend([[int(frame.i[0])]]).items.tolist()
        for log in (frame, paths)
    ]
    assert answers[0] == answers[1]


def test_a_run_folder_is_continued_and_belongs_to_its_data(clicks, tmp_path):
    run = tmp_path / "run"
    options = {**OPTIONS, "hidden_dims": (5,)}
    SessionRecommender(**{**options, "epochs": 1}).fit(clicks, run_dir=run)
    continued = SessionRecommender(**options).fit(clicks, run_dir=run)
    assert continued.metrics_["epochs"] == 2
    assert RunFolder(run).load_config()["training"]["epochs"] == 2
    at_once = SessionRecommender(**options).fit(clicks)
    np.testing.assert_array_equal(
        continued.recommend(NEW_SESSIONS).scores, at_once.recommend(NEW_SESSIONS).scores
    )
    before = tiny_runs.snapshot(run)
    with pytest.raises(ValueError, match="was trained on other data"):
        SessionRecommender(**options).fit(make_frame(50, seed=5), run_dir=run)
    assert tiny_runs.snapshot(run) == before


def test_a_saved_recommender_is_a_start_for_the_trainer(plain, clicks, tmp_path, capsys):
    plain.save(tmp_path / "saved")
    log = PlantedWorld(tiny_runs.WORLD).sample(200, seed=1)
    write_session_log(log, tmp_path / "train.tsv")
    flags = [f"--train={tmp_path / 'train.tsv'}", "--hidden_dims=6", "--epochs=1"]
    flags += ["--steps_per_block=10"]
    assert tiny_runs.run_trainer(*flags, f"--run_dir={tmp_path / 'saved'}") == 1
    assert "ckpt-1 holds weights alone" in capsys.readouterr().err
    flags += [f"--init_from={tmp_path / 'saved'}", f"--run_dir={tmp_path / 'run'}"]
    assert tiny_runs.run_trainer(*flags) == 0
    loss = RunFolder(tmp_path / "run").load_metrics()["loss"]
    assert loss < plain.metrics_["loss"]


def test_options_are_checked_at_once():
    with pytest.raises(ValueError, match="unknown option 'hiden_dims', expected one of hidden_d"):
        SessionRecommender(hiden_dims=(3,))
    with pytest.raises(ValueError, match="num_lanes is given twice"):
        SessionRecommender(num_lanes=3, batch_size=3)
    with pytest.raises(ValueError, match="early_stopping_patience=2 needs validation data"):
        SessionRecommender(**OPTIONS, early_stopping_patience=2).fit(make_frame(20, seed=1))


def test_parameters_are_those_of_scikit_learn():
    recommender = SessionRecommender(loss="bpr_max", epochs=3)
    assert recommender.get_params() == {"model_class": GRU4Rec, "loss": "bpr_max", "epochs": 3}
    assert recommender.set_params(epochs=4, model_class=FeedForwardRec) is recommender
    expected = {"model_class": FeedForwardRec, "loss": "bpr_max", "epochs": 4}
    assert recommender.get_params() == expected
    with pytest.raises(ValueError, match="loss must be one of"):
        recommender.set_params(loss="nothing", epochs=5)
    assert recommender.get_params() == expected


def test_scikit_learn_clones_it():
    clone = pytest.importorskip("sklearn.base", reason="needs scikit-learn").clone
    recommender = SessionRecommender(hidden_dims=(3,), epochs=3)
    assert clone(recommender).get_params() == recommender.get_params()


def test_what_is_not_trained_says_so():
    recommender = SessionRecommender()
    assert not hasattr(recommender, "model_")
    for ask in (recommender.recommend, recommender.evaluate):
        with pytest.raises(NotFittedError, match="no model yet: call fit, or use load"):
            ask([["a"]])
    with pytest.raises(AttributeError, match="has no attribute 'modle_'"):
        _ = recommender.modle_
