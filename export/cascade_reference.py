"""What cascades are compared with: the two Python models one after the other, and a sort."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfrec_zoo.data.clicks.click_schema import ClickSchema
from tfrec_zoo.data.clicks.click_shards import ClickRows
from tfrec_zoo.export.cascade_items import split_schema
from tfrec_zoo.export.click_reference import TOLERANCES, ExampleEncoder, Examples
from tfrec_zoo.export.conformance import Export, require, require_close
from tfrec_zoo.export.gru4rec_rules import Reference as GRU4RecReference
from tfrec_zoo.export.restored import RestoredDLRM, RestoredSSR
from tfrec_zoo.export.session_checks import Sessions, pad_sessions, require_near
from tfrec_zoo.export.ssr_reference import SessionReference

# Candidates whose scores are so near to that of the last one may be in its place.
_NEAR = {"rtol": 1e-4, "atol": 1e-5}


@dataclass(frozen=True)
class Answers:
    """Answers to sessions: items object [B, K], scores and retrieval scores float32 [B, K]."""

    items: np.ndarray
    scores: np.ndarray
    retrieval_scores: np.ndarray


class CascadeReference:
    """The Python models' answers, and the export's.

    Attributes:
        vocabulary: the retriever's items.
        ranker: the Python model that ranks.
        item_schema: the features that are the item's.
        request_schema: the others; None where there are none.
        items: the item's features as the export has them, of each row of the retriever.
        k: number of items in an answer.
        num_candidates: number of items that are ranked for it.
    """

    def __init__(self, export: Export) -> None:
        """Takes an export of a cascade."""
        about = export.config["export"]
        self.k, self.num_candidates = about["k"], about["num_candidates"]
        self._export = export
        retriever, self.ranker = export.parts["retriever"], export.parts["ranker"]
        if isinstance(retriever, RestoredSSR):
            self._retriever = SessionReference(export, retriever)
        else:
            self._retriever = GRU4RecReference(retriever, self.num_candidates)
        self.vocabulary = self._retriever.vocabulary
        self.item_schema, self.request_schema = split_schema(
            self.ranker.schema, about["item_features"]
        )
        self.items = _read_items(export)
        self._encoder = None
        if self.request_schema is not None:
            self._encoder = ExampleEncoder(self.request_schema, self.ranker.vocabularies)

    def draw_requests(self, count: int) -> Examples:
        """Returns random values of the request's features, `count` times."""
        if self._encoder is None:
            nothing = np.zeros((count, 0))
            return Examples(nothing.astype(np.float32), nothing.astype(object), nothing)
        return self._encoder.draw().take(np.arange(count))

    def ask(
        self,
        sessions: Sessions,
        requests: Examples,
        excluded: Sequence[str] | None = None,
        signature: str = "recommend",
    ) -> Answers:
        """Returns the export's answers; the same items are excluded for all."""
        inputs = {"session_items": pad_sessions(sessions)}
        if excluded is not None:
            signature = "recommend_excluding"
            inputs["exclude_items"] = pad_sessions([list(excluded)] * len(sessions))
        features = {"dense": requests.dense, "sparse": requests.sparse}
        inputs |= {name: values for name, values in features.items() if values.shape[1]}
        answer = self._export.ask(signature, **inputs)
        items = np.vectorize(bytes.decode, otypes=[object])(answer["items"])
        return Answers(items, answer["scores"], answer["retrieval_scores"])

    def retrieve(self, session: Sequence[str], excluded: Sequence[str] = ()) -> np.ndarray:
        """Returns the retriever's scores [V + 1] of all rows; -inf for what is no candidate."""
        if isinstance(self._retriever, SessionReference):
            return self._retriever.score(session, excluded)
        scores = self._retriever.score(session)
        scores[[0, *self.vocabulary.rows(np.array(excluded, dtype=object))]] = -np.inf
        return scores

    def rank(self, rows: np.ndarray, request: Examples) -> np.ndarray:
        """Returns the click probabilities [n] of the items in `rows`, for one request."""
        parts = [(self.item_schema, self.items.take(rows))]
        if self._encoder is not None:
            encoded = self._encoder.encode(request)
            parts.append((self.request_schema, encoded.take(np.zeros(len(rows), np.int64))))
        return score_rows(self.ranker, join_rows(self.ranker.schema, parts))

    def compare(
        self,
        sessions: Sessions,
        requests: Examples,
        answers: Answers,
        excluded: Sequence[str] = (),
    ) -> None:
        """Raises an error unless the answers are the best candidates with their scores."""
        for number, session in enumerate(sessions):
            self._compare_one(
                self.retrieve(session, excluded),
                requests.take(np.array([number])),
                answers.items[number],
                answers.scores[number],
                answers.retrieval_scores[number],
            )

    def _compare_one(
        self,
        expected: np.ndarray,
        request: Examples,
        items: np.ndarray,
        scores: np.ndarray,
        retrieval_scores: np.ndarray,
    ) -> None:
        best = np.sort(expected[expected > -np.inf])[::-1][: self.num_candidates]
        rows = self.vocabulary.rows(items.astype(object))
        count = min(self.k, len(best))
        require((rows > 0).sum() == count, f"{(rows > 0).sum()} items are answered, not {count}")
        require((rows[:count] > 0).all(), "a place before an item is empty")
        require(len(set(rows[:count])) == count, "an item is answered twice")
        require(
            (scores[count:] == -np.inf).all() and (retrieval_scores[count:] == -np.inf).all(),
            "an empty place has a score",
        )
        if not count:
            return
        answered, scores, retrieval_scores = rows[:count], scores[:count], retrieval_scores[:count]
        require_near(retrieval_scores, expected[answered], "the retrieval scores")
        margin = _NEAR["atol"] + _NEAR["rtol"] * abs(best[-1])
        require(
            (expected[answered] >= best[-1] - margin).all(),
            "an item is answered that is no candidate",
        )
        tolerance = TOLERANCES[self.ranker.experiment.model.precision]
        require_close(scores, self.rank(answered, request), "the probabilities", **tolerance)
        require((np.diff(scores) <= 0).all(), "the answers are not in the order of their scores")
        certain = np.flatnonzero(expected > best[-1] + margin)
        certain_scores = np.sort(self.rank(certain, request))[::-1][:count]
        margins = tolerance["atol"] + tolerance["rtol"] * certain_scores
        require(
            (scores[: len(certain_scores)] >= certain_scores - margins).all(),
            "a more probable candidate is not answered",
        )


def join_rows(schema: ClickSchema, parts: list[tuple[ClickSchema, ClickRows]]) -> ClickRows:
    """Returns examples whose features are in several parts, each with its own schema."""
    num_rows = parts[0][1].num_rows
    dense = np.zeros((num_rows, schema.num_dense), np.float32)
    rows = np.zeros((num_rows, schema.num_slots), np.int32)
    weights = np.ones(rows.shape, np.float32) if schema.needs_row_weights else None
    slots = {f.name: s for f, s in zip(schema.categorical, schema.slot_offsets, strict=False)}
    places = {feature.name: place for place, feature in enumerate(schema.dense)}
    for part, content in parts:
        for place, feature in enumerate(part.dense):
            dense[:, places[feature.name]] = content.dense[:, place]
        for feature, start in zip(part.categorical, part.slot_offsets, strict=False):
            source = slice(start, start + feature.max_values)
            target = slice(slots[feature.name], slots[feature.name] + feature.max_values)
            rows[:, target] = content.rows[:, source]
            if content.row_weights is not None:
                weights[:, target] = content.row_weights[:, source]
    return ClickRows(np.zeros(num_rows, np.float32), dense, rows, weights)


def score_rows(ranker: RestoredDLRM, examples: ClickRows) -> np.ndarray:
    """Returns the Python model's click probabilities of examples, [n]."""
    weights = None if examples.row_weights is None else tf.constant(examples.row_weights)
    logits = ranker.model(tf.constant(examples.dense), tf.constant(examples.rows), weights)
    return tf.sigmoid(logits).numpy()


def _read_items(export: Export) -> ClickRows:
    """Returns the item's features as the variables of an export have them."""
    reader = tf.train.load_checkpoint(str(export.path / "variables" / "variables"))
    known = reader.get_variable_to_shape_map()

    def read(name: str) -> np.ndarray | None:
        key = f"ranker/{name}/.ATTRIBUTES/VARIABLE_VALUE"
        return reader.get_tensor(key) if key in known else None

    rows = read("item_rows")
    labels = np.zeros(len(rows), np.float32)
    return ClickRows(labels, read("item_dense"), rows, read("item_weights"))
