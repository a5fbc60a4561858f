"""Stands for tensorflow_model_server: takes its flags, and serves by the servers of these tests.

What an edit of models.config does, and in which order, is as in ServerCore::ReloadConfig of
model_servers/server_core.cc of https://github.com/tensorflow/serving.
"""

import argparse
import sys
import time
from pathlib import Path

from google.protobuf import text_format
from serving.model_server import ModelServer
from serving.rest_server import serve_rest
from serving.rpc_server import serve_rpc
from tensorflow_serving.config import model_server_config_pb2


def parse_flags() -> argparse.Namespace:
    """Returns the flags; any but those of a deployment is an error."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in ("port", "rest_api_port", "model_config_file_poll_wait_seconds"):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("model_config_file", "batching_parameters_file", "monitoring_config_file"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("enable_batching", "allow_version_labels_for_unavailable_models"):
        parser.add_argument(f"--{name}", choices=["true"], required=True)
    # Of the fake alone: where the paths in models.config are.
    parser.add_argument("--mount", type=lambda text: text.split(":"), action="append", default=[])
    return parser.parse_args()


class ReloadedModels:
    """The models of a server, as its models.config has them."""

    def __init__(self, server: ModelServer, mounts: list[tuple[str, str]]) -> None:
        self.server = server
        self._mounts = mounts
        self._versions: dict[str, set[int]] = {}

    def reload(self, path: Path) -> None:
        """Does what the file says, or nothing, and then says why."""
        text = path.read_text(encoding="utf-8")
        config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
        models = config.model_config_list.config
        for model in models:
            # A new label may be given to a version that is not loaded, but one in use not moved.
            known = self.server.labels[model.name]
            for label, version in model.version_labels.items():
                is_loaded = version in self._versions.get(model.name, ())
                if known.get(label, version) != version and not is_loaded:
                    what = f"label to version {version} of model {model.name}"
                    print(f"Request to assign {what}, which is not currently available", flush=True)
                    return
        for model in models:
            self.server.labels[model.name] = dict(model.version_labels)
            self._load(model)

    def _load(self, model) -> None:
        wanted = set(model.model_version_policy.specific.versions)
        loaded = self._versions.setdefault(model.name, set())
        for version in wanted - loaded:
            self.server.load(model.name, Path(self._find(model.base_path)) / str(version))
        for version in loaded - wanted:
            self.server.unload(model.name, version)
        self._versions[model.name] = wanted

    def _find(self, base_path: str) -> str:
        for outside, inside, *_ in self._mounts:
            if base_path == inside:
                return outside
        return base_path


def main() -> None:
    flags = parse_flags()
    for path in (flags.batching_parameters_file, flags.monitoring_config_file):
        if not path.is_file():
            sys.exit(f"there is no {path}")
    models = ReloadedModels(ModelServer(), flags.mount)
    models.reload(flags.model_config_file)
    with (
        serve_rest(models.server, flags.rest_api_port),
        serve_rpc(models.server, flags.port),
    ):
        while True:
            time.sleep(flags.model_config_file_poll_wait_seconds)
            models.reload(flags.model_config_file)


if __name__ == "__main__":
    main()
