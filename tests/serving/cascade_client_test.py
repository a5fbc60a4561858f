"""The client asks a cascade: sessions, and what a ranker is told of each request."""

import contextlib

import cascade_models
import numpy as np
import pytest
from serving.model_server import ModelServer
from serving.served_models import K, make_gru4rec

from tfrec_zoo.export.cascade import export_cascade
from tfrec_zoo.export.cascade_items import read_item_features
from tfrec_zoo.serving import Client

SESSIONS = [["item-3", "é/ü 1"], ["item-7"], []]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server with a cascade, the addresses of it, and two requests with their features."""
    pytest.importorskip("tensorflow_serving")
    from serving.rest_server import serve_rest
    from serving.rpc_server import serve_rpc

    folder, retriever = tmp_path_factory.mktemp("cascade"), make_gru4rec()
    ranker, ids = cascade_models.make_ranker(), retriever.vocabulary.ids
    values = cascade_models.draw_items(list(ids), ranker)
    table = cascade_models.write_items(folder / "items.csv", values)
    items = read_item_features(ranker, ids, cascade_models.ITEM_COLUMN, table)
    server = ModelServer()
    server.load("cascade", export_cascade(retriever, ranker, items, folder, K, 10))
    oracle = cascade_models.CascadeOracle(None, ranker, values, 10)
    requests = cascade_models.to_inputs(oracle.draw_requests(3), items)
    with contextlib.ExitStack() as stack:
        urls = [stack.enter_context(serve(server)) for serve in (serve_rest, serve_rpc)]
        yield server, urls, requests


def test_recommends_with_the_features_of_requests(served):
    server, urls, requests = served
    signatures = server.find("cascade", None, None)[1].signatures
    padded = np.array([["item-3", "é/ü 1"], ["item-7", ""], ["", ""]], dtype=object)
    expected = signatures["recommend"](
        session_items=padded, **{name: values for name, values in requests.items()}
    )
    items = [[item.decode() for item in line] for line in expected["items"].numpy()]
    # A missing number is sent as None.
    numbers = [[None if np.isnan(x) else float(x) for x in line] for line in requests["dense"]]
    features = {"dense": numbers, "sparse": requests["sparse"].tolist()}
    for url in urls:
        with Client(url, timeout=20) as client:
            found = client.recommend("cascade", SESSIONS, **features)
            assert found.items.tolist() == items
            np.testing.assert_allclose(found.scores, expected["scores"], rtol=1e-6)
            best = [[item] for item in found.items[:, 0]]
            found = client.recommend("cascade", SESSIONS, exclude=best, **features)
            assert best[0][0] not in found.items[0]
            assert (found.items[:, 0] != np.array(best)[:, 0]).all()
