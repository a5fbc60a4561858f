"""What TensorFlow Serving runs of SSR: sessions in, the best items of its index out."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfrec_zoo.data.clicks.click_schema import ClickSchema
from tfrec_zoo.data.news.item_catalogue import ItemCatalogue
from tfrec_zoo.experiments import SSRExperiment
from tfrec_zoo.export.click_inputs import (
    TextEncoder,
    encode_features,
    list_number_columns,
    list_text_features,
    transform_numbers,
)
from tfrec_zoo.export.histories import Histories, make_reader
from tfrec_zoo.export.item_vectors import embed_rows, read_inputs
from tfrec_zoo.export.quantized_models import QuantizedSSR
from tfrec_zoo.export.quantized_weights import PLAIN, require_format
from tfrec_zoo.export.vocabulary_table import make_vocabulary_table
from tfrec_zoo.item_index.exact_search import ExactSearch
from tfrec_zoo.item_index.quantized_search import QuantizedSearch
from tfrec_zoo.layers.quantized_table import QuantizedTable
from tfrec_zoo.models.ssr import SSR
from tfrec_zoo.models.ssr_config import SSRConfig

Answer = dict[str, tf.Tensor]


def list_offset_inputs(config: SSRConfig) -> list[str]:
    """Returns the inputs of `embed_items` that are not content."""
    of_impressions = ["shows", "click_lifts"] * config.asks_impressions
    return ["ages"] * (config.age_buckets > 0) + of_impressions


def list_item_inputs(schema: ClickSchema, config: SSRConfig) -> dict[str, tf.TensorSpec]:
    """Returns the inputs of `embed_items`, see `SSRModule`; those without a column are left out."""
    widths = {
        "dense": (tf.float32, len(list_number_columns(schema))),
        "sparse": (tf.string, len(list_text_features(schema))),
        "vectors": (tf.float32, schema.num_dense - len(schema.dense)),
    }
    inputs = {
        name: tf.TensorSpec([None, width], dtype, name)
        for name, (dtype, width) in widths.items()
        if width
    }
    for name in list_offset_inputs(config):
        inputs[name] = tf.TensorSpec([None], tf.float32, name)
    return inputs


def list_inputs(schema: ClickSchema, config: SSRConfig) -> dict[str, dict[str, tf.TensorSpec]]:
    """Returns the inputs of each signature, see `SSRModule`."""

    def take(dtype: tf.DType, *names: str) -> dict[str, tf.TensorSpec]:
        return {name: tf.TensorSpec([None, None], dtype, name) for name in names}

    return {
        "recommend": take(tf.string, "session_items"),
        "recommend_excluding": take(tf.string, "session_items", "exclude_items"),
        "recommend_including": take(tf.string, "session_items", "include_items"),
        "recommend_rows": take(tf.int32, "session_rows"),
        "embed_session": take(tf.string, "session_items"),
        "embed_items": list_item_inputs(schema, config),
    }


class SSRModule(tf.Module):
    """A trained SSR with its items inside, made of stock TensorFlow operations alone.

    The answer to a session are the `k` items with the greatest scores, ties by row. A session
    without a known item gets the items that were clicked most in training, with their shares of its
    clicks as scores. With `exclude_history` the items of the session are not answered. Ids that are
    unknown or "" are passed over, wherever they stand; of what remains repeats are left out and the
    last `max_history` clicks are read, as in training. Where fewer than `k` items are left the
    answer ends in "" with scores -inf.

    Signatures (`trace_signatures`), where the first is also `serving_default`:

    - `recommend`: `session_items` string [B, T] -> `items` string [B, K], `scores` float [B, K];
    - `recommend_excluding`: in addition `exclude_items` string [B, E], which are never answered;
    - `recommend_including`: in addition `include_items` string [B, I], the only ones that are;
    - `recommend_rows`: `session_rows` int32 [B, T], rows of the catalogue, 0 and rows outside of
      it are passed over -> `rows` int32 [B, K], 0 for no item, `scores`;
    - `embed_session`: `session_items` -> `session_vector` float [B, D];
    - `embed_items`: the content of items, whether they are in the catalogue or not ->
      `item_vector` float [B, D]. `dense` float [B, N] are raw numbers, NaN for a missing one, of
      `list_number_columns`; `sparse` string [B, F] raw texts, "" for a missing one, of
      `list_text_features`, several values of one being one text (see `find_separator`); `vectors`
      float [B, M] the ready-made vectors one behind the other, zeros or NaN for a missing one.
      Inputs of no column are left out.

    The product of a session's vector and an item's is the item's score. Where the model has
    `age_buckets`, `exposure_weight` or `click_rate_weight`, vectors are of D + 1 numbers, the last
    one of an item what its age, its shows and its clicks add to its score and that of a session 1.
    `embed_items` then takes `ages` float [B], too, what has passed since an item came up in the
    unit of the log's times; NaN, 0 or less: not known; and `shows` and `click_lifts` float [B], how
    much an item is being shown and how often it is clicked then (`Exposures`); NaN: not known. The
    ages of the catalogue are those at the time `now`, the rest is the catalogue's.

    Attributes:
        weights: the variables of the Python model, in its order; see `quantize_weights`.
        item_inputs: float [V + 1, E], what the session tower reads of each row; or a
            `QuantizedTable`.
        search: the items' vectors, with two more numbers: the popularity, and what the age adds.
    """

    def __init__(
        self,
        model: SSR,
        catalogue: ItemCatalogue,
        experiment: SSRExperiment,
        folder: str | os.PathLike,
        k: int,
        now: float | None = None,
        tables: str = PLAIN,
    ) -> None:
        """Takes the weights of a model that lives on one device.

        Args:
            model: the towers.
            catalogue: the items, encoded for the model.
            experiment: how it was trained: what of a session is read, and what is answered.
            folder: takes up the files that become assets: `vocabulary.tsv`, whose line numbers are
                the rows, and `feature.<name>.tsv` of each feature with a vocabulary.
            k: number of items in an answer.
            now: the time that ages are taken at; None: no age is known.
            tables: how they are stored, the items' vectors among them, see
                `tfrec_zoo.layers.row_quantization`.

        Raises:
            ValueError: k is below 1, the model has other features than the catalogue, or the
                tables cannot be stored so.
        """
        super().__init__(name="ssr")
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        if model.schema != catalogue.schema:
            raise ValueError(
                "the items have other features than the model: they are not of one run"
            )
        require_format(tables)
        reader = model if tables == PLAIN else QuantizedSSR(model, tables)
        self.weights = list(reader.weights)
        inputs = read_inputs(reader, catalogue)
        counts = catalogue.vocabulary.counts
        shares = (counts / max(counts.sum(), 1)).astype(np.float32)
        vectors = embed_rows(model, catalogue, inputs, now)
        vectors = np.column_stack([vectors, shares])
        if tables == PLAIN:
            self.item_inputs = tf.Variable(inputs, trainable=False, name="item_inputs")
            self._gather_inputs = lambda rows: tf.gather(self.item_inputs, rows)
            self.search = ExactSearch(catalogue.ids, vectors)
        else:
            self.item_inputs = QuantizedTable(inputs, tables)
            self._gather_inputs = self.item_inputs.gather
            num_exact = vectors.shape[1] - model.config.vector_dim
            self.search = QuantizedSearch(catalogue.ids, vectors, tables, num_exact)
        path = Path(folder) / "vocabulary.tsv"
        catalogue.vocabulary.save(path)
        self._rows_of_ids = make_vocabulary_table(path, catalogue.num_rows)
        # With a prefix, for a feature may be called vocabulary.
        self._texts = TextEncoder(catalogue.schema, catalogue.vocabularies, folder, "feature.")
        self._schema, self._k, self._num_rows = catalogue.schema, k, catalogue.num_rows
        self._config, self._has_offsets = model.config, model.has_offsets
        self._excludes_history = experiment.data.exclude_history
        self._read_histories = make_reader(experiment.batches)
        # Functions, not the model: tracked, it would bring its Keras metadata into the export.
        self._read_items, self._item_vectors = reader.read_items, model.item_vectors
        self._session_vectors = model.session_vectors
        self._score_ages, self._score_shows = model.score_ages, model.score_shows
        self._score_click_lifts = model.score_click_lifts
        # Traced once, however many signatures it answers, and called by a plain function: as an
        # attribute it would be exported beside the signatures.
        find = tf.function(self._search, autograph=False, reduce_retracing=True)
        self._find = lambda *arguments: find(*arguments)

    @property
    def item_ids(self) -> tf.Variable:
        """The id of each row, string [V + 1]."""
        return self.search.item_ids

    def trace_signatures(self) -> dict[str, Callable]:
        """Returns the signature functions by name, traced for any batch size and length."""
        traced = {
            name: tf.function(getattr(self, name), autograph=False).get_concrete_function(**inputs)
            for name, inputs in list_inputs(self._schema, self._config).items()
        }
        return {"serving_default": traced["recommend"], **traced}

    def recommend(self, session_items: tf.Tensor) -> Answer:
        """Answers the sessions `session_items`, see the class."""
        return self._name_items(*self.find_rows(session_items))

    def recommend_excluding(self, session_items: tf.Tensor, exclude_items: tf.Tensor) -> Answer:
        """Answers the sessions with other items than `exclude_items`, see the class."""
        return self._name_items(*self.find_rows(session_items, exclude_items))

    def find_rows(
        self, session_items: tf.Tensor, exclude_items: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the rows of the answer to sessions, int32 [B, K], 0 for no item; the scores."""
        excluded = None if exclude_items is None else self._look_up(exclude_items)
        return self._answer(self._look_up(session_items), excluded)

    def recommend_including(self, session_items: tf.Tensor, include_items: tf.Tensor) -> Answer:
        """Answers the sessions with items of `include_items` alone, see the class."""
        sessions, included = self._look_up(session_items), self._look_up(include_items)
        return self._name_items(*self._answer(sessions, included_rows=included))

    def recommend_rows(self, session_rows: tf.Tensor) -> Answer:
        """Answers sessions of rows by rows, see the class."""
        rows, scores = self._answer(self._drop_others(session_rows))
        return {"rows": rows, "scores": scores}

    def embed_session(self, session_items: tf.Tensor) -> Answer:
        """Returns the vectors of sessions, see the class."""
        return {"session_vector": self._embed(self._read_histories(self._look_up(session_items)))}

    def embed_session_rows(self, session_rows: tf.Tensor) -> Answer:
        """Returns the vectors of sessions of rows, see the class."""
        histories = self._read_histories(self._drop_others(session_rows))
        return {"session_vector": self._embed(histories)}

    def embed_items(
        self,
        dense: tf.Tensor | None = None,
        sparse: tf.Tensor | None = None,
        vectors: tf.Tensor | None = None,
        ages: tf.Tensor | None = None,
        shows: tf.Tensor | None = None,
        click_lifts: tf.Tensor | None = None,
    ) -> Answer:
        """Returns the vectors of items by their content, see the class."""
        given = [values for values in (dense, sparse, vectors) if values is not None]
        batch_size = tf.shape(given[0])[0]
        numbers = [tf.zeros([batch_size, 0])]
        if self._schema.dense:
            numbers.append(transform_numbers(dense, self._schema))
        if vectors is not None:
            numbers.append(tf.where(tf.math.is_finite(vectors), vectors, 0.0))
        encoded = encode_features(self._texts, dense, sparse, self._schema)
        inputs = self._read_items(tf.concat(numbers, axis=1), encoded.rows, encoded.weights)
        found = self._item_vectors(inputs)
        offsets = []
        if ages is not None:
            offsets.append(self._score_ages(tf.where(tf.math.is_finite(ages), ages, 0.0)))
        if shows is not None:
            offsets.append(
                self._score_shows(tf.where((shows > 0) & tf.math.is_finite(shows), shows, 0.0))
            )
        if click_lifts is not None:
            lifts = tf.where((click_lifts > 0) & tf.math.is_finite(click_lifts), click_lifts, 1.0)
            offsets.append(self._score_click_lifts(lifts))
        if offsets:
            found = tf.concat([found, tf.add_n(offsets)[:, None]], axis=1)
        return {"item_vector": found}

    def _look_up(self, items: tf.Tensor) -> tf.Tensor:
        return tf.cast(self._rows_of_ids.lookup(items), tf.int32)

    def _drop_others(self, rows: tf.Tensor) -> tf.Tensor:
        """Returns rows with 0 in place of those outside of the catalogue."""
        return tf.where((rows > 0) & (rows < self._num_rows), rows, 0)

    def _embed(self, histories: Histories) -> tf.Tensor:
        clicks = self._gather_inputs(histories.rows)
        vectors = self._session_vectors(clicks, histories.lengths)
        if self._has_offsets:
            vectors = tf.concat([vectors, tf.ones_like(vectors[:, :1])], axis=1)
        return vectors

    def _answer(
        self,
        sessions: tf.Tensor,
        excluded_rows: tf.Tensor | None = None,
        included_rows: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the best rows int32 [B, K] of sessions int32 [B, T], 0: no click; the scores."""
        histories = self._read_histories(sessions)
        vectors = self._embed(histories)
        # The last number of an item is its popularity: the one that an empty session asks for.
        is_empty = tf.equal(histories.lengths, 0)[:, None]
        queries = tf.concat(
            [tf.where(is_empty, 0.0, vectors), tf.cast(is_empty, tf.float32)], axis=1
        )
        excluded = [sessions[:, : None if self._excludes_history else 0]]
        if excluded_rows is not None:
            excluded.append(excluded_rows)
        return self._find(queries, tf.concat(excluded, axis=1), included_rows)

    def _search(
        self, queries: tf.Tensor, excluded_rows: tf.Tensor, included_rows: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        return self.search.search(queries, self._k, excluded_rows, included_rows)

    def _name_items(self, rows: tf.Tensor, scores: tf.Tensor) -> Answer:
        return {"items": tf.gather(self.item_ids, rows), "scores": scores}
