"""What TensorFlow Serving runs of GRU4Rec: raw ids in, the best items out."""

import os
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfrec_zoo.export.quantized_models import QuantizedGRU4Rec
from tfrec_zoo.export.quantized_weights import PLAIN, require_format
from tfrec_zoo.export.session_player import make_input_sums, make_player
from tfrec_zoo.export.vocabulary_table import make_vocabulary_table
from tfrec_zoo.item_index.top_items import fill_up, top_items
from tfrec_zoo.models.gru4rec import GRU4Rec, States
from tfrec_zoo.vocabulary import Vocabulary

Answer = dict[str, tf.Tensor]


class GRU4RecModule(tf.Module):
    """A trained GRU4Rec with its vocabulary inside, made of stock TensorFlow operations alone.

    The answer to a session are the `k` items with the greatest activated scores, ties by row; for
    `cross_entropy` the scores are the logits. A session without a known item (its state is zero)
    gets the most popular items of the training data, with their shares of its clicks as scores.
    Ids that are unknown or "" are passed over, wherever they stand. Where fewer than `k` items
    are left the answer ends in "" with scores -inf.

    Signatures (`trace_signatures`), where the first is also `serving_default`:

    - `recommend`: `session_items` string [B, T] -> `items` string [B, K], `scores` float [B, K];
    - `recommend_excluding`: in addition `exclude_items` string [B, E], which are never answered;
    - `step`: `item` string [B], `state_i` float [B, H_i] of each layer, zeros before the first
      click -> `items`, `scores`, `next_state_i`;
    - `recommend_rows`: `session_rows` int32 [B, T], rows of the vocabulary, 0 and rows outside of
      it are passed over -> `rows` int32 [B, K], 0 for no item, `scores`.

    Attributes:
        weights: the variables of the Python model, in its order; see `quantize_weights`.
        item_ids: string [V + 1], the raw id of each row.
        popularity: float [V + 1], share of each row in the clicks of the training data.
        columns: float [W, V + 1], the table of the items as they are scored, transposed, and zeros
            behind it; or `QuantizedColumns`.
        input_sums: float [V + 1, 3 H_0], see `make_input_sums`; None where there are none.
    """

    def __init__(
        self,
        model: GRU4Rec,
        vocabulary: Vocabulary,
        vocabulary_path: str | os.PathLike,
        k: int,
        tables: str = PLAIN,
    ) -> None:
        """Takes the weights of a model that lives on one device.

        Args:
            model: the network and its tables.
            vocabulary: of the tables' rows.
            vocabulary_path: where it has been saved; the file becomes an asset of its name.
            k: number of items in an answer.
            tables: how they are stored, see `tfrec_zoo.layers.row_quantization`.

        Raises:
            ValueError: k is below 1, the model has another number of rows than the vocabulary, or
                its tables cannot be stored so.
        """
        super().__init__(name="gru4rec")
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        if model.num_rows != vocabulary.num_rows:
            raise ValueError(
                f"the model has {model.num_rows} rows and the vocabulary {vocabulary.num_rows}: "
                "they are not of one run"
            )
        require_format(tables)
        self.item_ids = tf.Variable(
            vocabulary.raw_ids(np.arange(vocabulary.num_rows)), trainable=False, name="item_ids"
        )
        counts = vocabulary.row_counts()
        shares = counts / max(counts.sum(), 1)
        self.popularity = tf.Variable(shares.astype(np.float32), trainable=False, name="popularity")
        # Scoring is the larger part of an answer. TensorFlow multiplies a few sessions by a table
        # of this layout several times faster than by the rows that the lookup of clicks needs.
        num_columns = fill_up(model.num_rows, k)
        self.input_sums = None
        if tables == PLAIN:
            missing = num_columns - model.num_rows
            columns = tf.pad(tf.transpose(model.item_table), [[0, 0], [0, missing]])
            columns = tf.Variable(columns, trainable=False, name="columns")
            self.weights, self.columns = list(model.weights), columns
            self.input_sums = make_input_sums(model)
            self._score = lambda vectors: model.activate(tf.matmul(model.augment(vectors), columns))
        else:
            model = QuantizedGRU4Rec(model, tables, num_columns)
            self.weights, self.columns = model.weights, model.columns
            self._score = model.score
        self._rows_of_ids = make_vocabulary_table(vocabulary_path, vocabulary.num_rows)
        self._k = k
        self._num_rows = vocabulary.num_rows
        self._state_dims = model.network.state_dims
        # Functions, not the model: tracked, it would bring its Keras metadata into the export.
        self._play = make_player(model, self.input_sums)
        self._advance = model.__call__

    def trace_signatures(self) -> dict[str, Callable]:
        """Returns the signature functions by name, traced for any batch size and length."""
        session = tf.TensorSpec([None, None], tf.string, "session_items")
        excluded = tf.TensorSpec([None, None], tf.string, "exclude_items")
        rows = tf.TensorSpec([None, None], tf.int32, "session_rows")
        item = tf.TensorSpec([None], tf.string, "item")
        states = {
            f"state_{layer}": tf.TensorSpec([None, width], tf.float32, f"state_{layer}")
            for layer, width in enumerate(self._state_dims)
        }

        def trace(function: Callable, **inputs: tf.TensorSpec) -> Callable:
            return tf.function(function, autograph=False).get_concrete_function(**inputs)

        recommend = trace(self.recommend, session_items=session)
        return {
            "serving_default": recommend,
            "recommend": recommend,
            "recommend_excluding": trace(
                self.recommend_excluding, session_items=session, exclude_items=excluded
            ),
            "step": trace(self.step, item=item, **states),
            "recommend_rows": trace(self.recommend_rows, session_rows=rows),
        }

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
        states = self._play(self._look_up(session_items))
        excluded = None if exclude_items is None else self._look_up(exclude_items)
        return self._answer(states, excluded)

    def step(self, item: tf.Tensor, **state: tf.Tensor) -> Answer:
        """Advances the states by the click on `item` and answers, see the class."""
        answer = self.step_rows(self._look_up(item), **state)
        return self._name_items(answer.pop("rows"), answer.pop("scores")) | answer

    def step_rows(self, row: tf.Tensor, **state: tf.Tensor) -> Answer:
        """Does the same for the click on `row` int32 [B], and answers by rows."""
        row = tf.where((row > 0) & (row < self._num_rows), row, 0)
        states = tuple(state[f"state_{layer}"] for layer in range(len(self._state_dims)))
        _, states = self._advance(row, states)
        rows, scores = self._answer(states)
        next_states = {f"next_state_{layer}": state for layer, state in enumerate(states)}
        return {"rows": rows, "scores": scores} | next_states

    def recommend_rows(self, session_rows: tf.Tensor) -> Answer:
        """Answers sessions of rows by rows, see the class."""
        is_row = (session_rows > 0) & (session_rows < self._num_rows)
        rows, scores = self._answer(self._play(tf.where(is_row, session_rows, 0)))
        return {"rows": rows, "scores": scores}

    def _look_up(self, items: tf.Tensor) -> tf.Tensor:
        return tf.cast(self._rows_of_ids.lookup(items), tf.int32)

    def _answer(
        self, states: States, excluded_rows: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        return answer(self._score, self.popularity, states, self._k, excluded_rows)

    def _name_items(self, rows: tf.Tensor, scores: tf.Tensor) -> Answer:
        return {"items": tf.gather(self.item_ids, rows), "scores": scores}


def answer(
    score: Callable[[tf.Tensor], tf.Tensor],
    popularity: tf.Tensor,
    states: States,
    k: int,
    excluded_rows: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the best items of sessions: the popular ones where a session has no known click.

    Args:
        score: from session vectors float [B, H] to scores float [B, W], at least [B, V + 1].
        popularity: float [V + 1], the scores for a session without a click; no part of the graph
            that is traced.
        states: float [B, H_i] of each layer; all zero: no click.
        k: how many items.
        excluded_rows: int32 [B, E], not to be answered.

    Returns:
        rows int32 [B, K] and scores float [B, K], see `tfrec_zoo.item_index.top_items`.
    """
    num_rows = popularity.shape[0]
    is_empty = tf.reduce_all(tf.concat(states, axis=1) == 0.0, axis=1, keepdims=True)
    scores = score(states[-1])
    if excluded_rows is None:
        rows, best = top_items(scores, k, None, num_rows)
        # The popular ones are the same for all requests.
        with tf.init_scope():
            popular_rows, shares = top_items(popularity[None], k)
        return tf.where(is_empty, popular_rows, rows), tf.where(is_empty, shares, best)

    def replace_scores() -> tf.Tensor:
        missing = scores.shape[1] - num_rows
        return tf.where(is_empty, tf.pad(popularity, [[0, missing]]), scores)

    # To choose among all scores takes much longer than to find that there is no need to.
    scores = tf.cond(tf.reduce_any(is_empty), replace_scores, lambda: scores)
    return top_items(scores, k, excluded_rows, num_rows)
