"""Small models with random weights, their exports, and the answers of GRU4Rec in float64."""

import shutil
from collections.abc import Callable
from pathlib import Path

import click_models
import news_models
import numpy as np
import pytest

from tfrec_zoo.experiments import GRU4RecExperiment
from tfrec_zoo.export import index
from tfrec_zoo.export.restore import RestoredDLRM, RestoredGRU4Rec, restore_ssr
from tfrec_zoo.export.saved_model import export_dlrm, export_gru4rec, export_ssr
from tfrec_zoo.losses.ranking_config import RankingLossConfig
from tfrec_zoo.models.gru4rec import GRU4Rec
from tfrec_zoo.models.gru4rec_config import GRU4RecConfig
from tfrec_zoo.program import run_program
from tfrec_zoo.run_folder import RunFolder
from tfrec_zoo.vocabulary import Vocabulary

NUM_ITEMS = 40


class Oracle:
    """GRU4Rec by the formulas of the paper, one session and one click at a time."""

    def __init__(self, restored: RestoredGRU4Rec) -> None:
        self.config = restored.model.config
        self.weights = {
            weight.name.removesuffix(":0"): weight.numpy().astype(np.float64)
            for weight in restored.model.weights
        }
        self.ids = ["", *restored.vocabulary.ids]
        self.counts = np.array([0, *restored.vocabulary.counts])

    def play(self, items: list[str], states: list[np.ndarray] | None = None) -> list[np.ndarray]:
        """Returns the states [H_i] after the clicks on `items`."""
        states = states or [np.zeros(width) for width in self.config.hidden_dims]
        for item in items:
            if item and item in self.ids:
                states = self._advance(self.ids.index(item), states)
        return states

    def _advance(self, row: int, states: list[np.ndarray]) -> list[np.ndarray]:
        tied = self.weights["item_table"][:, : self.config.hidden_dims[-1]]
        x = self.weights.get("input_table", tied)[row]
        new_states = []
        for layer, h in enumerate(states):
            w = {
                name.split("/")[1]: value
                for name, value in self.weights.items()
                if name.startswith(f"layer_{layer}/")
            }
            v = (x @ w["kernel"] if "kernel" in w else x) + w["bias"]
            n = len(h)
            gates = h @ w["gate_kernel"]
            r, z = (1 / (1 + np.exp(-(v[n:] + gates)))).reshape(2, n)
            c = v[:n] + (r * h) @ w["candidate_kernel"]
            c = np.maximum(c, 0) if self.config.hidden_activation == "relu" else np.tanh(c)
            x = (1 - z) * h + z * c
            new_states.append(x)
        return new_states

    def scores(self, states: list[np.ndarray]) -> np.ndarray:
        """Returns the scores [V + 1] of all rows; -inf for row 0."""
        if not any(state.any() for state in states):
            scores = self.counts / self.counts.sum()
        else:
            table = self.weights["item_table"]
            h = states[-1]
            scores = table @ (np.append(h, 1) if self.config.use_item_bias else h)
            activation = self.config.score_activation
            if activation == "elu":
                scores = np.where(scores > 0, scores, self.config.elu_alpha * np.expm1(scores))
            elif activation == "relu":
                scores = np.maximum(scores, 0)
            else:
                assert activation == "linear"
        return np.concatenate([[-np.inf], scores[1:]])

    def answer(
        self, states: list[np.ndarray], k: int, excluded: tuple[str, ...] = ()
    ) -> tuple[list[str], np.ndarray]:
        """Returns the k best items and their scores, ties by row, padded by "" and -inf."""
        scores = self.scores(states)
        for item in excluded:
            if item in self.ids:
                scores[self.ids.index(item)] = -np.inf
        best = np.lexsort((np.arange(len(scores)), -scores))[:k]
        best = best[scores[best] > -np.inf]
        missing = k - len(best)
        items = [self.ids[row] for row in best] + [""] * missing
        return items, np.append(scores[best], np.full(missing, -np.inf))


@pytest.fixture(scope="session")
def make_restored() -> Callable[..., RestoredGRU4Rec]:
    """Makes a model of the given configuration with random weights, biases included."""

    def make(num_items: int = NUM_ITEMS, **config) -> RestoredGRU4Rec:
        rng = np.random.default_rng(5)
        # Ids that are no numbers, not in the order of their text, one of them not ASCII.
        ids = [f"item-{i * 7 % 1009}" for i in range(num_items - 1)] + ["é/ü 1"]
        vocabulary = Vocabulary.build(ids, rng.integers(1, 9, num_items))
        experiment = GRU4RecExperiment(
            model=GRU4RecConfig(**{"hidden_dims": (6,), **config}),
            loss=RankingLossConfig(loss="bpr_max"),
        )
        model = GRU4Rec(experiment.model, vocabulary.num_rows)
        model.set_weights([rng.normal(0, 0.7, w.shape) for w in model.get_weights()])
        return RestoredGRU4Rec(model, vocabulary, experiment)

    return make


@pytest.fixture(scope="session")
def make_oracle() -> Callable[[RestoredGRU4Rec], Oracle]:
    """Makes the oracle of a model."""
    return Oracle


@pytest.fixture(scope="session")
def restored(make_restored) -> RestoredGRU4Rec:
    """A GRU4Rec of one layer with tied tables."""
    return make_restored()


@pytest.fixture(scope="session")
def exported(restored, tmp_path_factory) -> Path:
    """Its export with 10 items an answer; not to be changed."""
    return export_gru4rec(restored, tmp_path_factory.mktemp("served"), k=10)


@pytest.fixture(scope="session")
def restored_dlrm() -> RestoredDLRM:
    """A DLRM over features of every kind."""
    return click_models.make_restored()


@pytest.fixture(scope="session")
def exported_dlrm(restored_dlrm, tmp_path_factory) -> Path:
    """Its export; not to be changed."""
    return export_dlrm(restored_dlrm, tmp_path_factory.mktemp("served_dlrm"))


@pytest.fixture(scope="session")
def news_run(tmp_path_factory) -> RunFolder:
    """A run of an SSR whose items have ages."""
    path = tmp_path_factory.mktemp("news")
    catalogue = news_models.make_catalogue(path)
    restored = news_models.make_restored(catalogue, age_buckets=5, age_unit=500.0)
    return news_models.write_run(path / "run", restored)


@pytest.fixture(scope="session")
def first_versions(news_run, tmp_path_factory) -> Path:
    """A folder of versions with its export in it, 40 items an answer; not to be changed."""
    path = tmp_path_factory.mktemp("served_news")
    export_ssr(restore_ssr(news_run), path, 40, now=96_000.0)
    return path


@pytest.fixture
def served(first_versions, tmp_path) -> Path:
    """A copy of it."""
    return shutil.copytree(first_versions, tmp_path / "served")


@pytest.fixture
def run_index(capsys, caplog) -> Callable[..., tuple]:
    """Runs `tfrec-index`; returns the exit code, what was printed, and what was logged."""

    def run(*arguments):
        capsys.readouterr()
        caplog.clear()
        code = 0
        # Exports before the first program of a process leave the level at that of warnings.
        argv = ["tfrec-index", "--verbosity=0", *map(str, arguments)]
        try:
            run_program(index.refresh, index.define_flags, argv)
        except SystemExit as end:
            code = end.code
        return code, capsys.readouterr(), caplog.messages

    return run
