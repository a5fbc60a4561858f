"""SSR's signatures against the Python model, one session at a time, sorted by NumPy."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from news_models import (
    COLUMNS,
    SPEC,
    NewsOracle,
    draw_items,
    make_catalogue,
    make_restored,
    write_items,
)

from tfrec_zoo.data.news.item_catalogue import ItemCatalogue
from tfrec_zoo.export.item_vectors import find_now
from tfrec_zoo.export.ssr_module import SSRModule
from tfrec_zoo.vocabulary import Vocabulary

K = 8
UNKNOWN = "never seen"
MODELS = {
    "gru": {},
    "mean": {"session_encoder": "mean", "exclude_history": False},
    "ages": {"age_buckets": 5, "age_unit": 500.0, "repeats": "adjacent"},
    "shows": {"exposure_weight": 0.4, "exposure_prior": 0.2},
    "all": {
        **{"exposure_weight": 0.1, "click_rate_weight": 0.2},
        **{"age_buckets": 5, "age_unit": 500.0},
    },
    "short": {"repeats": "all", "max_history": 3, "session_pooling": "last", "normalize": False},
}
SESSIONS = [
    ["N1"],
    ["N3", "N4", "N4", "N3", "N5", "N35", "N35"],
    ["N39", "N2"],
    ["N7", "N8", "N9", "N7", "N10", "N10", "N11", "N7"],
]


class Served:
    """The signatures of a model, and the module that they need and keep no reference to."""

    def __init__(self, restored, folder, now=None, k=K):
        self.restored, self.now = restored, find_now(restored, now)
        self.oracle = NewsOracle(restored, self.now)
        self.module = SSRModule(
            restored.model, restored.catalogue, restored.experiment, folder, k, self.now
        )
        self.signatures = self.module.trace_signatures()

    def ask(self, signature, **inputs):
        tensors = {name: tf.constant(value) for name, value in inputs.items()}
        answer = self.signatures[signature](**tensors)
        return {name: value.numpy() for name, value in answer.items()}

    def require(self, sessions, answer, excluded=None, included=None):
        """Checks items and scores of each session against the oracle's."""
        count = len(sessions)
        excluded, included = excluded or [()] * count, included or [None] * count
        for line, session in enumerate(sessions):
            items, scores = self.oracle.answer(session, K, excluded[line], included[line])
            assert [item.decode() for item in answer["items"][line]] == items
            np.testing.assert_allclose(answer["scores"][line], scores, rtol=1e-4, atol=1e-5)


def pad(sessions, length=0):
    length = max(length, *map(len, sessions))
    return np.array([session + [""] * (length - len(session)) for session in sessions], object)


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    return make_catalogue(tmp_path_factory.mktemp("items"))


@pytest.fixture(scope="module", params=MODELS)
def served(request, catalogue, tmp_path_factory):
    options = MODELS[request.param]
    if "exposure_weight" in options:
        shows = np.random.default_rng(2).exponential(size=catalogue.num_rows)
        lifts = np.linspace(0.3, 3, catalogue.num_rows)
        catalogue = dataclasses.replace(catalogue, shows=shows, click_lifts=lifts)
    restored = make_restored(catalogue, **options)
    return Served(restored, tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="module")
def plain(catalogue, tmp_path_factory):
    return Served(make_restored(catalogue), tmp_path_factory.mktemp("plain"))


def test_recommend(served):
    answer = served.ask("recommend", session_items=pad(SESSIONS))
    served.require(SESSIONS, answer)
    assert (answer["items"] != b"").all() and answer["items"].shape == (4, K)


def test_unknown_items_and_padding_anywhere_change_nothing(served):
    plain = served.ask("recommend", session_items=pad(SESSIONS))
    holes = [["", UNKNOWN, *s[:2], "", UNKNOWN, *s[2:], UNKNOWN, ""] for s in SESSIONS]
    answer = served.ask("recommend", session_items=pad(holes, length=30))
    assert answer["items"].tolist() == plain["items"].tolist()
    np.testing.assert_allclose(answer["scores"], plain["scores"], rtol=1e-5)


@pytest.mark.parametrize("session", [[], [""], [UNKNOWN, "", UNKNOWN]])
def test_a_session_without_known_items_gets_the_popular_ones(served, session):
    alone = np.zeros((1, 0), "U1").astype(object) if not session else np.array([session], object)
    tensor = tf.constant(alone, tf.string)
    answer = served.signatures["recommend"](session_items=tensor)
    served.require([session], {name: value.numpy() for name, value in answer.items()})
    sessions = [SESSIONS[1], session]
    served.require(sessions, served.ask("recommend", session_items=pad(sessions)))
    best = np.sort(served.oracle.counts)[::-1][:K] / served.oracle.counts.sum()
    np.testing.assert_allclose(answer["scores"][0], best, rtol=1e-6)


def test_items_of_the_session_are_answered_where_they_may_be(catalogue, plain, tmp_path):
    open_model = Served(make_restored(catalogue, exclude_history=False), tmp_path)
    answer = open_model.ask("recommend", session_items=pad(SESSIONS))
    open_model.require(SESSIONS, answer)
    own = [set(map(str.encode, session)) for session in SESSIONS]
    assert any(set(line) & items for line, items in zip(answer["items"], own, strict=True))
    answer = plain.ask("recommend", session_items=pad(SESSIONS))
    assert not any(set(line) & items for line, items in zip(answer["items"], own, strict=True))


def test_all_items_of_a_session_are_left_out_also_those_not_read(catalogue, tmp_path):
    served = Served(make_restored(catalogue, max_history=1), tmp_path)
    session = [f"N{number}" for number in range(35)]
    answer = served.ask("recommend", session_items=pad([session]))
    served.require([session], answer)
    assert answer["items"][0].tolist()[5:] == [b""] * 3


def test_excluded_items_never_come_back(served):
    sessions = [*SESSIONS[:2], []]
    best = [served.oracle.answer(session, K)[0] for session in sessions]
    excluded = [best[0][:3] + ["", UNKNOWN], best[1][4:] + [""], best[2][:5]]
    answer = served.ask(
        "recommend_excluding", session_items=pad(sessions), exclude_items=np.array(excluded, object)
    )
    served.require(sessions, answer, excluded=excluded)


def test_included_items_alone_are_answered(served):
    sessions = [*SESSIONS[:2], []]
    some = ["N39", "N1", "N39", "N12", "", UNKNOWN, "N3"]
    included = [some, [f"N{n}" for n in range(20, 27)], some[::-1]]
    answer = served.ask(
        "recommend_including", session_items=pad(sessions), include_items=np.array(included, object)
    )
    served.require(sessions, answer, included=included)
    nothing = np.full((3, 2), "", object)
    answer = served.ask("recommend_including", session_items=pad(sessions), include_items=nothing)
    assert (answer["items"] == b"").all() and np.isneginf(answer["scores"]).all()


def test_rows_answer_as_items_do(served):
    sessions = [*SESSIONS, []]
    rows = served.restored.catalogue.rows(pad(sessions))
    rows[0, 3:5], rows[4, :2] = (-1, 2**31 - 1), (41, -7)
    by_items = served.ask("recommend", session_items=pad(sessions))
    by_rows = served.ask("recommend_rows", session_rows=rows)
    ids = np.array(served.oracle.ids, object)[by_rows["rows"]]
    assert ids.tolist() == [[item.decode() for item in line] for line in by_items["items"]]
    np.testing.assert_allclose(by_rows["scores"], by_items["scores"], rtol=1e-5)


def test_vectors_of_sessions(served):
    found = served.ask("embed_session", session_items=pad([*SESSIONS, []]))["session_vector"]
    expected = [served.oracle.embed(session) for session in [*SESSIONS, []]]
    np.testing.assert_allclose(found[:, :4], expected, rtol=1e-4, atol=1e-5)
    has_offsets = served.restored.model.has_offsets
    assert found.shape[1] == 4 + has_offsets and (found[:, 4:] == 1).all()


def to_inputs(catalogue, items):
    """Returns the inputs of `embed_items` for items as a table has them."""

    def number(text):
        return float(text) if text else np.nan

    def vector(text, size):
        return [float(part) for part in text.split()] if text else [np.nan] * size

    names = ["Category", "NewsId", "Title", "tags", "author"]
    inputs = {
        "dense": [[number(item[name]) for name in ("length", "rating", "price")] for item in items],
        "sparse": [[item[name] for name in names] for item in items],
        "vectors": [vector(item["vec"], 2) + vector(item["image"], 3) for item in items],
    }
    types = {"dense": np.float32, "sparse": object, "vectors": np.float32}
    return {name: np.array(values, types[name]) for name, values in inputs.items()}


def test_items_are_embedded_by_their_content(served, tmp_path):
    catalogue, model = served.restored.catalogue, served.restored.model
    items = [*draw_items(), *draw_items(60, seed=9, first=100)]
    bare = dict.fromkeys(COLUMNS, "") | {"NewsId": "bare", "Published": "5"}
    items += [bare, bare | {"NewsId": "words", "Title": "...  Ünseen, RED-fox!  "}]
    encoded = catalogue.encode(write_items(tmp_path / "new.tsv", items))
    content = encoded.take(np.arange(1, encoded.num_rows))
    inputs = model.read_items(content.dense, content.rows, content.row_weights)
    expected = model.item_vectors(inputs).numpy()
    given = to_inputs(catalogue, items)
    offsets = np.zeros(len(items))
    if model.age_scores is not None:
        given["ages"] = ages = np.full(len(items), np.nan, np.float32)
        ages[:7] = [1, 800, 1e9, 0, -5, np.inf, -np.inf]
        known = model.score_ages(tf.constant([1, 800, 1e9] + [-1.0] * (len(items) - 3)))
        offsets += known.numpy()
        assert len({*known.numpy()}) == 4
    if model.config.exposure_weight:
        given["shows"] = shows = np.full(len(items), np.nan, np.float32)
        shows[:4] = [0, 2, 1e6, -3]
        known = np.log(1 + np.array([0, 2, 1e6]) / model.config.exposure_prior)
        offsets[:3] += model.config.exposure_weight * known
        given["click_lifts"] = lifts = np.full(len(items), np.nan, np.float32)
        lifts[:4] = [0.5, 0, 7, -3]
        known = np.log([0.5, 1, 7])
        offsets[:3] += model.config.click_rate_weight * known
    if model.has_offsets:
        expected = np.column_stack([expected, offsets])
    found = served.ask("embed_items", **given)["item_vector"]
    assert len(np.unique(expected.round(5), axis=0)) > 95
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_products_are_the_scores(served):
    items = draw_items()
    given = to_inputs(served.restored.catalogue, items)
    if served.restored.model.age_scores is not None:
        given["ages"] = np.array([served.now - float(i["Published"]) for i in items], np.float32)
    if served.restored.model.config.exposure_weight:
        given["shows"] = served.restored.catalogue.shows[1:].astype(np.float32)
        given["click_lifts"] = served.restored.catalogue.click_lifts[1:].astype(np.float32)
    vectors = served.ask("embed_items", **given)["item_vector"]
    sessions = served.ask("embed_session", session_items=pad(SESSIONS))["session_vector"]
    expected = [served.oracle.scores(session)[1:] for session in SESSIONS]
    np.testing.assert_allclose(sessions @ vectors.T, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["vectors", "dense", "categorical"])
def test_items_of_one_kind_of_feature(name, tmp_path):
    spec = {"id": "NewsId", name: SPEC[name]}
    catalogue = make_catalogue(tmp_path, spec)
    (tmp_path / "sources").mkdir()
    served = Served(make_restored(catalogue), tmp_path / "sources")
    given = to_inputs(catalogue, draw_items())
    columns = {"vectors": ["vectors"], "dense": ["dense"], "categorical": ["dense", "sparse"]}
    given = {key: given[key] for key in columns[name]}
    if name != "vectors":
        given["dense"] = given["dense"][:, {"dense": [0, 1], "categorical": [2]}[name]]
    found = served.ask("embed_items", **given)["item_vector"]
    np.testing.assert_allclose(found, served.oracle.vectors[1:], rtol=1e-4, atol=1e-5)
    served.require(SESSIONS, served.ask("recommend", session_items=pad(SESSIONS)))


def test_items_known_by_their_ids_alone(tmp_path):
    catalogue = ItemCatalogue.of_ids(Vocabulary([f"N{n}" for n in range(40)], range(40)))
    served = Served(make_restored(catalogue), tmp_path)
    served.require(SESSIONS, served.ask("recommend", session_items=pad(SESSIONS)))
    found = served.ask("embed_items", sparse=np.array([["N3"], [UNKNOWN]], object))["item_vector"]
    np.testing.assert_allclose(found, served.oracle.vectors[[4, 0]], rtol=1e-5)


def test_ages_are_those_at_the_time_asked_for(catalogue, tmp_path):
    restored = make_restored(catalogue, age_buckets=5, age_unit=500.0)
    answers = []
    for now in (None, 20_000.0, 10.0):
        (tmp_path / str(now)).mkdir()
        served = Served(restored, tmp_path / str(now), now)
        answers.append(served.ask("recommend", session_items=pad(SESSIONS)))
        served.require(SESSIONS, answers[-1])
    assert served.oracle.offsets.std() == 0
    assert answers[0]["items"].tolist() != answers[1]["items"].tolist()


def test_an_empty_batch_has_an_empty_answer(plain):
    answer = plain.signatures["recommend"](session_items=tf.zeros([0, 3], tf.string))
    assert answer["items"].shape == [0, K]


def test_refusals(catalogue, tmp_path):
    restored = make_restored(catalogue)
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        Served(restored, tmp_path, k=0)
    other = ItemCatalogue.of_ids(Vocabulary(["a"], [1]))
    with pytest.raises(ValueError, match="not of one run"):
        SSRModule(restored.model, other, restored.experiment, tmp_path, K)
    with pytest.raises(ValueError, match="neither age_buckets"):
        find_now(restored, 5.0)
