"""GRU4Rec as a Python object in the manner of scikit-learn.

    recommender = SessionRecommender(hidden_dims=(100,), epochs=5, logq_weight=1.0)
    recommender.fit(clicks)                              # DataFrame: SessionId, ItemId, Time
    recommender.recommend([["a", "b"], ["c"]], k=10)     # whole sessions
    recommender.step(["visitor-1"], ["a"], k=10)         # one click, the session is remembered
    recommender.save("model"); SessionRecommender.load("model")

Options are those of the trainer's flags, peers' names included.
"""

import contextlib
import difflib
import os
import tempfile
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

from tfrec_zoo.config import list_options
from tfrec_zoo.data.sessions.session_log import (
    SessionColumns,
    SessionLog,
    Sessions,
    read_session_log,
    session_log_from_frame,
)
from tfrec_zoo.experiments import GRU4RecExperiment
from tfrec_zoo.export.gru4rec_module import answer
from tfrec_zoo.export.restore import (
    RestoredGRU4Rec,
    load_exported_gru4rec,
    restore_gru4rec,
)
from tfrec_zoo.export.saved_model import export_gru4rec
from tfrec_zoo.export.session_player import make_player
from tfrec_zoo.models.gru4rec import GRU4Rec
from tfrec_zoo.run_folder import is_run_folder, open_run_folder
from tfrec_zoo.serving.answers import Recommendations
from tfrec_zoo.trainers.gru4rec_task import GRU4RecTask, train_in_folder
from tfrec_zoo.trainers.session_evaluation import evaluate_sessions
from tfrec_zoo.vocabulary import Vocabulary, as_text_ids

Log = pd.DataFrame | str | os.PathLike | Sequence[str | os.PathLike]


class NotFittedError(ValueError, AttributeError):
    """Something was asked of a recommender that has not been trained or loaded."""


class SessionRecommender:
    """Recommends the next item of anonymous sessions with GRU4Rec.

    After `fit` or `load`: `model_`, `vocabulary_`, `experiment_`, and after `fit` also `metrics_`,
    the numbers of the run.
    """

    def __init__(self, *, model_class: type[GRU4Rec] = GRU4Rec, **options: Any) -> None:
        """Takes the options of `tfrec_zoo.experiments.GRU4RecExperiment` by their names.

        Args:
            model_class: `GRU4Rec` or a subclass with another network.
            **options: for example `hidden_dims`, `loss`, `num_lanes`, `learning_rate`, `epochs`.

        Raises:
            ValueError: an option is unknown or does not go with another.
        """
        self._model_class = model_class
        self._options = options
        self._make_experiment()

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Returns the constructor's arguments (scikit-learn's protocol)."""
        del deep
        return {"model_class": self._model_class, **self._options}

    def set_params(self, **params: Any) -> "SessionRecommender":
        """Changes constructor's arguments for the next `fit`; returns self."""
        changed = SessionRecommender(**{**self.get_params(), **params})
        self._model_class, self._options = changed._model_class, changed._options
        return self

    def __getattr__(self, name: str) -> Any:
        """Says what to do where an attribute that training makes is missing."""
        if name in ("model_", "vocabulary_", "experiment_", "_play", "_states"):
            raise NotFittedError("this recommender has no model yet: call fit, or use load")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def fit(
        self,
        log: Log,
        validation: Log | None = None,
        run_dir: str | os.PathLike | None = None,
    ) -> "SessionRecommender":
        """Trains on a log of clicks.

        Args:
            log: a DataFrame, or the path or paths of session logs.
            validation: a log whose `primary_metric` picks the best checkpoint.
            run_dir: run folder to keep, and to continue from if it is there; None: a temporary one.

        Returns:
            self, with the best weights.

        Raises:
            ValueError: the log or the combination of options is refused.
        """
        experiment = self._make_experiment()
        clicks = self._read(log)
        vocabulary = Vocabulary.from_codes(clicks.item_ids, clicks.item_codes)
        task = GRU4RecTask(
            experiment,
            Sessions.from_log(clicks, vocabulary),
            vocabulary,
            model=self._model_class(
                experiment.model, vocabulary.num_rows, experiment.training.seed
            ),
            validation=None
            if validation is None
            else Sessions.from_log(self._read(validation), vocabulary),
        )
        with contextlib.ExitStack() as stack:
            if run_dir is None:
                parent = stack.enter_context(tempfile.TemporaryDirectory(prefix="tfrec_"))
                run_dir = Path(parent) / "run"
            folder = stack.enter_context(open_run_folder(run_dir, experiment))
            self.metrics_ = train_in_folder(task, folder, vocabulary, experiment)
        self._adopt(RestoredGRU4Rec(task.model, vocabulary, experiment))
        return self

    def recommend(
        self,
        sessions: Sequence[Sequence[Any]],
        k: int = 20,
        exclude: Sequence[Sequence[Any]] | None = None,
    ) -> Recommendations:
        """Recommends the next item of whole sessions, as the exported model does.

        Args:
            sessions: item ids of each session so far, oldest first. Unknown ids are passed over; a
                session without a known one gets the most popular items.
            k: how many items.
            exclude: item ids that must not be recommended, for each session.
        """
        states = self._play(self._pad(sessions))
        excluded = None if exclude is None else self._pad(exclude)
        return self._answer(states, k, excluded)

    def step(
        self, session_ids: Sequence[Hashable], item_ids: Sequence[Any], k: int = 20
    ) -> Recommendations:
        """Adds a click to each session, remembered from earlier calls, and recommends the next.

        Args:
            session_ids: B different sessions; a new one begins.
            item_ids: the clicked item of each; an unknown one changes nothing.
            k: how many items.

        Raises:
            ValueError: a session is named twice in one call.
        """
        if len(set(session_ids)) != len(item_ids) or len(session_ids) != len(item_ids):
            raise ValueError(
                "step needs one item for each of several different sessions, got "
                f"{len(session_ids)} sessions ({len(set(session_ids))} different) and "
                f"{len(item_ids)} items"
            )
        states = self.model_.initial_state(len(session_ids))
        if any(session in self._states for session in session_ids):
            start = [np.zeros(state.shape[1], np.float32) for state in states]
            before = [self._states.get(session, start) for session in session_ids]
            states = tuple(tf.constant(np.stack(layer)) for layer in zip(*before, strict=True))
        rows = tf.constant(self.vocabulary_.rows(as_text_ids(item_ids)))
        _, states = self.model_(rows, states)
        after = zip(*(state.numpy() for state in states), strict=True)
        self._states.update(zip(session_ids, after, strict=True))
        return self._answer(states, k)

    def forget(self, session_ids: Iterable[Hashable] | None = None) -> None:
        """Ends sessions of `step`, all of them by default."""
        for session in list(self._states) if session_ids is None else session_ids:
            self._states.pop(session, None)

    def score_items(self, sessions: Sequence[Sequence[Any]], item_ids: Sequence[Any]) -> np.ndarray:
        """Returns float32 [B, N]: the scores of N items for each session, NaN for unknown ids."""
        rows = self.vocabulary_.rows(as_text_ids(item_ids))
        states = self._play(self._pad(sessions))
        scores = self.model_.score(states[-1], tf.gather(self.model_.item_table, rows)).numpy()
        return np.where(rows > 0, scores, np.nan)

    def evaluate(
        self, log: Log, ks: Sequence[int] = (1, 5, 10, 20), tie_rule: str = "pessimistic"
    ) -> dict[str, Any]:
        """Returns the metrics of a test log, every position of every session."""
        vocabulary = self.vocabulary_
        sessions = Sessions.from_log(self._read(log), vocabulary)
        return evaluate_sessions(self.model_, sessions, ks=tuple(ks), tie_rule=tie_rule)

    def save(self, path: str | os.PathLike) -> None:
        """Writes a run folder with the weights (no optimizer slots); ValueError if there is one."""
        path = Path(path)
        if is_run_folder(path):
            raise ValueError(f"{path} is a run folder already: choose another path")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".saving_", dir=path.parent) as parent:
            with open_run_folder(Path(parent) / "run", self.experiment_) as folder:
                self.vocabulary_.save(folder.vocabulary_path)
                checkpoint = tf.train.Checkpoint(model=self.model_)
                target = str(folder.checkpoints_path / "last")
                tf.train.CheckpointManager(checkpoint, target, max_to_keep=1).save()
            folder.path.rename(path)

    @classmethod
    def load(
        cls, path: str | os.PathLike, model_class: type[GRU4Rec] = GRU4Rec
    ) -> "SessionRecommender":
        """Returns what `save`, the trainer (a run folder) or the exporter (a version) wrote."""
        is_export = (Path(path) / "saved_model.pb").is_file()
        if is_export:
            restored = load_exported_gru4rec(path, model_class)
        else:
            restored = restore_gru4rec(path, "best", model_class)
        options = {
            option.name: getattr(getattr(restored.experiment, option.path[0]), option.name)
            for option in list_options(GRU4RecExperiment)
        }
        recommender = cls(model_class=model_class, **options)
        recommender._adopt(restored)
        return recommender

    def export(self, export_dir: str | os.PathLike, k: int = 20) -> Path:
        """Writes the next SavedModel version for TensorFlow Serving; returns its folder."""
        restored = RestoredGRU4Rec(self.model_, self.vocabulary_, self.experiment_)
        return export_gru4rec(restored, export_dir, k=k)

    def _make_experiment(self) -> GRU4RecExperiment:
        values: dict[str, Any] = {}
        homes = {
            name: option.path
            for option in list_options(GRU4RecExperiment)
            for name in (option.name, *option.aliases)
        }
        for name, value in self._options.items():
            if name not in homes:
                nearest = difflib.get_close_matches(name, homes) or sorted(homes)
                raise ValueError(f"unknown option {name!r}, expected one of {', '.join(nearest)}")
            values.setdefault(homes[name][0], {})[name] = value
        return GRU4RecExperiment.from_dict(values)

    def _read(self, log: Log) -> SessionLog:
        data = self._make_experiment().data
        columns = SessionColumns(
            session=data.session_column, item=data.item_column, time=data.time_column or None
        )
        if isinstance(log, pd.DataFrame):
            return session_log_from_frame(log, columns)
        return read_session_log(log, columns)

    def _adopt(self, restored: RestoredGRU4Rec) -> None:
        self.model_ = restored.model
        self.vocabulary_ = restored.vocabulary
        self.experiment_ = restored.experiment
        self._play = tf.function(
            make_player(restored.model), autograph=False, reduce_retracing=True
        )
        self._states: dict[Hashable, Sequence[np.ndarray]] = {}

    def _pad(self, sessions: Sequence[Sequence[Any]]) -> tf.Tensor:
        """Returns int32 [B, T]: the rows of each session's items, 0 behind the shorter ones."""
        lengths = np.array([len(session) for session in sessions], np.int64)
        rows = np.zeros((len(sessions), max(lengths, default=0)), np.int32)
        items = [item for session in sessions for item in session]
        is_click = np.arange(rows.shape[1]) < lengths[:, None]
        rows[is_click] = self.vocabulary_.rows(as_text_ids(items))
        return tf.constant(rows)

    def _answer(
        self, states: tuple[tf.Tensor, ...], k: int, excluded: tf.Tensor | None = None
    ) -> Recommendations:
        counts = self.vocabulary_.row_counts()
        shares = tf.constant(counts / max(counts.sum(), 1), tf.float32)
        rows, scores = answer(self.model_.score, shares, states, k, excluded)
        return Recommendations(self.vocabulary_.raw_ids(rows.numpy()), scores.numpy())
