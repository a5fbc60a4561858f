"""Runs tensorflow_model_server, or a container of it, by the files of `tfrec-export --deploy`."""

import contextlib
import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from tfrec_zoo.run_folder import write_text
from tfrec_zoo.serving import ServingError

# Where the files of a deployment take the folders of the versions to be.
MOUNT = "/models"
DOCKER = "docker:"
# Seconds for what is asked to come true: loading on a machine that is busy with other tests.
PATIENCE = 180.0


@dataclass(frozen=True)
class RunningServer:
    """A server that has been started.

    Attributes:
        urls: of REST ("rest") and gRPC ("rpc").
        config_path: its models.config.
        process: the server, or the client of Docker that waits for it.
        log: what it has written.
    """

    urls: dict[str, str]
    config_path: Path
    process: subprocess.Popen
    log: Path

    def edit(self, name: str, versions: list[int], labels: dict[str, int]) -> None:
        """Says in models.config which versions of a model are served."""
        config = read_config(self.config_path)
        (model,) = [part for part in config.model_config_list.config if part.name == name]
        model.model_version_policy.specific.versions[:] = versions
        model.version_labels.clear()
        model.version_labels.update(labels)
        write_text(self.config_path, text_format.MessageToString(config))

    def wait_for(self, ask: Callable[[], Any], is_right: Callable[[Any], bool] = bool) -> Any:
        """Asks until there is the right answer, and returns it."""
        end = time.monotonic() + PATIENCE
        while True:
            assert self.process.poll() is None, f"the server has ended: {self.read_log()}"
            try:
                answer = ask()
                if is_right(answer):
                    return answer
            except ServingError as error:
                answer = error
            assert time.monotonic() < end, f"waited in vain, {answer}: {self.read_log()}"
            time.sleep(0.1)

    def read_log(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")[-3000:]


@contextlib.contextmanager
def run_model_server(program: str, root: Path, names: list[str]) -> Iterator[RunningServer]:
    """Starts a server, and ends it.

    Args:
        program: a path of tensorflow_model_server, or docker:<image>.
        root: the folder with the folder of versions of each model, where `--deploy` has been.
        names: of the models. The first one's deployment is used, and its models.config takes in
            those of the others.
    """
    ports = {"rpc": find_port(), "rest": find_port()}
    mount = MOUNT if program.startswith(DOCKER) else str(root)
    folder = root / names[0] / "deploy"
    join_configs(root, names, mount)
    compose = yaml.safe_load((folder / "compose.yaml").read_text(encoding="utf-8"))
    arguments = [
        # Every second in place of every 30.
        "--model_config_file_poll_wait_seconds=1" if "poll_wait" in text else text
        for text in compose["services"]["serving"]["command"]
    ]
    container = f"tfrec-test-{uuid.uuid4().hex}"
    if mount == MOUNT:
        image = program.removeprefix(DOCKER)
        command = [*list_docker_options(container, root, names, ports), image, *arguments]
    else:
        command = [program, f"--port={ports['rpc']}", f"--rest_api_port={ports['rest']}"]
        command += [text.replace(f"={MOUNT}/", f"={root}/") for text in arguments]
    log = root / "server.log"
    with open(log, "wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
    urls = {"rpc": f"grpc://127.0.0.1:{ports['rpc']}", "rest": f"http://127.0.0.1:{ports['rest']}"}
    try:
        yield RunningServer(urls, folder / "models.config", process, log)
    finally:
        if mount == MOUNT:
            # The client of Docker may end without its container.
            subprocess.run(["docker", "rm", "--force", container], capture_output=True, timeout=60)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def list_docker_options(
    container: str, root: Path, names: list[str], ports: dict[str, int]
) -> list[str]:
    """Returns the command up to the image: what compose.yaml says, of several models."""
    return [
        *("docker", "run", "--rm", f"--name={container}"),
        f"--publish=127.0.0.1:{ports['rpc']}:8500",
        f"--publish=127.0.0.1:{ports['rest']}:8501",
        *(f"--volume={root / name}:{MOUNT}/{name}:ro" for name in names),
    ]


def join_configs(root: Path, names: list[str], mount: str) -> None:
    """Puts all models into the models.config of the first one's deployment."""
    paths = [root / name / "deploy" / "models.config" for name in names]
    config = model_server_config_pb2.ModelServerConfig()
    for path in paths:
        config.MergeFrom(read_config(path))
    for model in config.model_config_list.config:
        model.base_path = model.base_path.replace(f"{MOUNT}/", f"{mount}/")
    write_text(paths[0], text_format.MessageToString(config))


def read_config(path: Path) -> model_server_config_pb2.ModelServerConfig:
    text = path.read_text(encoding="utf-8")
    return text_format.Parse(text, model_server_config_pb2.ModelServerConfig())


def find_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
