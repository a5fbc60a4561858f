"""Exact ranks of two baselines that any session model has to beat: popularity and last-item Markov.

Sessions come as `rows` int32 `[N]` with `offsets` int64 `[S + 1]` (session `s` is
`rows[offsets[s]:offsets[s + 1]]`), as vocabulary rows: row 0 is padding and no item. Every click
that has a predecessor in its session is one event, and its rank among the candidates is exact under
the tie rules of `tfrec_zoo.metrics.ranking`. All counts are sparse: nothing is of the size V x V.
"""

import numpy as np

from tfrec_zoo.metrics.ranking import ranks_from_counts


def next_item_events(
    rows: np.ndarray, offsets: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lists the predictions that sessions ask for, in the order of the clicks.

    Args:
        rows: int `[N]`, the clicks of all sessions.
        offsets: int `[S + 1]`, where each session begins, and the end.

    Returns:
        `current` and `target`, int `[E]`, the last click seen and the click to predict, and
        `positions`, int64 `[E]`, the session's clicks up to the current one (1, 2, ...).

    Raises:
        ValueError: offsets that do not span the rows.
    """
    rows, offsets = np.asarray(rows), np.asarray(offsets)
    if not offsets.size or offsets[0] != 0 or offsets[-1] != rows.size:
        raise ValueError(
            f"Received session offsets that do not run from 0 to the number of clicks, {rows.size}."
        )
    has_successor = np.ones(rows.size, bool)
    lengths = np.diff(offsets)
    has_successor[offsets[1:][lengths > 0] - 1] = False
    current = np.flatnonzero(has_successor)
    positions = current - np.repeat(offsets[:-1], lengths)[current] + 1
    return rows[current], rows[current + 1], positions


def popularity_ranks(
    rows: np.ndarray,
    offsets: np.ndarray,
    counts: np.ndarray,
    tie_rule: str,
    rng: np.random.Generator | None = None,
    is_candidate: np.ndarray | None = None,
) -> np.ndarray:
    """Ranks each next item by how often the items were clicked in training.

    Args:
        rows: int `[N]`, the clicks of the test sessions.
        offsets: int `[S + 1]`, the sessions' borders.
        counts: int `[num_rows]`, the training clicks of each vocabulary row.
        tie_rule: as in `ranks_from_counts`, and `rng` likewise.
        rng: the source of the `random` rule's draws.
        is_candidate: bool `[num_rows]`, the rows to rank among; by default all but row 0.

    Returns:
        float64 `[E]`, a rank for each event of `next_item_events`.

    Raises:
        ValueError: rows outside of the vocabulary, arrays that do not fit, an unknown tie rule.
    """
    _, target, _ = next_item_events(rows, offsets)
    counts = np.asarray(counts)
    is_candidate = _candidates(is_candidate, counts.size)
    _check_rows(target, counts.size)
    candidate_counts = np.sort(counts[is_candidate])
    above = np.searchsorted(candidate_counts, counts[target], side="right")
    below = np.searchsorted(candidate_counts, counts[target], side="left")
    num_equal_others = above - below - is_candidate[target]
    return ranks_from_counts(candidate_counts.size - above, num_equal_others, tie_rule, rng)


def markov_ranks(
    rows: np.ndarray,
    offsets: np.ndarray,
    train_rows: np.ndarray,
    train_offsets: np.ndarray,
    num_rows: int,
    tie_rule: str,
    rng: np.random.Generator | None = None,
    is_candidate: np.ndarray | None = None,
) -> np.ndarray:
    """Ranks each next item by how often it followed the current one in the training sessions.

    The score of candidate `j` after item `i` is the number of training clicks on `j` whose
    predecessor in the session is a click on `i`; all candidates that never followed `i` share the
    score 0, so that the tie rule decides on those.

    Args:
        rows: int `[N]`, the clicks of the test sessions.
        offsets: int `[S + 1]`, the sessions' borders.
        train_rows: int `[N']`, the clicks of the training sessions.
        train_offsets: int `[S' + 1]`, the training sessions' borders.
        num_rows: the vocabulary's rows, padding row 0 included.
        tie_rule: as in `ranks_from_counts`, and `rng` likewise.
        rng: the source of the `random` rule's draws.
        is_candidate: bool `[num_rows]`, the rows to rank among; by default all but row 0.

    Returns:
        float64 `[E]`, a rank for each event of `next_item_events`.

    Raises:
        ValueError: rows outside of the vocabulary, arrays that do not fit, an unknown tie rule.
    """
    is_candidate = _candidates(is_candidate, num_rows)
    train_current, train_next, _ = next_item_events(train_rows, train_offsets)
    current, target, _ = next_item_events(rows, offsets)
    for checked in (train_current, train_next, current, target):
        _check_rows(checked, num_rows)
    train_pairs = train_current.astype(np.int64) * num_rows + train_next
    pairs, pair_counts = np.unique(train_pairs, return_counts=True)
    target_counts = _look_up(pairs, pair_counts, current.astype(np.int64) * num_rows + target)

    # The candidates that followed an item, by item and rising count, as one sorted array of keys.
    followed, successor = np.divmod(pairs, num_rows)
    base = pair_counts.max(initial=0) + 1
    keys = np.sort((followed * base + pair_counts)[is_candidate[successor]])
    current_key = current.astype(np.int64) * base
    first = np.searchsorted(keys, current_key)
    last = np.searchsorted(keys, current_key + base)
    above = np.searchsorted(keys, current_key + target_counts, side="right")
    below = np.searchsorted(keys, current_key + target_counts, side="left")
    never_followed = np.count_nonzero(is_candidate) - (last - first)
    num_equal = np.where(target_counts > 0, above - below, never_followed)
    return ranks_from_counts(last - above, num_equal - is_candidate[target], tie_rule, rng)


def _look_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The value of each wanted key, 0 where the sorted, distinct `keys` lack it."""
    if not keys.size:
        return np.zeros(wanted.shape, np.int64)
    place = np.minimum(np.searchsorted(keys, wanted), keys.size - 1)
    return np.where(keys[place] == wanted, values[place], 0)


def _candidates(is_candidate: np.ndarray | None, num_rows: int) -> np.ndarray:
    is_candidate = np.ones(num_rows, bool) if is_candidate is None else np.array(is_candidate)
    if is_candidate.dtype != bool or is_candidate.shape != (num_rows,):
        raise ValueError(
            f"Received a candidate mask of {is_candidate.dtype} {list(is_candidate.shape)}, "
            f"expected bool [{num_rows}], a value for each vocabulary row."
        )
    is_candidate[0] = False
    return is_candidate


def _check_rows(rows: np.ndarray, num_rows: int) -> None:
    if rows.size and (rows.min() < 1 or rows.max() >= num_rows):
        raise ValueError(
            f"Received clicks on the rows {rows.min()} to {rows.max()}, expected item rows from 1 "
            f"to {num_rows - 1}: drop unknown items first."
        )
