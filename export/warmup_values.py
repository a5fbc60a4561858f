"""Requests for warming up: what is asked most often, by the counts of the training data."""

from collections.abc import Iterable, Mapping

import numpy as np

from tfrec_zoo.data.clicks.click_schema import MISSING, CategoricalFeature, ClickSchema
from tfrec_zoo.data.news.item_catalogue import ItemCatalogue
from tfrec_zoo.export.click_inputs import (
    find_separator,
    list_number_columns,
    list_text_features,
)
from tfrec_zoo.export.warmup import Request
from tfrec_zoo.vocabulary import Vocabulary

_BATCH_SIZES = (1, 8)
_SESSION_LENGTH = 5


def make_session_requests(
    vocabulary: Vocabulary, state_dims: tuple[int, ...], signatures: list[str]
) -> list[Request]:
    """Returns requests for each signature of GRU4Rec, with sessions of popular items."""
    popular = np.argsort(-vocabulary.row_counts(), kind="stable")[:_SESSION_LENGTH].astype(np.int32)
    requests = []
    for batch_size in _BATCH_SIZES:
        rows = np.tile(popular, (batch_size, 1))
        items = vocabulary.raw_ids(rows)
        inputs = {
            "session_items": items,
            "exclude_items": items,
            "session_rows": rows,
            "item": items[:, 0],
        }
        for layer, width in enumerate(state_dims):
            inputs[f"state_{layer}"] = np.zeros((batch_size, width), np.float32)
        names = {
            "recommend_excluding": ("session_items", "exclude_items"),
            "step": ("item", *(name for name in inputs if name.startswith("state_"))),
            "recommend_rows": ("session_rows",),
        }
        for signature in signatures:
            chosen = names.get(signature, ("session_items",))
            requests.append(Request(signature, {name: inputs[name] for name in chosen}))
    return requests


def make_news_requests(
    catalogue: ItemCatalogue, signatures: Mapping[str, Iterable[str]]
) -> list[Request]:
    """Returns requests for each signature of SSR: popular items, frequent values, and none.

    Args:
        catalogue: the items.
        signatures: the names of the inputs of each.
    """
    schema, vocabulary = catalogue.schema, catalogue.vocabulary
    popular = np.argsort(-vocabulary.row_counts(), kind="stable").astype(np.int32)
    popular = popular[popular > 0][: 2 * _SESSION_LENGTH]
    requests = []
    for batch_size in _BATCH_SIZES:
        rows = np.tile(popular, (batch_size, 1))
        dense, sparse = make_click_inputs(schema, catalogue.vocabularies, batch_size)
        num_vector_numbers = schema.num_dense - len(schema.dense)
        inputs = {
            "session_rows": rows[:, :_SESSION_LENGTH],
            "session_items": vocabulary.raw_ids(rows[:, :_SESSION_LENGTH]),
            "exclude_items": vocabulary.raw_ids(rows[:, _SESSION_LENGTH:]),
            "include_items": vocabulary.raw_ids(rows),
            "dense": dense,
            "sparse": sparse,
            "vectors": np.zeros((batch_size, num_vector_numbers), np.float32),
            "ages": np.ones(batch_size, np.float32),
            "shows": np.ones(batch_size, np.float32),
            "click_lifts": np.ones(batch_size, np.float32),
        }
        for signature, names in signatures.items():
            requests.append(Request(signature, {name: inputs[name] for name in names}))
    return requests


def make_cascade_requests(
    vocabulary: Vocabulary,
    request_schema: ClickSchema | None,
    vocabularies: Mapping[str, Vocabulary],
    signatures: Mapping[str, Iterable[str]],
) -> list[Request]:
    """Returns requests for each signature of a cascade: popular items, frequent values, and none.

    Args:
        vocabulary: of the retriever's items.
        request_schema: the features of a request; None where there are none.
        vocabularies: name of a feature -> its vocabulary.
        signatures: the names of the inputs of each.
    """
    popular = np.argsort(-vocabulary.row_counts(), kind="stable").astype(np.int32)
    popular = popular[popular > 0][: 2 * _SESSION_LENGTH]
    requests = []
    for batch_size in _BATCH_SIZES:
        items = vocabulary.raw_ids(np.tile(popular, (batch_size, 1)))
        inputs = {
            "session_items": items[:, :_SESSION_LENGTH],
            "exclude_items": items[:, _SESSION_LENGTH:],
        }
        if request_schema is not None:
            inputs["dense"], inputs["sparse"] = make_click_inputs(
                request_schema, vocabularies, batch_size
            )
        for signature, names in signatures.items():
            requests.append(Request(signature, {name: inputs[name] for name in names}))
    return requests


def make_click_requests(
    schema: ClickSchema,
    vocabularies: Mapping[str, Vocabulary],
    signatures: Mapping[str, Iterable[str]],
) -> list[Request]:
    """Returns requests for each signature of DLRM: frequent values, and an example of none.

    Args:
        schema: the features.
        vocabularies: name of a feature -> its vocabulary.
        signatures: the names of the inputs of each.
    """
    requests = []
    for batch_size in _BATCH_SIZES:
        dense, sparse = make_click_inputs(schema, vocabularies, batch_size)
        inputs = {
            "dense": dense,
            "dense_text": np.where(np.isnan(dense), "", dense.astype(str)).astype(object),
            "sparse": sparse,
            "dense_values": np.zeros((batch_size, schema.num_dense), np.float32),
            "rows": np.ones((batch_size, schema.num_slots), np.int32),
            "row_weights": np.ones((batch_size, schema.num_slots), np.float32),
        }
        for signature, names in signatures.items():
            requests.append(Request(signature, {name: inputs[name] for name in names}))
    return requests


def make_click_inputs(
    schema: ClickSchema, vocabularies: Mapping[str, Vocabulary], batch_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns raw numbers float32 [B, N] and texts object [B, F] of examples; the last has none."""
    numbers = [_find_numbers(schema, column) for column in list_number_columns(schema)]
    texts = [
        _find_texts(feature, vocabularies.get(feature.name))
        for feature in list_text_features(schema)
    ]
    dense = np.full((batch_size, len(numbers)), np.nan, np.float32)
    sparse = np.full((batch_size, len(texts)), "", dtype=object)
    for example in range(max(1, batch_size - 1)):
        dense[example] = [values[example % len(values)] for values in numbers]
        sparse[example] = [values[example % len(values)] for values in texts]
    return dense, sparse


def _find_numbers(schema: ClickSchema, column: str) -> list[float]:
    """Returns numbers that a column may hold: edges of buckets, or what lies about the mean."""
    for feature in schema.categorical:
        if feature.column == column and feature.boundaries:
            return list(feature.boundaries)
    for feature in schema.dense:
        if feature.column == column and feature.is_scaled and not feature.is_log:
            return [feature.mean, feature.mean - feature.std, feature.mean + feature.std]
    return [0.0, 1.0, 2.0, 5.0, 10.0]


def _find_texts(feature: CategoricalFeature, vocabulary: Vocabulary | None) -> list[str]:
    """Returns texts of a feature, that of the most frequent value first."""
    values = ["1", "2", "3"]
    if vocabulary is not None and vocabulary.num_items:
        order = np.argsort(-vocabulary.counts, kind="stable")[: max(_BATCH_SIZES)]
        values = ["" if value == MISSING else value for value in vocabulary.ids[order]]
    separator = find_separator(feature)
    if separator is None:
        return values
    return [separator.join(values[:count]) for count in range(1, len(values) + 1)]
