"""What TensorFlow Serving runs of two stages: a retriever's candidates, ranked by a DLRM."""

import math
import os
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfrec_zoo.data.clicks.click_schema import ClickSchema
from tfrec_zoo.export.cascade_items import ItemFeatures
from tfrec_zoo.export.click_inputs import (
    Encoded,
    TextEncoder,
    encode_features,
    join_features,
    list_number_columns,
    list_text_features,
    transform_numbers,
)
from tfrec_zoo.export.gru4rec_module import GRU4RecModule
from tfrec_zoo.export.restored import RestoredDLRM
from tfrec_zoo.export.ssr_module import SSRModule

Answer = dict[str, tf.Tensor]

# Of the files of the ranker's vocabularies, beside those of the retriever.
RANKER_PREFIX = "ranker."


def list_inputs(request_schema: ClickSchema | None) -> dict[str, dict[str, tf.TensorSpec]]:
    """Returns the inputs of each signature, see `CascadeModule`."""
    features = {}
    if request_schema is not None:
        widths = {
            "dense": (tf.float32, len(list_number_columns(request_schema))),
            "sparse": (tf.string, len(list_text_features(request_schema))),
        }
        features = {
            name: tf.TensorSpec([None, width], dtype, name)
            for name, (dtype, width) in widths.items()
            if width
        }
    items = {
        name: tf.TensorSpec([None, None], tf.string, name)
        for name in ("session_items", "exclude_items")
    }
    session = {"session_items": items["session_items"]}
    return {"recommend": session | features, "recommend_excluding": items | features}


class CandidateRanker(tf.Module):
    """A trained DLRM that knows the features of all items, and is told those of a request.

    Attributes:
        weights: the variables of the Python model, in its order.
        item_dense: float [V + 1, Dn of the items' features], transformed.
        item_rows: int32 [V + 1, S of the items' features], rows of each feature's own table.
        item_weights: float of the same shape; None where none of these features has a bag.
    """

    def __init__(
        self, restored: RestoredDLRM, items: ItemFeatures, folder: str | os.PathLike
    ) -> None:
        """Takes the weights of a model that lives on one device.

        Args:
            restored: the model and its vocabularies.
            items: which of its features are the items', and these of each.
            folder: takes up a file `ranker.<feature>.tsv` for each of the request's features with
                a vocabulary.
        """
        super().__init__(name="ranker")
        self.weights = list(restored.model.weights)
        rows = items.rows
        self.item_dense = tf.Variable(rows.dense, trainable=False, name="item_dense")
        self.item_rows = tf.Variable(rows.rows, trainable=False, name="item_rows")
        self.item_weights = None
        if rows.row_weights is not None:
            self.item_weights = tf.Variable(rows.row_weights, trainable=False, name="item_weights")
        self._schema, self._item_schema = restored.schema, items.schema
        self._request_schema = items.request_schema
        own = list(items.schema.dense)
        self._texts = None
        if items.request_schema is not None:
            own = [*items.request_schema.dense, *own]
            names = {feature.name for feature in items.request_schema.categorical}
            vocabularies = {n: v for n, v in restored.vocabularies.items() if n in names}
            self._texts = TextEncoder(items.request_schema, vocabularies, folder, RANKER_PREFIX)
        places = [own.index(feature) for feature in restored.schema.dense]
        self._dense_places = np.array(places, np.int32)
        # A function, not the model: tracked, it would bring its Keras metadata into the export.
        self._score = restored.model.__call__

    def score(
        self,
        candidates: tf.Tensor,
        dense: tf.Tensor | None = None,
        sparse: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Returns the click probabilities of candidates, float [B, C].

        Args:
            candidates: int32 [B, C], rows of the retriever.
            dense: float [B, N], the request's raw numbers.
            sparse: string [B, F], the request's raw texts.
        """
        items, per_request = tf.reshape(candidates, [-1]), tf.shape(candidates)[1]
        numbers, parts = [], []
        if self._request_schema is not None:
            encoded = encode_features(self._texts, dense, sparse, self._request_schema)
            if encoded.features:
                parts.append(_repeat(encoded, per_request))
            if self._request_schema.dense:
                values = transform_numbers(dense, self._request_schema)
                numbers.append(tf.repeat(values, per_request, axis=0))
        numbers.append(tf.gather(self.item_dense, items))
        if self._item_schema.categorical:
            parts.append(self._gather(items))
        values = tf.gather(tf.concat(numbers, axis=1), self._dense_places, axis=1)
        joined = join_features(parts, self._schema) if parts else _no_features(items)
        logits = self._score(values, joined.rows, joined.weights)
        return tf.reshape(tf.sigmoid(logits), tf.shape(candidates))

    def _gather(self, items: tf.Tensor) -> Encoded:
        weights = None
        if self.item_weights is not None:
            weights = tf.gather(self.item_weights, items)
        return Encoded(self._item_schema.categorical, tf.gather(self.item_rows, items), weights)


class CascadeModule(tf.Module):
    """A retriever and a ranker in one graph, made of stock TensorFlow operations alone.

    The retriever (GRU4Rec or SSR) names the best candidates for a session, the ranker says of each
    how probable a click is, and the answer are the `k` most probable ones; where probabilities are
    equal, the one that the retriever puts first. So a session without a known item gets the most
    popular items, ranked. Where fewer than `k` items are left the answer ends in "" with scores
    -inf. For the session's ids see `GRU4RecModule` and `SSRModule`.

    Signatures (`trace_signatures`), where the first is also `serving_default`:

    - `recommend`: `session_items` string [B, T], and the request's features of the ranker, those
      that are not the item's: `dense` float [B, N], raw numbers, NaN for a missing one, of
      `list_number_columns`, and `sparse` string [B, F], raw texts, "" for a missing one, of
      `list_text_features` -> `items` string [B, K], `scores` float [B, K], the click probabilities,
      `retrieval_scores` float [B, K];
    - `recommend_excluding`: in addition `exclude_items` string [B, E], which are never answered,
      and are no candidates.

    Inputs of no column are left out.

    Attributes:
        retriever: the module that answers with the candidates.
        ranker: the model that ranks them.
    """

    def __init__(
        self, retriever: GRU4RecModule | SSRModule, ranker: CandidateRanker, k: int
    ) -> None:
        """Takes the two stages; `k` items of the retriever's are answered."""
        super().__init__(name="cascade")
        self.retriever, self.ranker = retriever, ranker
        self._k = k

    def trace_signatures(self, request_schema: ClickSchema | None) -> dict[str, Callable]:
        """Returns the signature functions by name, traced for any batch size and length."""
        traced = {
            name: tf.function(getattr(self, name), autograph=False).get_concrete_function(**inputs)
            for name, inputs in list_inputs(request_schema).items()
        }
        return {"serving_default": traced["recommend"], **traced}

    def recommend(
        self,
        session_items: tf.Tensor,
        dense: tf.Tensor | None = None,
        sparse: tf.Tensor | None = None,
    ) -> Answer:
        """Answers the sessions `session_items`, see the class."""
        return self._rank(*self.retriever.find_rows(session_items), dense, sparse)

    def recommend_excluding(
        self,
        session_items: tf.Tensor,
        exclude_items: tf.Tensor,
        dense: tf.Tensor | None = None,
        sparse: tf.Tensor | None = None,
    ) -> Answer:
        """Answers the sessions with other items than `exclude_items`, see the class."""
        found = self.retriever.find_rows(session_items, exclude_items)
        return self._rank(*found, dense, sparse)

    def _rank(
        self,
        rows: tf.Tensor,
        retrieval_scores: tf.Tensor,
        dense: tf.Tensor | None,
        sparse: tf.Tensor | None,
    ) -> Answer:
        probabilities = self.ranker.score(rows, dense, sparse)
        # Of equal elements `top_k` takes the first.
        scores, places = tf.math.top_k(tf.where(rows > 0, probabilities, -math.inf), self._k)
        return {
            "items": tf.gather(self.retriever.item_ids, tf.gather(rows, places, batch_dims=1)),
            "scores": scores,
            "retrieval_scores": tf.gather(retrieval_scores, places, batch_dims=1),
        }


def _repeat(encoded: Encoded, times: tf.Tensor) -> Encoded:
    """Returns the features of each request for `times` candidates, one after the other."""
    weights = encoded.weights
    if weights is not None:
        weights = tf.repeat(weights, times, axis=0)
    return Encoded(encoded.features, tf.repeat(encoded.rows, times, axis=0), weights)


def _no_features(items: tf.Tensor) -> Encoded:
    return Encoded((), tf.zeros([tf.shape(items)[0], 0], tf.int32))
