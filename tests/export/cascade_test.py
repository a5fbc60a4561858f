"""The answers of cascades against two Python models, called one after the other."""

import dataclasses
import json

import cascade_models
import numpy as np
import pytest
import tensorflow as tf
from cascade_models import ITEM_COLUMN, CascadeOracle
from news_models import NewsOracle

from tfrec_zoo.export.cascade import export_cascade
from tfrec_zoo.export.cascade_items import read_item_features
from tfrec_zoo.export.restore import restore_ssr

K, NUM_CANDIDATES = 6, 15
UNKNOWN = "never seen"


class Served:
    """An export, and the oracle of it."""

    def __init__(self, path, items, oracle):
        self.path, self.items, self.oracle = path, items, oracle
        self.loaded = tf.saved_model.load(str(path))

    def ask(self, sessions, requests, signature="recommend", **inputs):
        """Answers sessions, which are padded to the longest one."""
        length = max(map(len, sessions))
        padded = [session + [""] * (length - len(session)) for session in sessions]
        inputs["session_items"] = np.array(padded, dtype=object).reshape(len(sessions), length)
        inputs |= cascade_models.to_inputs(requests, self.items)
        tensors = {name: tf.constant(value, dtype_of(value)) for name, value in inputs.items()}
        answer = self.loaded.signatures[signature](**tensors)
        return {name: value.numpy() for name, value in answer.items()}

    def require(self, sessions, requests, answer, excluded=()):
        """Asserts that an answer is the oracle's."""
        for number, (session, request) in enumerate(zip(sessions, requests, strict=True)):
            items, scores, retrieval = self.oracle.answer(session, request, K, excluded)
            found = [item.decode() for item in answer["items"][number]]
            assert found == items
            np.testing.assert_allclose(answer["scores"][number], scores, rtol=1e-4)
            np.testing.assert_allclose(
                answer["retrieval_scores"][number], retrieval, rtol=1e-4, atol=1e-5
            )


def dtype_of(value):
    return tf.string if value.dtype == object else tf.float32


@pytest.fixture(scope="module")
def ranker():
    return cascade_models.make_ranker()


@pytest.fixture(scope="module")
def served(restored, make_oracle, ranker, tmp_path_factory):
    """A cascade of a GRU4Rec, whose table of items lacks two of them."""
    folder = tmp_path_factory.mktemp("cascade")
    ids = list(restored.vocabulary.ids)
    values = cascade_models.draw_items(ids[2:] + ["another item"], ranker)
    table = cascade_models.write_items(folder / "items.csv", values)
    items = read_item_features(ranker, restored.vocabulary.ids, ITEM_COLUMN, table)
    path = export_cascade(restored, ranker, items, folder / "served", K, NUM_CANDIDATES)
    oracle = make_oracle(restored)

    def retrieve(session, k, excluded):
        return oracle.answer(oracle.play(session), k, excluded)

    return Served(path, items, CascadeOracle(retrieve, ranker, values, NUM_CANDIDATES))


@pytest.fixture(scope="module")
def sessions(restored):
    rng = np.random.default_rng(2)
    return [list(rng.choice(restored.vocabulary.ids, length)) for length in (1, 3, 5, 2)]


def test_the_features_are_parted_by_the_columns_of_the_table(served):
    def names(schema):
        return [feature.name for feature in (*schema.dense, *schema.categorical)]

    item = ["a", "a_raw", "a_scaled", "tags", "device", "genres", "price"]
    request = ["b", "user", "age", "words", "first", "urls", "C.1"]
    assert (names(served.items.schema), names(served.items.request_schema)) == (item, request)
    assert served.items.num_missing == 2
    about = json.loads((served.path / "assets" / "config.json").read_text())
    assert about["program"] == "cascade" and about["retriever"]["program"] == "gru4rec"
    assert about["ranker"]["program"] == "dlrm"
    export = about["export"]
    assert (export["k"], export["num_candidates"], export["num_items"]) == (K, NUM_CANDIDATES, 40)
    assert export["item_features"] == item
    texts = ["user", "words", "first", "urls", "C.1"]
    assert export["inputs"] == {"dense": ["b"], "sparse": texts}


def test_answers_are_of_one_model_after_the_other(served, sessions):
    requests = served.oracle.draw_requests(4)
    for signature in ("recommend", "serving_default"):
        answer = served.ask(sessions, requests, signature)
        served.require(sessions, requests, answer)
    assert (np.diff(answer["scores"]) <= 0).all() and np.ptp(answer["scores"]) > 0.1
    # The order is not the retriever's.
    assert (np.diff(answer["retrieval_scores"]) > 0).any()


def test_a_session_without_a_known_item_gets_the_popular_ones_ranked(served):
    sessions = [[], [UNKNOWN], ["", UNKNOWN, ""]]
    requests = served.oracle.draw_requests(3)
    served.require(sessions, requests, served.ask(sessions, requests))


def test_padding_and_company_change_nothing(served, sessions):
    requests = served.oracle.draw_requests(4)
    padded = [["", session[0], UNKNOWN, "", *session[1:]] for session in sessions]
    served.require(sessions, requests, served.ask(padded, requests))
    for session, request in zip(sessions, requests, strict=True):
        served.require([session], [request], served.ask([session], [request]))


def test_excluded_items_are_no_candidates(served, sessions, restored):
    requests = served.oracle.draw_requests(4)
    best = served.ask(sessions, requests)["items"]
    excluded = [best[0, 0].decode(), best[1, 1].decode(), UNKNOWN, ""]
    for left_out in (excluded, list(restored.vocabulary.ids[3:]), list(restored.vocabulary.ids)):
        inputs = np.array([left_out] * 4, dtype=object)
        answer = served.ask(sessions, requests, "recommend_excluding", exclude_items=inputs)
        served.require(sessions, requests, answer, left_out)
    assert (answer["items"] == b"").all() and (answer["scores"] == -np.inf).all()


def test_all_items_are_ranked_by_their_own_features_alone(restored, tmp_path):
    # The table has all features of the ranker, and there are fewer items than candidates.
    ids = restored.vocabulary.ids
    ranker = cascade_models.make_id_ranker(ids)
    users = ["u1", "u2", "someone", ""] * 10
    lines = [f"{item},{user}" for item, user in zip(ids, users, strict=True)]
    (tmp_path / "items.csv").write_text("\n".join(["film,user", *lines]), encoding="utf-8")
    items = read_item_features(ranker, ids, "film", tmp_path / "items.csv")
    assert items.request_schema is None
    path = export_cascade(restored, ranker, items, tmp_path, 50, 60)
    signature = tf.saved_model.load(str(path)).signatures["recommend"]
    answer = signature(session_items=tf.constant([["item-7"]]))
    known = {name: list(v.ids) for name, v in ranker.vocabularies.items()}
    rows = [
        [
            known["user"].index(u) + 1 if u in known["user"] else 0,
            known["film"].index(i) + 1 if i in known["film"] else 0,
        ]
        for i, u in zip(ids, users, strict=True)
    ]
    logits = ranker.model(np.zeros((40, 0), np.float32), np.array(rows, np.int32)).numpy()
    expected = np.sort(1 / (1 + np.exp(-logits.astype(np.float64))))[::-1]
    found, scores = answer["items"].numpy()[0], answer["scores"].numpy()[0]
    assert {item.decode() for item in found[:40]} == set(ids) and (found[40:] == b"").all()
    np.testing.assert_allclose(scores[:40], expected, rtol=1e-4)
    assert (scores[40:] == -np.inf).all()


def test_an_ssr_retrieves(news_run, ranker, tmp_path):
    retriever, now = restore_ssr(news_run), 96_000.0
    values = cascade_models.draw_items(list(retriever.catalogue.ids), ranker)
    table = cascade_models.write_items(tmp_path / "items.csv", values)
    items = read_item_features(ranker, retriever.catalogue.ids, ITEM_COLUMN, table)
    path = export_cascade(retriever, ranker, items, tmp_path, K, NUM_CANDIDATES, now=now)
    news = NewsOracle(retriever, now)
    served = Served(path, items, CascadeOracle(news.answer, ranker, values, NUM_CANDIDATES))
    sessions = [["N1"], ["N3", "N4", "N5"], [], [UNKNOWN]]
    requests = served.oracle.draw_requests(4)
    served.require(sessions, requests, served.ask(sessions, requests))
    assert {path.name for path in (path / "assets.extra" / "retriever").iterdir()} == {
        "catalogue",
        "config.json",
    }


def test_a_side_table_has_the_items(restored, tmp_path):
    ids = restored.vocabulary.ids
    ranker = cascade_models.make_id_ranker(ids)
    lines = [f"{item},1" for item in ids[5:]]
    table = tmp_path / "films.csv"
    table.write_text("\n".join(["number,year", *lines]), encoding="utf-8")
    for join in (f"{tmp_path}/films.*", "elsewhere/films.csv"):
        spec = {**ranker.spec, "join": [{"file": join, "on": "film", "key": "number"}]}
        changed = dataclasses.replace(ranker, spec=spec)
        paths = None if join.startswith("/") else table
        items = read_item_features(changed, ids, "film", paths)
        known = list(ranker.vocabularies["film"].ids)
        expected = [known.index(item) + 1 if item in known else 0 for item in ids]
        rows = [f.name for f in items.schema.categorical].index("film")
        assert items.rows.rows[1:, rows].tolist() == expected
        assert items.num_missing == 5


@pytest.mark.parametrize(
    ("change", "column", "text", "words"),
    [
        ({"spec": None}, ITEM_COLUMN, "device\n1\n", "has no spec.json"),
        ({}, ITEM_COLUMN, None, "was joined with no table by 'device': pass the table of items"),
        ({}, ITEM_COLUMN, "id,tags\n1,a\n", "has no column 'device', the columns found are id"),
        ({}, "title", "title\nitem-7\n", "has no column of a feature of the ranker: it has title"),
        ({}, ITEM_COLUMN, "device\nx\n", "none of the 40 items of the retriever is in the table"),
        ({}, ITEM_COLUMN, "device,a\nitem-7,x\n", "a is 'x'"),
    ],
)
def test_a_bad_table_is_one_sentence(ranker, restored, tmp_path, change, column, text, words):
    path = None
    if text is not None:
        path = tmp_path / "items.csv"
        path.write_text(text)
    changed = dataclasses.replace(ranker, **change)
    with pytest.raises(ValueError, match=words):
        read_item_features(changed, restored.vocabulary.ids, column, path)


def test_what_does_not_go_together_is_one_sentence(served, restored, ranker, tmp_path):
    items = served.items
    other = dataclasses.replace(items, rows=items.rows.take(np.arange(9)))
    for arguments, words in (
        ((ranker, ranker, items), "the candidates come from a 'gru4rec' or an 'ssr', got a 'dlrm'"),
        ((restored, restored, items), "ranked by a 'dlrm', got a 'gru4rec'"),
        ((restored, ranker, other), "features of 8 items for a retriever of 40"),
    ):
        with pytest.raises(ValueError, match=words):
            export_cascade(*arguments, tmp_path)
    with pytest.raises(ValueError, match="k must be from 1 to that"):
        export_cascade(restored, ranker, items, tmp_path, k=9, num_candidates=8)
    with pytest.raises(ValueError, match="now=5.0 belongs to an SSR"):
        export_cascade(restored, ranker, items, tmp_path, now=5.0)
    assert list(tmp_path.iterdir()) == []
