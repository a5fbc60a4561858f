"""Fixtures of the services' tests: small exports of the zoo's models, and Python's answers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def exports(tmp_path_factory) -> dict[str, Path]:
    """The versions of small models by name; not to be changed."""
    from serving import served_models

    return {
        "gru4rec": served_models.export_sessions(tmp_path_factory.mktemp("sessions"))[0],
        "ssr": served_models.export_news(tmp_path_factory.mktemp("news")),
        "dlrm": served_models.export_clicks(tmp_path_factory.mktemp("clicks")),
        "cascade": served_models.export_stages(tmp_path_factory.mktemp("stages")),
    }


@pytest.fixture(scope="session")
def ask_python(exports) -> Callable[..., dict[str, np.ndarray]]:
    """Asks an export in this process, with rows as in `service_requests`."""
    import tensorflow as tf
    from docs.services.service_requests import make_tensor

    models = {name: tf.saved_model.load(str(path)) for name, path in exports.items()}

    def ask(model: str, signature: str, inputs: dict[str, list]) -> dict[str, np.ndarray]:
        function = models[model].signatures[signature]
        specs = function.structured_input_signature[1]
        tensors = {name: make_tensor(rows, specs[name]) for name, rows in inputs.items()}
        return {name: tensor.numpy() for name, tensor in function(**tensors).items()}

    return ask


@pytest.fixture(scope="session")
def export_numeric(exports, tmp_path_factory) -> Callable[..., dict[str, Path]]:
    """Writes the models of `exports` in another format; returns the versions by name."""
    from serving.served_models import K

    from tfrec_zoo.export.other_formats import export_format
    from tfrec_zoo.export.restore import load_export

    def export(format_name: str, **sizes: int) -> dict[str, Path]:
        folder, versions = tmp_path_factory.mktemp(format_name), {}
        for name in ("gru4rec", "ssr", "dlrm"):
            options = dict(sizes) if name != "dlrm" else {}
            options |= {"k": K} if name != "dlrm" else {}
            restored = load_export(exports[name])
            versions[name] = export_format(restored, folder / name, format_name, **options)
        return versions

    return export


@pytest.fixture(scope="module")
def service(request, repository) -> Path:
    """The program in the folder `FOLDER` of the requesting module."""
    return repository / "docs" / "services" / request.module.FOLDER / "service.py"


@pytest.fixture(scope="module")
def versions(request, export_numeric) -> dict[str, Path]:
    """The models in the format `FORMAT` of the requesting module."""
    return export_numeric(request.module.FORMAT, **getattr(request.module, "SIZES", {}))


@pytest.fixture(scope="module")
def answer(service, versions, ask_python) -> Callable[[str], tuple[dict, dict]]:
    """From the name of a request to the service's answer and Python's."""
    from docs.services.numeric_services import make_answer

    return make_answer(service, versions, ask_python)
