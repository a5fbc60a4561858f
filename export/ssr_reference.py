"""What exports of SSR are compared with: the Python model, one session at a time, and a sort."""

import functools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfrec_zoo.export.click_reference import ExampleEncoder
from tfrec_zoo.export.conformance import Export, require
from tfrec_zoo.export.item_vectors import read_inputs, score_offsets
from tfrec_zoo.export.quantized_weights import PLAIN, find_format
from tfrec_zoo.export.restored import RestoredSSR
from tfrec_zoo.layers.quantized_table import QuantizedColumns, QuantizedTable
from tfrec_zoo.layers.row_quantization import bound_errors


class SessionReference:
    """The Python model's answers to sessions.

    Attributes:
        vocabulary: the items.
        k: number of items in an answer.
    """

    def __init__(self, export: Export, restored: RestoredSSR | None = None) -> None:
        """Takes an export of SSR, or one with an SSR inside and the Python model of that one."""
        self._restored: RestoredSSR = restored or export.restored
        self._tables = find_format(export.config["export"])
        self._checkpoint = str(export.path / "variables" / "variables")
        self._now = export.config["export"]["now"]
        self.vocabulary = self._restored.catalogue.vocabulary
        self.k = export.config["export"]["k"]

    @functools.cached_property
    def _seen(self) -> np.ndarray:
        """What the towers see of each row, by the model's tables; float32 [V + 1, E]."""
        return read_inputs(self._restored.model, self._restored.catalogue)

    @functools.cached_property
    def _inputs(self) -> np.ndarray:
        """The same as the session tower is given it."""
        if self._tables == PLAIN:
            return self._seen
        stored = QuantizedTable(np.zeros_like(self._seen), self._tables)
        self._read_stored(tf.train.Checkpoint(item_inputs=stored))
        _require_stored(stored.numpy(), self._seen, self._tables)
        return stored.numpy()

    @functools.cached_property
    def _vectors(self) -> np.ndarray:
        """The vectors of all rows, float32 [V + 1, D], with what ages and shows add behind."""
        model, catalogue = self._restored.model, self._restored.catalogue
        vectors = model.item_vectors(tf.constant(self._seen)).numpy()
        if self._tables != PLAIN:
            vectors[1:] = self._find_stored_vectors(vectors[1:])
        if not model.has_offsets:
            return vectors
        return np.column_stack([vectors, score_offsets(model, catalogue, self._now)])

    def _find_stored_vectors(self, vectors: np.ndarray) -> np.ndarray:
        """Returns the vectors of the items as the index has them, float32 [V, D]."""
        # Behind them are the popularity, and what ages and shows add.
        num_exact = 1 + self._restored.model.has_offsets
        rows = np.pad(np.zeros_like(vectors), [(0, 0), (0, num_exact)])
        stored = QuantizedColumns(rows, self._tables, num_exact)
        self._read_stored(tf.train.Checkpoint(search=tf.train.Checkpoint(columns=stored)))
        found = stored.numpy()[:, : vectors.shape[1]]
        _require_stored(found, vectors, self._tables)
        return found

    def _read_stored(self, checkpoint: tf.train.Checkpoint) -> None:
        """Reads tables of the export, rounded ones: a machine that adds in another order than the
        one that exported may round a number the other way."""
        status = checkpoint.read(self._checkpoint)
        status.assert_existing_objects_matched()
        status.expect_partial()

    def embed(self, session: Sequence[str]) -> np.ndarray:
        """Returns the vector of a session, float32 [D], a 1 behind where items have offsets."""
        rows = self._read(session)
        model = self._restored.model
        vector = model.session_vectors(tf.constant(self._inputs[[rows]]), tf.constant([len(rows)]))
        return np.append(vector[0], np.ones(int(model.has_offsets), np.float32))

    def score(
        self,
        session: Sequence[str],
        excluded: Sequence[str] = (),
        included: Sequence[str] | None = None,
    ) -> np.ndarray:
        """Returns the scores [V + 1] of all rows; -inf for what must not be answered."""
        if self.vocabulary.rows(np.array(session, dtype=object)).any():
            scores = self._vectors @ self.embed(session)
        else:
            counts = self.vocabulary.row_counts()
            scores = counts / max(counts.sum(), 1)
        own = session if self._restored.experiment.data.exclude_history else ()
        left_out = self.vocabulary.rows(np.array([*own, *excluded], dtype=object))
        scores[[0, *left_out]] = -np.inf
        if included is None:
            return scores
        rows = self.vocabulary.rows(np.array(included, dtype=object))
        is_included = np.isin(np.arange(len(scores)), rows)
        return np.where(is_included, scores, -np.inf)

    def _read(self, session: Sequence[str]) -> list[int]:
        """Returns the rows that are read of a session."""
        config, found = self._restored.experiment.batches, []
        for row in self.vocabulary.rows(np.array(session, dtype=object)).tolist():
            before = {"keep": [], "adjacent": found[-1:], "all": found}[config.repeats]
            if row and row not in before:
                found.append(row)
        return found[-config.max_history :]


class ItemReference:
    """Raw content of items, encoded and embedded in Python."""

    def __init__(self, export: Export) -> None:
        """Takes an export of SSR."""
        restored: RestoredSSR = export.restored
        self._model = restored.model
        self._encoder = ExampleEncoder(restored.catalogue.schema, restored.catalogue.vocabularies)
        self._examples = self._encoder.draw()

    def draw(self) -> dict[str, np.ndarray]:
        """Returns the inputs of `embed_items` for random content; those without a column not."""
        examples = self._examples
        inputs = {"dense": examples.dense, "sparse": examples.sparse, "vectors": examples.vectors}
        inputs = {name: values for name, values in inputs.items() if values.shape[1]}
        if self._model.age_scores is not None:
            inputs["ages"] = self._ages
        if self._model.config.asks_impressions:
            inputs["shows"] = inputs["click_lifts"] = self._shows
        return inputs

    def embed(self) -> np.ndarray:
        """Returns the vectors of the content that `draw` returns."""
        content, model = self._encoder.encode(self._examples), self._model
        inputs = model.read_items(content.dense, content.rows, content.row_weights)
        vectors = model.item_vectors(inputs).numpy()
        if not model.has_offsets:
            return vectors
        ages = np.where(np.isfinite(self._ages), self._ages, np.float32(0))
        shows = np.where(self._shows > 0, self._shows, np.float32(0))
        lifts = np.where(self._shows > 0, self._shows, np.float32(1))
        offsets = model.score_ages(tf.constant(ages)) + model.score_shows(tf.constant(shows))
        offsets += model.score_click_lifts(tf.constant(lifts))
        return np.column_stack([vectors, offsets.numpy()])

    @property
    def _shows(self) -> np.ndarray:
        """Numbers of shows, or lifts, among them some that are none; float32 [n]."""
        shows = [0.0, 0.5, 7.0, 1e4, -1.0, np.nan]
        return np.resize(np.array(shows, np.float32), len(self._examples.dense))

    @property
    def _ages(self) -> np.ndarray:
        """Ages of every size, among them those that count as not known; float32 [n]."""
        config, count = self._model.config, len(self._examples.dense)
        known = config.age_unit * 1.7 ** np.arange(config.age_buckets + 2)
        ages = [*known, np.nan, 0.0, -1.0, np.inf, -np.inf]
        return np.resize(np.array(ages, np.float32), count)


def _require_stored(stored: np.ndarray, rows: np.ndarray, table_format: str) -> None:
    """Raises an error unless rows are stored, but for what their format takes off."""
    # The last factor is for what other machines compute in another order.
    bounds = bound_errors(rows, table_format) * 1.001 + 1e-5 * np.abs(rows).max(initial=0.0)
    is_near = np.abs(stored.astype(np.float64) - rows) <= bounds
    require(
        is_near.all(),
        f"{np.count_nonzero(~is_near.all(axis=1))} of {len(rows)} rows are not those that the "
        "model has of the items",
    )
