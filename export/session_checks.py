"""What the rules for models of sessions share: sessions, and the comparison of answers.

Answers are compared by their scores within `_TOLERANCE`: kernels of other shapes add in another
order, and items that are so near to each other may change places.
"""

from collections.abc import Sequence

import numpy as np

from tfrec_zoo.export.conformance import Export, require, require_close
from tfrec_zoo.vocabulary import Vocabulary

UNKNOWN = "\x01unknown\x01"
LENGTHS = (1, 2, 3, 5, 8, 13)

_TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}

Sessions = list[list[str]]
# Items [B, K] and their scores [B, K].
Answer = tuple[np.ndarray, np.ndarray]


def draw_sessions(vocabulary: Vocabulary, lengths: Sequence[int]) -> Sessions:
    """Returns random sessions of these lengths."""
    rng = np.random.default_rng(len(lengths))
    return [list(rng.choice(vocabulary.ids, length)) for length in lengths]


def pad_sessions(sessions: Sessions, padding: int = 0) -> np.ndarray:
    """Returns string [B, T], with `padding` columns more than the longest session needs."""
    length = max(map(len, sessions)) + padding
    items = np.full((len(sessions), length), "", dtype=object)
    for line, session in zip(items, sessions, strict=True):
        line[: len(session)] = session
    return items


def recommend(
    export: Export,
    sessions: Sessions,
    padding: int = 0,
    excluded: Sequence[str] | None = None,
    included: Sequence[str] | None = None,
) -> Answer:
    """Returns the answers to sessions; the same items are excluded, or included, for all."""
    inputs, signature = {"session_items": pad_sessions(sessions, padding)}, "recommend"
    if excluded is not None:
        inputs["exclude_items"], signature = _repeat(excluded, sessions), "recommend_excluding"
    if included is not None:
        inputs["include_items"], signature = _repeat(included, sessions), "recommend_including"
    return take_answer(export.ask(signature, **inputs))


def take_answer(answer: dict[str, np.ndarray]) -> Answer:
    """Returns what a signature has answered."""
    return np.vectorize(bytes.decode, otypes=[object])(answer["items"]), answer["scores"]


def require_best(
    vocabulary: Vocabulary, expected: np.ndarray, items: np.ndarray, scores: np.ndarray
) -> None:
    """Raises an error unless an answer has the best items, with their scores.

    Args:
        vocabulary: of the items.
        expected: [V + 1], the scores of all rows; -inf for those that must not be answered.
        items: object [K].
        scores: [K].
    """
    k = len(scores)
    best = np.sort(expected)[::-1][:k]
    best = np.append(best, np.full(k - len(best), -np.inf))
    require_near(scores, best, "the best scores")
    rows = vocabulary.rows(items.astype(object))
    require(len(set(rows[rows > 0])) == (scores > -np.inf).sum(), "an item is answered twice")
    require_near(scores, np.where(rows > 0, expected[rows], -np.inf), "the items' scores")


def require_same(answer: Answer, expected: Answer, when: str) -> None:
    """Raises an error unless items and scores are the same, but for ties."""
    require_near(answer[1], expected[1], f"the scores {when}")
    for items, scores, other_items, other_scores in zip(*answer, *expected, strict=True):
        known = dict(zip(other_items, other_scores, strict=True))
        # An item that only one of them has can only be one that ties for the last place.
        beside = np.array([known.get(item, other_scores[-1]) for item in items])
        require_near(scores, beside, f"the items {when}")


def require_near(values: np.ndarray, expected: np.ndarray, what: str) -> None:
    """Raises an error unless numbers are the same but for rounding."""
    require_close(values, expected, what, **_TOLERANCE)


def require_padding_invariance(export: Export, vocabulary: Vocabulary) -> str:
    """Unknown items and "", at the end or anywhere, change no answer."""
    sessions = draw_sessions(vocabulary, (2, 4))
    plain = recommend(export, sessions)
    changed = [["", *session[:1], UNKNOWN, "", *session[1:]] for session in sessions]
    require_same(recommend(export, changed), plain, "with unknown items and gaps")
    require_same(recommend(export, sessions, padding=30), plain, "padded by 30")
    return "gaps, unknown items, padding by 30"


def require_batching_invariance(export: Export, vocabulary: Vocabulary) -> str:
    """A session is answered alike alone, in any batch, and as a server pads it.

    TensorFlow Serving pads a shorter row with the row's own first element; a client that puts ""
    in front of its sessions is not affected.
    """
    sessions = [["", *session] for session in draw_sessions(vocabulary, LENGTHS)]
    together = recommend(export, sessions)
    for number, session in enumerate(sessions):
        alone = tuple(part[number : number + 1] for part in together)
        require_same(recommend(export, [session]), alone, f"session {number} alone")
    longest = max(map(len, sessions))
    padded = [session + session[:1] * (longest - len(session)) for session in sessions]
    require_same(recommend(export, padded), together, "padded as a server does")
    return f"{len(sessions)} sessions"


def _repeat(items: Sequence[str], sessions: Sessions) -> np.ndarray:
    return np.tile(np.array(items, dtype=object), (len(sessions), 1))
