"""What answers lose where tables are stored as float16 or int8: the same requests to both graphs.

One graph is that of the model as it was trained, the other is the one that is exported. On test
data both get their metrics; without any there are the errors on random requests alone.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from tfrec_zoo.data.clicks.click_shards import ClickRows, ClickTable
from tfrec_zoo.data.clicks.prepared_clicks import PreparedClicks, is_prepared_clicks
from tfrec_zoo.data.log_format import SessionColumns
from tfrec_zoo.data.sessions.session_log import Sessions, read_session_log
from tfrec_zoo.experiments import SessionLogConfig
from tfrec_zoo.export.click_reference import ExampleEncoder
from tfrec_zoo.export.quantized_weights import PLAIN
from tfrec_zoo.export.restored import AnyRestored, RestoredDLRM, RestoredGRU4Rec
from tfrec_zoo.metrics.clicks import log_loss, roc_auc
from tfrec_zoo.metrics.ranking import mrr_at, recall_at
from tfrec_zoo.vocabulary import Vocabulary

# Of `export` in an export's config.json.
LOSS_KEY = "table_loss"

Signature = Callable[..., Mapping[str, tf.Tensor]]
Loss = dict[str, Any]

_BATCH_SIZE = 64
_CLICK_BATCH_SIZE = 4096
_NUM_SESSIONS, _LONGEST_SESSION = 500, 8
# The next numbers to 0 and 1 that float32 has beside 1: what probabilities are taken for, at most.
_SMALLEST_PROBABILITY = 2.0**-24


def describe_loss(
    restored: AnyRestored,
    plain: Callable,
    signatures: Mapping[str, Callable],
    table_format: str,
    test: Sequence[str] = (),
) -> Loss:
    """Measures what is lost, and says so in one line; see the two functions below.

    Args:
        restored: the model.
        plain: `recommend_rows` or `predict_rows` of the module with the model's own tables.
        signatures: those of the module which is exported.
        table_format: how its tables are stored.
        test: raw logs; none: random requests, or of a DLRM what its run has prepared.

    Raises:
        ValueError: a log cannot be read.
    """
    is_click_model = isinstance(restored, RestoredDLRM)
    exported = signatures["predict_rows" if is_click_model else "recommend_rows"]
    arguments, named = exported.structured_input_signature
    plain = tf.function(plain, autograph=False).get_concrete_function(*arguments, **named)
    if is_click_model:
        pieces = read_test_clicks(test, restored)
        loss = measure_click_loss(plain, exported, pieces, table_format)
    else:
        is_gru4rec = isinstance(restored, RestoredGRU4Rec)
        vocabulary = restored.vocabulary if is_gru4rec else restored.catalogue.vocabulary
        sessions = None
        if test:
            sessions = read_test_sessions(test, restored.experiment.data, vocabulary)
        loss = measure_session_loss(plain, exported, vocabulary, table_format, sessions)
    report_loss(loss, table_format)
    return loss


def measure_session_loss(
    plain: Signature,
    exported: Signature,
    vocabulary: Vocabulary,
    table_format: str,
    sessions: Sessions | None = None,
) -> Loss:
    """Returns how the answers of two graphs to sessions differ.

    Args:
        plain: `recommend_rows` of the model with its own tables.
        exported: that of the graph which is exported, with as many items an answer.
        vocabulary: of the items.
        table_format: how the tables are stored.
        sessions: test sessions, of which every click but the first is a next item; None: random
            ones.

    Returns:
        `num_requests`; `same_items@K`, the share of the best K that both answer; of the scores of
        these `mean_score_error` and `largest_score_error`. Of test sessions also the metrics of
        both, `recall@K` and `mrr@K`, under their formats' names.
    """
    if sessions is None:
        answers = _ask_both(plain, exported, _draw_sessions(vocabulary))
        return _compare_answers(answers, table_format, None)
    events = [
        sessions.rows[start : click + 1]
        for start, stop in zip(sessions.offsets[:-1], sessions.offsets[1:], strict=True)
        for click in range(start + 1, stop)
    ]
    # Those of one length together, so that little is padding.
    events.sort(key=len)
    targets = np.array([event[-1] for event in events])
    answers = _ask_both(plain, exported, [event[:-1] for event in events])
    return _compare_answers(answers, table_format, targets)


def measure_click_loss(
    plain: Signature, exported: Signature, pieces: Iterable[ClickTable], table_format: str
) -> Loss:
    """Returns how the probabilities of two graphs differ.

    Args:
        plain: `predict_rows` of the model with its own tables.
        exported: that of the graph which is exported.
        pieces: the examples; with labels that are not NaN there are metrics, too.
        table_format: how the tables are stored.

    Returns:
        `num_requests`, `mean_probability_error`, `largest_probability_error`; of labelled examples
        `auc` and `log_loss` of both under their formats' names.
    """
    labels, weights, found = [], [], []
    for piece in _cut(pieces):
        inputs = {"rows": piece.rows, "dense_values": piece.dense, "row_weights": piece.row_weights}
        inputs = {
            name: tf.constant(value)
            for name, value in inputs.items()
            if value is not None and value.shape[1]
        }
        found.append([ask(**inputs)["click_probability"].numpy() for ask in (plain, exported)])
        labels.append(piece.labels)
        weights.append(np.ones(piece.num_rows) if piece.weights is None else piece.weights)
    labels, weights = np.concatenate(labels), np.concatenate(weights)
    before, after = np.concatenate(found, axis=1).astype(np.float64)
    errors = np.abs(after - before)
    loss = {
        "num_requests": len(labels),
        "mean_probability_error": float(errors.mean()),
        "largest_probability_error": float(errors.max()),
    }
    if not np.isnan(labels).any():
        for name, values in ((PLAIN, before), (table_format, after)):
            logits = _to_logits(values)
            loss[name] = {
                "auc": roc_auc(labels, logits, weights),
                "log_loss": log_loss(labels, logits, weights),
            }
    return loss


def read_test_sessions(
    paths: Sequence[str], config: SessionLogConfig, vocabulary: Vocabulary
) -> Sessions:
    """Reads the sessions of test logs, which have the columns of the training's."""
    columns = SessionColumns(config.session_column, config.item_column, config.time_column)
    log = read_session_log(paths, columns)
    try:
        return Sessions.from_log(log, vocabulary)
    except ValueError as error:
        raise ValueError(f"{', '.join(map(str, paths))}: {error}") from None


def read_test_clicks(paths: Sequence[str], restored: RestoredDLRM) -> Iterator[ClickTable]:
    """Yields the examples of raw test logs; without any those of the run's own data.

    These are its test part, or else its validation part, where it was given raw logs; otherwise
    random examples.

    Raises:
        ValueError: the logs cannot be read, or the model has no specification of their columns.
    """
    if paths:
        yield from restored.encode_logs(paths)
        return
    part = _find_own_part(restored)
    if part is not None:
        yield part
        return
    encoder = ExampleEncoder(restored.schema, restored.vocabularies)
    yield encoder.encode(encoder.draw())


def report_loss(loss: Loss, table_format: str) -> None:
    """Says in one line what `measure_...` has found."""
    parts = []
    for name, before in loss.get(PLAIN, {}).items():
        parts.append(f"{name} {before:.5f} -> {loss[table_format][name]:.5f}")
    for name, value in loss.items():
        if isinstance(value, float):
            parts.append(f"{name.replace('_', ' ')} {value:.3g}")
    logging.info(
        "--tables=%s, %s requests: %s",
        table_format,
        f"{loss['num_requests']:,}",
        ", ".join(parts),
    )


def _draw_sessions(vocabulary: Vocabulary) -> list[np.ndarray]:
    """Returns the rows of random sessions, popular items more often, of up to 8 clicks."""
    rng = np.random.default_rng(0)
    chances = (vocabulary.counts + 1.0) / (vocabulary.counts + 1.0).sum()
    lengths = rng.integers(1, _LONGEST_SESSION + 1, _NUM_SESSIONS)
    rows = 1 + rng.choice(vocabulary.num_items, lengths.sum(), p=chances)
    return np.split(rows, np.cumsum(lengths)[:-1])


def _ask_both(
    plain: Signature, exported: Signature, sessions: Iterable[np.ndarray]
) -> list[list[np.ndarray]]:
    """Returns rows and scores by `plain`, then those by `exported`, [E, K] each."""
    sessions, answers = list(sessions), []
    for start in range(0, len(sessions), _BATCH_SIZE):
        batch = sessions[start : start + _BATCH_SIZE]
        rows = np.zeros((len(batch), max(map(len, batch))), np.int32)
        for line, session in zip(rows, batch, strict=True):
            line[: len(session)] = session
        rows = tf.constant(rows)
        found = [ask(session_rows=rows) for ask in (plain, exported)]
        answers.append([part.numpy() for f in found for part in (f["rows"], f["scores"])])
    return [np.concatenate(parts) for parts in zip(*answers, strict=True)]


def _compare_answers(
    answers: Sequence[np.ndarray], table_format: str, targets: np.ndarray | None
) -> Loss:
    rows, scores, other_rows, other_scores = answers
    k = rows.shape[1]
    is_same = (rows[:, :, None] == other_rows[:, None, :]) & (rows > 0)[:, :, None]
    requests, places, other_places = np.nonzero(is_same)
    errors = np.abs(
        scores[requests, places].astype(np.float64) - other_scores[requests, other_places]
    )
    loss = {
        "num_requests": len(rows),
        f"same_items@{k}": float(len(requests) / max(np.count_nonzero(rows > 0), 1)),
        "mean_score_error": float(errors.mean()) if errors.size else 0.0,
        "largest_score_error": float(errors.max(initial=0.0)),
    }
    if targets is not None:
        for name, found in ((PLAIN, rows), (table_format, other_rows)):
            is_target = found == targets[:, None]
            ranks = np.where(is_target.any(axis=1), is_target.argmax(axis=1) + 1.0, np.inf)
            loss[name] = {f"recall@{k}": recall_at(ranks, k), f"mrr@{k}": mrr_at(ranks, k)}
    return loss


def _find_own_part(restored: RestoredDLRM) -> ClickTable | None:
    """Returns the test part of a run's own data, or else the validation part; None without one."""
    if restored.run is None or not is_prepared_clicks(restored.run.prepared_path):
        return None
    data = PreparedClicks(restored.run.prepared_path)
    for name in ("test", "validation"):
        if name in data.parts:
            return data.part(name)
    return None


def _cut(pieces: Iterable[ClickTable]) -> Iterator[ClickRows]:
    for piece in pieces:
        for start in range(0, piece.num_rows, _CLICK_BATCH_SIZE):
            yield piece.slice(start, start + _CLICK_BATCH_SIZE)


def _to_logits(probabilities: np.ndarray) -> np.ndarray:
    inside = np.clip(probabilities, _SMALLEST_PROBABILITY, 1.0 - _SMALLEST_PROBABILITY)
    return np.log(inside) - np.log1p(-inside)
