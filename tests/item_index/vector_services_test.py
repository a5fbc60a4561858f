import subprocess
import sys
import time

import numpy as np
import pytest

from tfrec_zoo.item_index.faiss_index import to_faiss
from tfrec_zoo.item_index.item_index import ItemIndex
from tfrec_zoo.item_index.milvus_index import MilvusSearch, to_milvus
from tfrec_zoo.item_index.scann_index import to_scann
from tfrec_zoo.item_index.vector_services import import_extra, measure_recall

K = 10


def draw(num_vectors, seed):
    return np.random.default_rng(seed).standard_normal((num_vectors, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def index():
    return ItemIndex([f"item-{i}" for i in range(3000)], draw(3000, seed=1))


@pytest.fixture(scope="module")
def queries():
    return draw(20, seed=2)


def require_scann():
    try:
        from scann.scann_ops.py import scann_ops  # noqa: F401
    except Exception as error:
        pytest.skip(f"needs ScaNN for this TensorFlow: {type(error).__name__}")


def sort_items(index, queries, k):
    """Returns the ids of the k best by sorting all products in float64."""
    products = queries.astype(np.float64) @ index.vectors.T.astype(np.float64)
    return index.ids[np.argsort(-products, axis=1)[:, :k]]


class FixedAnswers:
    """Answers with given ids, whatever is asked."""

    def __init__(self, ids):
        self.ids = np.array(ids, dtype=object)

    def search(self, queries, k):
        return self.ids, np.zeros(self.ids.shape, np.float32)


@pytest.mark.parametrize(
    ("ids", "recall"),
    [
        ([["c", "b"], ["a", "c"]], 1.0),
        ([["b", "c"], ["c", "a"]], 1.0),
        ([["c", "a"], ["a", "c"]], 0.75),
        ([["a", ""], ["c", ""]], 0.25),
        # An item counts once, one that the index lacks not at all.
        ([["c", "c"], ["gone", "b"]], 0.25),
        # d is as good as c for the second query.
        ([["c", "b"], ["a", "d"]], 1.0),
    ],
)
def test_recall_is_the_share_of_the_best(ids, recall):
    index = ItemIndex(["a", "b", "c", "d"], [[0, 9], [1, 0], [2, 1], [0, 1]])
    queries = np.array([[1, 0], [0, 1]], np.float32)
    assert measure_recall(index, FixedAnswers(ids), queries, 2) == recall


def test_recall_of_fewer_items_than_k():
    index = ItemIndex(["a", "b"], [[1, 0], [2, 0]])
    query = np.array([[1, 0]], np.float32)
    assert measure_recall(index, FixedAnswers([["b", "a", ""]]), query, 3) == 1.0
    assert measure_recall(index, FixedAnswers([["b", "", ""]]), query, 3) == 0.5


def test_a_missing_package_is_named_with_its_extra():
    with pytest.raises(ImportError, match=r"pip install 'tfrec-zoo\[faiss\]'"):
        import_extra("tfrec_no_such_package", "faiss")


def test_nothing_optional_is_imported_before_it_is_needed():
    modules = "faiss_index, milvus_index, scann_index, item_index, exact_search"
    code = (
        f"from tfrec_zoo.item_index import {modules}; import sys; "
        "sys.exit(bool({'faiss', 'pymilvus', 'scann'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_faiss_finds_what_sorting_finds(index, queries):
    pytest.importorskip("faiss")
    ids, scores = to_faiss(index).search(queries, K)
    assert ids.tolist() == sort_items(index, queries, K).tolist()
    np.testing.assert_allclose(scores, index.search(queries, K)[1], rtol=1e-5)


@pytest.mark.parametrize(
    ("description", "narrow", "wide"),
    [("IVF30,Flat", "nprobe=1", "nprobe=30"), ("HNSW16", "efSearch=10", "efSearch=400")],
)
def test_faiss_finds_more_where_it_searches_more(index, queries, description, narrow, wide):
    pytest.importorskip("faiss")
    narrow, wide = (
        measure_recall(index, to_faiss(index, description, settings), queries, K)
        for settings in (narrow, wide)
    )
    assert 0.1 < narrow < wide and wide > 0.97


def test_faiss_pads_short_answers(queries):
    pytest.importorskip("faiss")
    ids, scores = to_faiss(ItemIndex(["a"], draw(1, seed=3))).search(queries, 2)
    assert ids.tolist() == [["a", ""]] * len(queries)
    assert np.isneginf(scores[:, 1]).all() and np.isfinite(scores[:, 0]).all()


@pytest.fixture(scope="module")
def milvus_uri(tmp_path_factory):
    pytest.importorskip("pymilvus")
    pytest.importorskip("milvus_lite")
    return str(tmp_path_factory.mktemp("milvus") / "items.db")


def test_milvus_finds_what_sorting_finds(index, queries, milvus_uri):
    search = to_milvus(index, milvus_uri, "exact", index_type="FLAT")
    ids, scores = search.search(queries, K)
    assert ids.tolist() == sort_items(index, queries, K).tolist()
    np.testing.assert_allclose(scores, index.search(queries, K)[1], rtol=1e-5)
    assert measure_recall(index, search, queries, K) == 1.0


def test_milvus_finds_more_where_it_searches_more(index, queries, milvus_uri):
    search = to_milvus(
        index,
        milvus_uri,
        "clusters",
        index_type="IVF_FLAT",
        index_parameters={"nlist": 30},
        search_parameters={"nprobe": 1},
    )
    # The index is built in the background, and until then all is searched.
    deadline = time.monotonic() + 60
    while (narrow := measure_recall(index, search, queries, K)) == 1.0:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    wide = MilvusSearch(search.client, "clusters", {"nprobe": 30})
    assert 0.1 < narrow and measure_recall(index, wide, queries, K) == 1.0


def test_milvus_takes_increments(index, queries, milvus_uri):
    search = to_milvus(index, milvus_uri, "increments", index_type="FLAT")
    best = sort_items(index, queries[:1], K)[0]
    search.upsert(["new", best[0]], np.stack([20 * queries[0], -queries[0]]))
    search.remove([best[1], "gone"])
    expected = ["new", *best[2:], sort_items(index, queries[:1], K + 1)[0][-1]]
    assert search.search(queries[:1], K)[0][0].tolist() == expected


def test_milvus_goes_over_to_a_new_catalogue_at_once(queries, milvus_uri):
    search = to_milvus(ItemIndex(["old"], queries[:1]), milvus_uri, "catalogue")
    before = search.client.list_collections()
    to_milvus(ItemIndex(["new"], queries[:1]), milvus_uri, "catalogue")
    ids, scores = search.search(queries[:1], 2)
    assert ids.tolist() == [["new", ""]] and np.isneginf(scores[0, 1])
    # The one before is gone.
    assert len(search.client.list_collections()) == len(before)


def test_a_catalogue_that_is_not_written_leaves_the_old_one(queries, milvus_uri, monkeypatch):
    search = to_milvus(ItemIndex(["old"], queries[:1]), milvus_uri, "kept")
    before = search.client.list_collections()

    def fail(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(MilvusSearch, "upsert", fail)
    with pytest.raises(KeyboardInterrupt):
        to_milvus(ItemIndex(["new"], queries[:1]), milvus_uri, "kept")
    assert search.search(queries[:1], 1)[0].tolist() == [["old"]]
    assert sorted(search.client.list_collections()) == sorted(before)


def test_a_collection_is_not_taken_for_an_alias(index, queries, milvus_uri):
    search = to_milvus(ItemIndex(["a"], queries[:1]), milvus_uri, "taken")
    collection = search.client.list_collections()[0]
    with pytest.raises(ValueError, match="is a collection of .*choose another name"):
        to_milvus(index, milvus_uri, collection)


def test_scann_finds_most(index, queries):
    require_scann()
    search = to_scann(index, num_leaves=30, num_leaves_to_search=30, num_reordering_candidates=300)
    assert measure_recall(index, search, queries, K) > 0.95
    ids, scores = search.search(queries, K)
    np.testing.assert_allclose(scores[:, 0], index.search(queries, K)[1][:, 0], rtol=1e-4)
    assert {type(item_id) for item_id in ids.ravel()} == {str}


def test_without_scann_the_way_out_is_named(index):
    try:
        require_scann()
    except pytest.skip.Exception:
        with pytest.raises(ImportError, match="scann"):
            to_scann(index)
    else:
        pytest.skip("ScaNN is here")
