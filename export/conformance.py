"""What a check is made of: an export as the rules see it, rules, and their results."""

import functools
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import message
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from tfrec_zoo.data.news.item_catalogue import ItemCatalogue
from tfrec_zoo.export.quantized_weights import find_format, round_tables
from tfrec_zoo.export.restore import (
    AnyRestored,
    RestoredSSR,
    find_part,
    find_program,
    load_export,
    load_exported_part,
    open_export,
    restore_run,
)
from tfrec_zoo.export.version_folder import list_versions
from tfrec_zoo.run_folder import RunFolder

Tensor = tuple[str, list[int]]
Signature = tuple[Mapping[str, Tensor], Mapping[str, Tensor]]


class Export:
    """An exported version, opened bit by bit as the rules ask for it.

    What cannot be opened raises an error of its own in each rule that needs it.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        run_dir: str | os.PathLike | None = None,
        ranker_run_dir: str | os.PathLike | None = None,
    ) -> None:
        """Takes the folder of a version, or that of the versions: then it is the last one.

        Args:
            path: the folder.
            run_dir: the run that was exported, of a cascade that of the retriever; answers are
                compared with its checkpoint's instead of with those of the weights inside the
                export.
            ranker_run_dir: of a cascade, that of the ranker.

        Raises:
            ValueError: there is no such folder.
        """
        self.path = Path(path)
        self.run_dir = run_dir
        self.ranker_run_dir = ranker_run_dir
        if not self.path.is_dir():
            raise ValueError(f"there is no folder {path}: expected an export, as served/1")
        if not (self.path / "saved_model.pb").exists() and (versions := list_versions(path)):
            self.path /= str(versions[-1])

    @functools.cached_property
    def saved_model(self) -> saved_model_pb2.SavedModel:
        """The content of `saved_model.pb`."""
        content = (self.path / "saved_model.pb").read_bytes()
        try:
            return saved_model_pb2.SavedModel.FromString(content)
        except message.DecodeError as error:
            raise ValueError(f"saved_model.pb is damaged: {error}") from None

    @property
    def meta_graph(self) -> meta_graph_pb2.MetaGraphDef:
        """The graph that is served: the one with the tag `serve`."""
        graphs = self.saved_model.meta_graphs
        found = [graph for graph in graphs if "serve" in graph.meta_info_def.tags]
        require(len(found) == 1, f"{len(found)} of {len(graphs)} graphs have the tag serve, not 1")
        return found[0]

    @property
    def signature_defs(self) -> dict[str, meta_graph_pb2.SignatureDef]:
        """The signatures that a server offers."""
        # A SavedModel has one more of its own, which initializes it.
        names = (name for name in self.meta_graph.signature_def if not name.startswith("__"))
        return {name: self.meta_graph.signature_def[name] for name in sorted(names)}

    @property
    def config(self) -> dict[str, Any]:
        """The content of `assets/config.json`."""
        return json.loads((self.path / "assets" / "config.json").read_text(encoding="utf-8"))

    @property
    def program(self) -> str:
        """Which model it is of, by the name of its program: `gru4rec`."""
        return find_program(self.config)

    @functools.cached_property
    def loaded(self) -> Any:
        """The SavedModel in this process."""
        return tf.saved_model.load(str(self.path), tags=["serve"])

    @functools.cached_property
    def restored(self) -> AnyRestored:
        """The Python model: of the checkpoint that was exported, or of the weights inside.

        The items of an SSR are those inside, in either case: they may be newer than its run's.
        """
        if not self.run_dir:
            return load_export(self.path)
        about = self.config["export"]
        restored = _restore_exported(self.run_dir, about, open_export(self.path))
        round_tables(restored.model, find_format(about))
        return restored

    @functools.cached_property
    def parts(self) -> dict[str, AnyRestored]:
        """The Python models by their names: the two of a cascade, otherwise `restored` alone."""
        if self.program != "cascade":
            return {self.program: self.restored}
        parts = {}
        for name, run_dir in (("retriever", self.run_dir), ("ranker", self.ranker_run_dir)):
            if run_dir:
                folder = find_part(self.path, name)
                parts[name] = _restore_exported(run_dir, self.config["export"][name], folder)
            else:
                parts[name] = load_exported_part(self.path, name)
        return parts

    def ask(self, signature: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Returns what a signature answers to inputs."""
        function = self.loaded.signatures[signature]
        tensors = {name: tf.constant(value) for name, value in inputs.items()}
        return {name: value.numpy() for name, value in function(**tensors).items()}


class Skipped(Exception):
    """Raised by a rule that cannot be looked at here; the text says why."""


@dataclass(frozen=True)
class Rule:
    """What must hold for an export.

    Attributes:
        name: in the words of the check, `lower_case`.
        check: takes an export, and returns what was looked at in a few words or raises an error
            that says what is wrong. Its docstring is the rule.
        needs: the names of rules without which there is nothing to look at. Where one of them does
            not hold this one is skipped, so that what fails is where the damage is.
    """

    name: str
    check: Callable[[Export], str]
    needs: tuple[str, ...] = ()

    @classmethod
    def of(cls, check: Callable[[Export], str], *needs: str) -> "Rule":
        """Returns the rule of a function, which is called as the rule is."""
        return cls(check.__name__.removeprefix("check_"), check, needs)


@dataclass(frozen=True)
class Result:
    """What came of a rule.

    Attributes:
        rule: its name.
        outcome: `passed`, `failed` or `skipped`.
        detail: one sentence, what was seen or why it was not looked at.
        seconds: how long it took.
    """

    rule: str
    outcome: str
    detail: str
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether the rule was looked at and holds."""
        return self.outcome == "passed"

    @property
    def failed(self) -> bool:
        """Whether the rule was looked at and does not hold."""
        return self.outcome == "failed"


def require(condition: Any, sentence: str) -> None:
    """Raises a ValueError with the sentence unless the condition holds."""
    if not condition:
        raise ValueError(sentence)


def require_signatures(export: Export, expected: Mapping[str, Signature]) -> None:
    """Raises a ValueError unless an export has just these signatures: inputs and outputs by name.

    A tensor is described by its type's name and its shape, as ("DT_STRING", [-1, 3]).
    """
    found = export.signature_defs
    require(set(found) == set(expected), f"got {sorted(found)}, expected {sorted(expected)}")
    for name, sides in expected.items():
        for tensors, wanted in zip((found[name].inputs, found[name].outputs), sides, strict=True):
            described = {key: _describe(tensor) for key, tensor in tensors.items()}
            require(described == wanted, f"{name} has {described}, expected {wanted}")


def require_close(values: np.ndarray, expected: np.ndarray, what: str, **tolerance: float) -> None:
    """Raises a ValueError, with the first pair that differs, unless numbers are nearly the same."""
    is_close = np.isclose(values, expected, **tolerance)
    if not is_close.all():
        place = np.argmin(is_close)
        got, wanted = np.ravel(values)[place], np.ravel(expected)[place]
        raise ValueError(f"{what} differ: got {got:.6g}, expected {wanted:.6g}")


def run_rules(export: Export, rules: Iterable[Rule]) -> list[Result]:
    """Returns the result of each rule; whatever error a rule ends in, it is one that fails."""
    known = {rule.name: rule for rule in rules}
    results: dict[str, Result] = {}

    def find_result(rule: Rule) -> Result:
        if rule.name not in results:
            needed = [find_result(known[name]) for name in rule.needs if name in known]
            missing = [result.rule for result in needed if not result.passed]
            if missing:
                detail = f"not looked at, since {' and '.join(missing)} must hold first"
                results[rule.name] = Result(rule.name, "skipped", detail, 0.0)
            else:
                results[rule.name] = _run_rule(export, rule)
        return results[rule.name]

    return [find_result(rule) for rule in known.values()]


def _run_rule(export: Export, rule: Rule) -> Result:
    start = time.perf_counter()
    try:
        outcome, detail = "passed", rule.check(export)
    except Skipped as reason:
        outcome, detail = "skipped", str(reason)
    except Exception as error:  # a damaged export can raise anything
        lines = str(error).strip().splitlines() or [type(error).__name__]
        outcome, detail = "failed", lines[0]
    return Result(rule.name, outcome, detail, time.perf_counter() - start)


def _restore_exported(
    run_dir: str | os.PathLike, about: Mapping[str, Any], folder: RunFolder
) -> AnyRestored:
    """Returns the model of a run that was exported; that of an SSR with the items of the export.

    Args:
        run_dir: the run.
        about: what the export says of the model.
        folder: of the model's files in the export.
    """
    checkpoint = about["checkpoint"]
    require(checkpoint, "the export is not of a run, so there is no run to compare it with")
    restored = restore_run(run_dir, str(Path(run_dir) / checkpoint))
    if not isinstance(restored, RestoredSSR):
        return restored
    catalogue = ItemCatalogue.load(folder.catalogue_path)
    require(
        catalogue.schema == restored.catalogue.schema,
        "its items have other features than those of the run",
    )
    return replace(restored, catalogue=catalogue)


def _describe(tensor: meta_graph_pb2.TensorInfo) -> Tensor:
    sizes = [dim.size for dim in tensor.tensor_shape.dim]
    return types_pb2.DataType.Name(tensor.dtype), sizes
