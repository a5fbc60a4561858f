"""A run folder: what training leaves behind for evaluation, export and its own continuation.

    config.json        the resolved configuration
    vocabulary.tsv     sessions: raw ids and counts of the training data
    features.json      clicks: the features, with spec.json, the columns that they come from, and
    vocabularies/      a file of raw values and counts for each feature that has a vocabulary
    checkpoints/       the latest and the best states
    metrics.jsonl      a line for each validation
    metrics.json       the final metrics, flat
    evaluations.jsonl  a line for each checkpoint that was evaluated beside the training
    tensorboard/       scalars
    catalogue/         items with content: ids, encoded features, how new items are encoded
    prepared/          clicks: what a raw log was prepared into, where the run was given one

Files are written beside their place and renamed into it, so that a killed process or a full disk
leaves the old file or the new one, and never half of one.
"""

import contextlib
import fcntl
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfrec_zoo.atomic_file import append_line, cut_torn_line, replace_file
from tfrec_zoo.config import Config, list_options, parse_json_object
from tfrec_zoo.data.clicks.click_schema import FEATURES_NAME, ClickSchema
from tfrec_zoo.vocabulary import Vocabulary


@dataclass(frozen=True)
class RunFolder:
    """The names and the readers and writers of the files of a run folder at `path`.

    Reading needs no more than this; to write, open the folder with `open_run_folder`.
    """

    path: Path

    def __post_init__(self) -> None:
        """Accepts a string for the path."""
        object.__setattr__(self, "path", Path(self.path))

    @property
    def config_path(self) -> Path:
        """The file of the resolved configuration."""
        return self.path / "config.json"

    @property
    def vocabulary_path(self) -> Path:
        """The file of the vocabulary."""
        return self.path / "vocabulary.tsv"

    @property
    def features_path(self) -> Path:
        """The file of the features of a click model."""
        return self.path / FEATURES_NAME

    @property
    def spec_path(self) -> Path:
        """The file of the columns that a click model's features come from."""
        return self.path / "spec.json"

    @property
    def vocabularies_path(self) -> Path:
        """The folder of a click model's vocabularies."""
        return self.path / "vocabularies"

    @property
    def catalogue_path(self) -> Path:
        """The folder of the items of a model that reads their content."""
        return self.path / "catalogue"

    @property
    def prepared_path(self) -> Path:
        """The folder of the data that a run of a raw click log has prepared."""
        return self.path / "prepared"

    @property
    def checkpoints_path(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def metrics_log_path(self) -> Path:
        """The file with a line for each validation."""
        return self.path / "metrics.jsonl"

    @property
    def metrics_path(self) -> Path:
        """The file of the final metrics."""
        return self.path / "metrics.json"

    @property
    def evaluations_path(self) -> Path:
        """The file with a line for each checkpoint that was evaluated beside the training."""
        return self.path / "evaluations.jsonl"

    @property
    def tensorboard_path(self) -> Path:
        """The folder of TensorBoard's event files."""
        return self.path / "tensorboard"

    @property
    def lock_path(self) -> Path:
        """The file that the writing process holds locked."""
        return self.path / ".lock"

    def require(self) -> "RunFolder":
        """Returns the folder itself; ValueError if it is none."""
        if not is_run_folder(self.path):
            raise ValueError(f"{self.path} is not a run folder: it has no {self.config_path.name}")
        return self

    def load_config(self) -> dict[str, Any]:
        """Returns the content of `config.json`, for `from_dict` of the model's configuration."""
        return _read_json(self.require().config_path)

    def load_vocabulary(self) -> Vocabulary:
        """Returns the vocabulary of the run."""
        return Vocabulary.load(self.require().vocabulary_path)

    def load_schema(self) -> ClickSchema:
        """Returns the features of a click model."""
        return ClickSchema.load(self.require().features_path)

    def load_vocabularies(self) -> dict[str, Vocabulary]:
        """Returns the vocabulary of each feature of a click model that has one, by its name."""
        return {
            feature.name: Vocabulary.load(self.vocabularies_path / f"{feature.name}.tsv")
            for feature in self.load_schema().categorical
            if feature.kind == "vocabulary"
        }

    def load_metrics(self) -> dict[str, Any]:
        """Returns the final metrics."""
        return _read_json(self.metrics_path)

    def load_metrics_log(self) -> list[dict[str, Any]]:
        """Returns the lines of `metrics.jsonl`, without a last one torn by a killed process."""
        return _read_lines(self.metrics_log_path)

    def load_evaluations(self) -> list[dict[str, Any]]:
        """Returns the lines of `evaluations.jsonl`, without a last one torn in the same way."""
        return _read_lines(self.evaluations_path)

    def write_config(self, config: Config) -> None:
        """Writes `config.json`."""
        write_text(self.config_path, config.to_json())

    def update_config(self, config: Config) -> None:
        """Writes `config.json` where it is another one, as a run does that is really continued."""
        if self.load_config() != config.to_dict():
            self.write_config(config)

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Writes the final metrics; what is not finite becomes null."""
        write_json(self.metrics_path, metrics)

    def write_metrics_log(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Replaces `metrics.jsonl`, as a run does that goes back to an earlier checkpoint."""
        write_text(self.metrics_log_path, "".join(map(_format_line, lines)))

    def append_metrics(self, line: Mapping[str, Any]) -> None:
        """Adds a line to `metrics.jsonl`; where the disk is full the file stays as it was."""
        append_line(self.metrics_log_path, _format_line(line))

    def append_evaluation(self, line: Mapping[str, Any]) -> None:
        """Adds a line to `evaluations.jsonl` in the same way; needs no lock."""
        append_line(self.evaluations_path, _format_line(line))


def is_run_folder(path: str | os.PathLike[str]) -> bool:
    """Returns whether a run has been started at `path`."""
    return RunFolder(Path(path)).config_path.is_file()


@contextlib.contextmanager
def open_run_folder(path: str | os.PathLike[str], config: Config) -> Iterator[RunFolder]:
    """Creates a run folder, or opens the one there to continue its run, for this process alone.

    A new folder is no run if the body fails before it has written anything but prepared data, so
    that a wrong command leaves nothing behind that would refuse the right one.

    Args:
        path: the folder.
        config: of this run. It must agree with the one in the folder in all that affects the
            result; in the rest it replaces it once `RunFolder.update_config` is called.

    Yields:
        The folder.

    Raises:
        ValueError: another process writes to the folder, or it holds another configuration's run,
            or what is there is no run folder.
    """
    folder = RunFolder(Path(path))
    existed, is_new = folder.path.exists(), not is_run_folder(path)
    if existed and not folder.path.is_dir():
        raise ValueError(f"{folder.path} is a file, expected the path of a run folder")
    if existed and is_new:
        _refuse_foreign_files(folder)
    folder.path.mkdir(parents=True, exist_ok=True)
    with _lock(folder):
        try:
            if not is_new:
                _refuse_other_config(folder, config)
            if is_new:
                folder.write_config(config)
            cut_torn_line(folder.metrics_log_path)
            yield folder
        except BaseException:
            if is_new:
                _remove_if_bare(folder, keep_folder=existed)
            raise


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes `text` to the file `path` in UTF-8, whole or not at all."""
    with _naming_file(path), replace_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], values: Mapping[str, Any]) -> None:
    """Writes `values` as JSON to the file `path`, whole or not at all; not finite becomes null."""
    write_text(path, json.dumps(_to_plain(values), indent=2) + "\n")


def _format_line(values: Mapping[str, Any]) -> str:
    return json.dumps(_to_plain(values)) + "\n"


def _to_plain(value: Any) -> Any:
    """Returns `value` in what JSON has: NumPy's scalars and arrays unpacked, NaN as None."""
    if isinstance(value, Mapping):
        return {str(key): _to_plain(element) for key, element in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_to_plain(element) for element in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return parse_json_object(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """Returns the lines of a file, none where it is missing, without a last one that is torn."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


@contextlib.contextmanager
def _naming_file(path: str | os.PathLike[str]) -> Iterator[None]:
    """Puts the name of the file into an OSError that has none, as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


@contextlib.contextmanager
def _lock(folder: RunFolder) -> Iterator[None]:
    """Holds the folder for this process; the system lets go of it when the process dies."""
    with open(folder.lock_path, "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ValueError(
                f"another process (id {file.read().strip() or 'unknown'}) is writing to the run "
                f"folder {folder.path}: wait for its end or choose another folder"
            ) from None
        with _naming_file(folder.lock_path):
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _remove_if_bare(folder: RunFolder, keep_folder: bool) -> None:
    """Removes what `open_run_folder` has made, unless the run has written something to keep."""
    own_files = {folder.config_path, folder.lock_path}
    files = {path for path in folder.path.rglob("*") if not path.is_dir()}
    prepared = {path for path in files if path.is_relative_to(folder.prepared_path)}
    if not files - prepared <= own_files:
        return
    if not keep_folder and not prepared:
        shutil.rmtree(folder.path)
        return
    for path in own_files:
        path.unlink(missing_ok=True)


def _refuse_foreign_files(folder: RunFolder) -> None:
    ours = [folder.vocabulary_path, folder.checkpoints_path, folder.metrics_path]
    found = [path.name for path in (*ours, folder.metrics_log_path) if path.exists()]
    if found:
        raise ValueError(
            f"{folder.path} has {', '.join(found)} but no {folder.config_path.name}, so it is no "
            "run folder and the run would overwrite them: choose another folder"
        )


def _refuse_other_config(folder: RunFolder, config: Config) -> None:
    try:
        old = type(config).from_dict(folder.load_config())
    except ValueError as error:
        raise ValueError(
            f"the run folder {folder.path} holds another kind of run ({error}): "
            "choose another folder"
        ) from None
    differences = []
    for option in list_options(type(config)):
        old_value, new_value = _get(old, option.path), _get(config, option.path)
        if option.affects_result and old_value != new_value:
            differences.append(f"{'.'.join(option.path)} {old_value!r} there, {new_value!r} now")
    if differences:
        raise ValueError(
            f"the run folder {folder.path} holds a run of another configuration "
            f"({'; '.join(differences)}): use that configuration or choose another folder"
        )


def _get(config: Config, path: tuple[str, ...]) -> Any:
    value = config
    for name in path:
        value = getattr(value, name)
    return value
