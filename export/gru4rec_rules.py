"""The rules for exports of GRU4Rec: its signatures, and answers as Python's and as promised.

Answers are compared by their scores within `_TOLERANCE`: kernels of other shapes add in another
order, and items that are so near to each other may change places.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfrec_zoo.export.conformance import (
    Export,
    Rule,
    require,
    require_close,
    require_signatures,
)
from tfrec_zoo.export.restore import RestoredGRU4Rec

_TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}
_UNKNOWN = "\x01unknown\x01"
_LENGTHS = (1, 2, 3, 5, 8, 13)

Sessions = list[list[str]]
# Items [B, K] and their scores [B, K].
Answer = tuple[np.ndarray, np.ndarray]


class Reference:
    """The Python model's answers, click by click and by a full sort."""

    def __init__(self, restored: RestoredGRU4Rec, k: int) -> None:
        """Takes the model and the number of items in an answer."""
        self.model = restored.model
        self.vocabulary = restored.vocabulary
        self.k = k

    def score(self, session: Sequence[str]) -> np.ndarray:
        """Returns the scores [V + 1] of all rows after a session."""
        states = self.model.initial_state(1)
        rows = self.vocabulary.rows(np.array(session, dtype=object))
        for row in rows[rows > 0]:
            vector, states = self.model(tf.constant([row]), states)
        if rows.any():
            return self.model.score(vector)[0].numpy()
        counts = self.vocabulary.row_counts()
        return counts / max(counts.sum(), 1)

    def compare(
        self, sessions: Sequence[Sequence[str]], answer: Answer, excluded: Sequence[str] = ()
    ) -> None:
        """Raises an error unless the answer has the best items with their scores."""
        for session, items, scores in zip(sessions, *answer, strict=True):
            expected = self.score(session)
            expected[[0, *self.vocabulary.rows(np.array(excluded, dtype=object))]] = -np.inf
            best = np.sort(expected)[::-1][: self.k]
            best = np.append(best, np.full(self.k - len(best), -np.inf))
            _require_close(scores, best, "the best scores")
            rows = self.vocabulary.rows(items.astype(object))
            require(
                len(set(rows[rows > 0])) == (scores > -np.inf).sum(), "an item is answered twice"
            )
            _require_close(scores, np.where(rows > 0, expected[rows], -np.inf), "the items' scores")


def check_signatures(export: Export) -> str:
    """The signatures have the inputs and outputs, types and shapes, of GRU4Rec."""
    text, number, row = "DT_STRING", "DT_FLOAT", "DT_INT32"
    k = export.config["export"]["k"]
    layers = list(enumerate(export.config["model"]["hidden_dims"]))
    answer = {"items": (text, [-1, k]), "scores": (number, [-1, k])}
    session = {"session_items": (text, [-1, -1])}
    recommend = (session, answer)
    expected = {
        "serving_default": recommend,
        "recommend": recommend,
        "recommend_excluding": ({**session, "exclude_items": (text, [-1, -1])}, answer),
        "step": (
            {"item": (text, [-1]), **{f"state_{i}": (number, [-1, h]) for i, h in layers}},
            {**answer, **{f"next_state_{i}": (number, [-1, h]) for i, h in layers}},
        ),
        "recommend_rows": (
            {"session_rows": (row, [-1, -1])},
            {"rows": (row, [-1, k]), "scores": (number, [-1, k])},
        ),
    }
    require_signatures(export, expected)
    return f"{len(expected)} signatures, k={k}"


def check_python_answers(export: Export) -> str:
    """`recommend` and `recommend_rows` answer as the Python model does."""
    reference = _reference(export)
    sessions = _draw_sessions(reference, _LENGTHS)
    reference.compare(sessions, _recommend(export, sessions))
    rows = reference.vocabulary.rows(_pad(sessions))
    answer = export.ask("recommend_rows", session_rows=rows)
    items = reference.vocabulary.raw_ids(answer["rows"])
    reference.compare(sessions, (items, answer["scores"]))
    source = "the run's checkpoint" if export.run_dir else "its own weights"
    return f"{2 * len(sessions)} sessions by {source}"


def check_steps(export: Export) -> str:
    """Clicks sent one by one to `step` are answered as the session sent to `recommend`."""
    reference = _reference(export)
    clicks = [*_draw_sessions(reference, [6])[0], _UNKNOWN, ""]
    widths = enumerate(export.config["model"]["hidden_dims"])
    states = {f"state_{layer}": np.zeros((1, width), np.float32) for layer, width in widths}
    for number, click in enumerate(clicks, start=1):
        answer = export.ask("step", item=np.array([click], dtype=object), **states)
        _require_same(_take(answer), _recommend(export, [clicks[:number]]), f"click {number}")
        states = {name: answer[f"next_{name}"] for name in states}
    return f"{len(clicks)} clicks"


def check_padding(export: Export) -> str:
    """Unknown items and "", at the end or anywhere, change no answer."""
    sessions = _draw_sessions(_reference(export), (2, 4))
    plain = _recommend(export, sessions)
    changed = [["", *session[:1], _UNKNOWN, "", *session[1:]] for session in sessions]
    _require_same(_recommend(export, changed, padding=0), plain, "with unknown items and gaps")
    _require_same(_recommend(export, sessions, padding=30), plain, "padded by 30")
    return "gaps, unknown items, padding by 30"


def check_batching(export: Export) -> str:
    """A session is answered alike alone, in any batch, and as a server pads it.

    TensorFlow Serving pads a shorter row with the row's own first element; a client that puts ""
    in front of its sessions is not affected.
    """
    sessions = [["", *session] for session in _draw_sessions(_reference(export), _LENGTHS)]
    together = _recommend(export, sessions)
    for number, session in enumerate(sessions):
        alone = tuple(part[number : number + 1] for part in together)
        _require_same(_recommend(export, [session]), alone, f"session {number} alone")
    longest = max(map(len, sessions))
    padded = [session + session[:1] * (longest - len(session)) for session in sessions]
    _require_same(_recommend(export, padded), together, "padded as a server does")
    return f"{len(sessions)} sessions"


def check_empty_session(export: Export) -> str:
    """A session without a known item gets the most popular items and their shares of clicks."""
    reference = _reference(export)
    for session in ([], [""], [_UNKNOWN, ""]):
        reference.compare([session], _recommend(export, [session]))
    return "without items, padding only, unknown only"


def check_exclusion(export: Export) -> str:
    """Excluded items never come back; where few are left the answer is shorter and padded."""
    reference = _reference(export)
    sessions = [*_draw_sessions(reference, (3, 2)), []]
    k = reference.k
    best = _recommend(export, sessions)[0]
    some = [*dict.fromkeys(best[:, : max(1, k // 2)].ravel()), _UNKNOWN, ""]
    reference.compare(sessions, _recommend(export, sessions, excluded=some), some)
    all_but_some = reference.vocabulary.ids[min(3, k - 1) :].tolist()
    answer = _recommend(export, sessions, excluded=all_but_some)
    reference.compare(sessions, answer, all_but_some)
    return f"{len(some) - 2} and {len(all_but_some)} items excluded"


GRU4REC_RULES = tuple(
    map(
        Rule.of,
        (
            check_signatures,
            check_python_answers,
            check_steps,
            check_padding,
            check_batching,
            check_empty_session,
            check_exclusion,
        ),
    )
)


def _reference(export: Export) -> Reference:
    return Reference(export.restored, export.config["export"]["k"])


def _draw_sessions(reference: Reference, lengths: Sequence[int]) -> Sessions:
    rng = np.random.default_rng(len(lengths))
    return [list(rng.choice(reference.vocabulary.ids, length)) for length in lengths]


def _pad(sessions: Sessions, padding: int = 0) -> np.ndarray:
    """Returns string [B, T], with `padding` columns more than the longest session needs."""
    length = max(map(len, sessions)) + padding
    items = np.full((len(sessions), length), "", dtype=object)
    for line, session in zip(items, sessions, strict=True):
        line[: len(session)] = session
    return items


def _recommend(
    export: Export, sessions: Sessions, padding: int = 0, excluded: Sequence[str] | None = None
) -> Answer:
    items = _pad(sessions, padding)
    if excluded is None:
        return _take(export.ask("recommend", session_items=items))
    exclude_items = np.tile(np.array(excluded, dtype=object), (len(sessions), 1))
    return _take(
        export.ask("recommend_excluding", session_items=items, exclude_items=exclude_items)
    )


def _take(answer: dict[str, np.ndarray]) -> Answer:
    return np.vectorize(bytes.decode, otypes=[object])(answer["items"]), answer["scores"]


def _require_same(answer: Answer, expected: Answer, when: str) -> None:
    """Raises an error unless items and scores are the same, but for ties."""
    _require_close(answer[1], expected[1], f"the scores {when}")
    for items, scores, other_items, other_scores in zip(*answer, *expected, strict=True):
        known = dict(zip(other_items, other_scores, strict=True))
        # An item that only one of them has can only be one that ties for the last place.
        beside = np.array([known.get(item, other_scores[-1]) for item in items])
        _require_close(scores, beside, f"the items {when}")


def _require_close(scores: np.ndarray, expected: np.ndarray, what: str) -> None:
    require_close(scores, expected, what, **_TOLERANCE)
