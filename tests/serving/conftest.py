"""Fixtures of the clients' tests: models, and servers that hold them."""

from pathlib import Path

import pytest

from tfrec_zoo.serving import Client


@pytest.fixture(scope="session")
def exports(tmp_path_factory) -> dict[str, list[Path]]:
    """The versions of the zoo's models by name; not to be changed."""
    from serving import served_models

    return {
        "gru4rec": served_models.export_sessions(tmp_path_factory.mktemp("sessions")),
        "ssr": [served_models.export_news(tmp_path_factory.mktemp("news"))],
        "dlrm": [served_models.export_clicks(tmp_path_factory.mktemp("clicks"))],
        "cascade": [served_models.export_stages(tmp_path_factory.mktemp("stages"))],
    }


@pytest.fixture(scope="session")
def models(exports, tmp_path_factory):
    """What is loaded, behind both servers."""
    from serving import served_models
    from serving.model_server import ModelServer

    server = ModelServer()
    for name, versions in exports.items():
        for version in versions:
            server.load(name, version)
    server.labels["gru4rec"] = {"stable": 1, "canary": 2}
    server.load("echo", served_models.export_echo(tmp_path_factory.mktemp("echo")))
    return server


@pytest.fixture(scope="session")
def urls(models):
    """The addresses of both servers by name."""
    pytest.importorskip("tensorflow_serving")
    from serving.rest_server import serve_rest
    from serving.rpc_server import serve_rpc

    with serve_rest(models) as rest, serve_rpc(models) as rpc:
        yield {"rest": rest, "rpc": rpc}


@pytest.fixture
def server(models, urls):
    """The models' server, as it is at first."""
    models.reset()
    yield models
    models.reset()


@pytest.fixture(params=["columns", "rows", "rpc"])
def client(request, server, urls):
    """A client of either kind, which does not wait long."""
    url = urls["rpc" if request.param == "rpc" else "rest"]
    with Client(url, timeout=20, row_format=request.param == "rows") as client:
        yield client
