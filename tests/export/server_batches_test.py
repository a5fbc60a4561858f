import numpy as np
import pytest

from tfrec_zoo.export.conformance import Export
from tfrec_zoo.export.server_batches import merge_requests, split_answer


def texts(*rows):
    return np.array(rows, dtype=object)


def test_shorter_requests_are_filled_up_with_their_first_element():
    requests = [
        {"items": texts(["a", "b", "c"]), "rows": np.array([[1, 2]], np.int32)},
        # Of a request with two rows both take the first one's.
        {"items": texts(["d"], ["e"]), "rows": np.array([[3, 4], [5, 6]], np.int32)},
    ]
    merged = merge_requests(requests, num_rows=5)
    assert merged["items"].tolist() == [
        ["a", "b", "c"],
        ["d", "d", "d"],
        ["e", "d", "d"],
        # Copies of the last request's first row, so that the batch has the size that is allowed.
        ["d", "d", "d"],
        ["d", "d", "d"],
    ]
    assert merged["rows"].tolist() == [[1, 2], [3, 4], [5, 6], [3, 4], [3, 4]]
    parts = split_answer({"scores": np.arange(5)}, requests)
    assert [part["scores"].tolist() for part in parts] == [[0], [1, 2]]


def test_vectors_and_single_values_are_joined():
    requests = [
        {"item": texts("a", "b"), "state": np.zeros((2, 3), np.float32)},
        {"item": texts("c"), "state": np.ones((1, 3), np.float32)},
    ]
    merged = merge_requests(requests)
    assert merged["item"].tolist() == ["a", "b", "c"]
    assert merged["state"].tolist() == [[0, 0, 0], [0, 0, 0], [1, 1, 1]]


def test_an_empty_request_among_others_is_refused_as_by_the_server():
    requests = [{"items": texts(["a"])}, {"items": np.empty((1, 0), object)}]
    with pytest.raises(ValueError, match="refuses an empty tensor"):
        merge_requests(requests)


def test_only_what_has_a_gap_in_front_is_answered_alike(exported, restored):
    first, *others = restored.vocabulary.ids[:6]
    export = Export(exported)

    def ask(*rows):
        requests = [{"session_items": texts(row)} for row in (rows, others)]
        merged = export.ask("recommend", **merge_requests(requests))
        alone = export.ask("recommend", **requests[0])
        return split_answer(merged, requests)[0]["scores"], alone["scores"]

    merged, alone = ask("", first)
    np.testing.assert_allclose(merged, alone, rtol=1e-5)
    merged, alone = ask(first, "")
    assert np.abs(merged - alone).max() > 1e-3
