"""Stands for docker: runs the fake server in place of a container, and ends it.

docker run --rm --name=N --publish=127.0.0.1:HOST:CONTAINER --volume=OUT:IN:ro IMAGE ARGUMENTS
docker rm --force N
"""

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path

# The flags of the server for the ports in the container: those of the image's entrypoint.
PORT_FLAGS = {"8500": "--port", "8501": "--rest_api_port"}


def run(options: argparse.Namespace, arguments: list[str]) -> None:
    """Becomes the server."""
    find_pid_path(options.name).write_text(str(os.getpid()))
    volumes = [volume.split(":") for volume in options.volume]
    for outside, inside, mode in volumes:
        assert mode == "ro"
        arguments = [text.replace(f"={inside}/", f"={outside}/") for text in arguments]
    published = [text.split(":")[1:] for text in options.publish]
    ports = [f"{PORT_FLAGS[inside]}={outside}" for outside, inside in published]
    mounts = [f"--mount={volume}" for volume in options.volume]
    server = Path(__file__).with_name("fake_model_server.py")
    os.execv(sys.executable, [sys.executable, str(server), *ports, *mounts, *arguments])


def find_pid_path(name: str) -> Path:
    return Path(tempfile.gettempdir()) / f"{name}.pid"


def main() -> None:
    command, *arguments = sys.argv[1:]
    parser = argparse.ArgumentParser()
    if command == "rm":
        parser.add_argument("--force", required=True)
        path = find_pid_path(parser.parse_args(arguments).force)
        os.kill(int(path.read_text()), signal.SIGKILL)
        path.unlink()
        return
    assert command == "run"
    parser.add_argument("--rm", action="store_true", required=True)
    parser.add_argument("--name", required=True)
    for name in ("publish", "volume"):
        parser.add_argument(f"--{name}", action="append", required=True)
    parser.add_argument("image")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    run(options, options.arguments)


if __name__ == "__main__":
    main()
