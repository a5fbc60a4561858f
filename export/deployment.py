"""The folder `deploy` beside the versions: what TensorFlow Serving is run with.

    <export_dir>/deploy/compose.yaml                             on one machine
    <export_dir>/deploy/kustomization.yaml  kubernetes.yaml      on Kubernetes
    <export_dir>/deploy/models.config  batching.config  monitoring.config

They serve the versions that this `models.config` names, by labels; that beside the versions serves
the newest one. All are to be edited, so what is there is never written again.
"""

import math
import os
from importlib import resources
from pathlib import Path

from tfrec_zoo.run_folder import write_text

DEPLOY_NAME = "deploy"
FILE_NAMES = (
    "models.config",
    "batching.config",
    "monitoring.config",
    "compose.yaml",
    "kubernetes.yaml",
    "kustomization.yaml",
)
_MEBIBYTE = 2**20
_SERVER_MEBIBYTES = 512


def write_deployment(export_dir: str | os.PathLike, name: str, version: int) -> list[Path]:
    """Writes those files of `<export_dir>/deploy` that are not there.

    Args:
        export_dir: the folder of the versions.
        name: of the model in the server, in small letters and digits.
        version: the one that is served, labelled "stable".

    Returns:
        The paths of the files that were written.

    Raises:
        ValueError: there is no such version.
        OSError: the folder cannot be written.
    """
    folder, export = Path(export_dir) / DEPLOY_NAME, Path(export_dir) / str(version)
    if not (export / "saved_model.pb").is_file():
        raise ValueError(f"there is no version {export}: expected one that has been exported")
    folder.mkdir(exist_ok=True)
    values = {
        "@NAME@": name,
        "@VERSION@": str(version),
        "@MEMORY@": str(_estimate_memory(export)),
    }
    written = []
    for path in (folder / file_name for file_name in FILE_NAMES):
        if not path.exists():
            write_text(path, _fill_in(path.name, values))
            written.append(path)
    return written


def _fill_in(file_name: str, values: dict[str, str]) -> str:
    template = resources.files("tfrec_zoo.export") / DEPLOY_NAME / file_name
    text = template.read_text(encoding="utf-8")
    for mark, value in values.items():
        text = text.replace(mark, value)
    return text


def _estimate_memory(export: Path) -> int:
    """Returns the mebibytes of two versions of this size and of the server itself."""
    size = sum(path.stat().st_size for path in export.rglob("*") if path.is_file())
    return _SERVER_MEBIBYTES + math.ceil(2 * size / _MEBIBYTE)
