"""Exact ranks under a tie rule, and the ranking metrics made of them.

Every metric here is an average over *events*: one event is one prediction of one relevant item, the
target `t`, among the candidates. With the scores `s`, the rank of the target is

    rank = 1 + #{j != t: s_j > s_t} + tie(#{j != t: s_j = s_t})

where `tie(n)` is set by the tie rule: 0 (`optimistic`), `n` (`pessimistic`), `n / 2` (`expected`)
or a uniform integer of `[0, n]` (`random`). A rank is never below 1, whether or not the target
itself is among the candidates. All metrics are micro-averages: each event counts the same.
"""

from collections.abc import Iterable
from types import MappingProxyType

import numpy as np

TIE_RULES = ("optimistic", "pessimistic", "expected", "random")

TIE_RULE_ALIASES = MappingProxyType(
    {
        "standard": "optimistic",
        "conservative": "pessimistic",
        "median": "expected",
        "tiebreaking": "random",
    }
)


def resolve_tie_rule(tie_rule: str) -> str:
    """Returns the name of `TIE_RULES` that a tie rule's own or peer name stands for.

    Raises:
        ValueError: the name is neither one of `TIE_RULES` nor a key of `TIE_RULE_ALIASES`.
    """
    name = TIE_RULE_ALIASES.get(tie_rule, tie_rule)
    if name not in TIE_RULES:
        known = ", ".join([*TIE_RULES, *TIE_RULE_ALIASES])
        raise ValueError(f"Unknown tie rule {tie_rule!r}: choose one of {known}.")
    return name


def ranks_from_counts(
    num_greater: np.ndarray,
    num_equal_others: np.ndarray,
    tie_rule: str,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Turns the counts of better and equal candidates into ranks.

    Args:
        num_greater: int `[N]`, the candidates other than the target that score strictly above it.
        num_equal_others: int `[N]`, the candidates other than the target that score exactly as it.
        tie_rule: one of `TIE_RULES` or a peer's name for it (`TIE_RULE_ALIASES`).
        rng: the source of the `random` rule's draws; needed by that rule only.

    Returns:
        float64 `[N]`, ranks from 1 on; whole numbers except under `expected`.

    Raises:
        ValueError: an unknown tie rule, differing shapes, negative counts, `random` without `rng`.
    """
    rule = resolve_tie_rule(tie_rule)
    num_greater = np.asarray(num_greater)
    num_equal_others = np.asarray(num_equal_others)
    if num_greater.shape != num_equal_others.shape:
        raise ValueError(
            f"Received counts of the shapes {num_greater.shape} and {num_equal_others.shape}, "
            "expected one of each for every event."
        )
    if num_greater.size and min(num_greater.min(), num_equal_others.min()) < 0:
        raise ValueError("Received a negative count of candidates, expected counts from 0 on.")
    if rule == "optimistic":
        ties = np.zeros(num_greater.shape)
    elif rule == "pessimistic":
        ties = num_equal_others
    elif rule == "expected":
        ties = num_equal_others / 2
    elif rng is None:
        raise ValueError(
            "The tie rule 'random' needs a random generator: pass rng=np.random.default_rng(seed)."
        )
    else:
        ties = rng.integers(0, num_equal_others, endpoint=True)
    return 1.0 + num_greater + ties


def recall_at(ranks: np.ndarray, k: int) -> float:
    """Returns the share of events whose target is among the first `k`: `mean[rank <= k]`.

    Args:
        ranks: float or int `[N]`, ranks from 1 on (`inf` for a target that is certainly a miss).
        k: the cut-off, 1 or more.

    Raises:
        ValueError: no events, a rank below 1 or not a number, or a cut-off below 1.
    """
    ranks, k = _checked(ranks, k)
    return float(np.mean(ranks <= k))


def mrr_at(ranks: np.ndarray, k: int) -> float:
    """Returns the mean reciprocal rank cut at `k`: `mean[1 / rank if rank <= k else 0]`.

    Arguments and errors as in `recall_at`.
    """
    ranks, k = _checked(ranks, k)
    return float(np.mean(np.where(ranks <= k, 1.0 / ranks, 0.0)))


def ndcg_at(ranks: np.ndarray, k: int) -> float:
    """Returns the normalised discounted cumulative gain at `k` for one relevant item an event.

    The ideal gain is then 1, so that the value is `mean[1 / log2(1 + rank) if rank <= k else 0]`.
    Arguments and errors as in `recall_at`.
    """
    ranks, k = _checked(ranks, k)
    return float(np.mean(np.where(ranks <= k, 1.0 / np.log2(1.0 + ranks), 0.0)))


def ranking_metrics(ranks: np.ndarray, ks: Iterable[int]) -> dict[str, float]:
    """Returns `{"recall@k", "mrr@k", "ndcg@k"}` for each cut-off of `ks`, in that order.

    Arguments and errors as in `recall_at`; `ks` must not be empty.
    """
    ks = tuple(ks)
    if not ks:
        raise ValueError("Received no cut-off, expected at least one, such as k=20.")
    metrics = {}
    for k in ks:
        metrics[f"recall@{k}"] = recall_at(ranks, k)
        metrics[f"mrr@{k}"] = mrr_at(ranks, k)
        metrics[f"ndcg@{k}"] = ndcg_at(ranks, k)
    return metrics


def metrics_by_position(
    ranks: np.ndarray, positions: np.ndarray, ks: Iterable[int], last_position: int = 10
) -> dict[str, dict[str, float]]:
    """Breaks the metrics down by the number of clicks that a prediction could see.

    Args:
        ranks: float or int `[N]`, ranks from 1 on.
        positions: int `[N]`, the clicks of the session before the target: 1, 2, 3, ...
        ks: the cut-offs.
        last_position: this position and all after it share the last group.

    Returns:
        From "1", "2", ... to "10+" (for `last_position` 10), groups without an event left out, to
        `ranking_metrics` and the number of events, `num_events`.

    Raises:
        ValueError: as `ranking_metrics`; a position below 1; one position an event is not given.
    """
    positions = np.asarray(positions)
    if positions.size and positions.min() < 1:
        raise ValueError(f"Received the position {positions.min()}, expected 1 or more.")
    names = [str(position) for position in range(1, last_position)] + [f"{last_position}+"]
    return _grouped_metrics(ranks, np.minimum(positions, last_position) - 1, names, ks)


def popularity_bins(counts: np.ndarray, num_bins: int = 5) -> np.ndarray:
    """Sorts items into bins of equal event share: bin 0 the most popular, and the fewest, items.

    The items are put in the order of falling counts (equal counts: rising row). An item whose
    clicks take the places `[a, b)` in that order of all clicks falls into the bin that holds the
    middle of the interval, `floor(num_bins * (a + b) / (2 * total))`. Items that were never clicked
    are in the last bin. An item with more than `1 / num_bins` of all clicks may leave a bin empty.

    Args:
        counts: int `[num_rows]`, the clicks of each row in the training data.
        num_bins: the number of bins.

    Returns:
        int32 `[num_rows]`, the bin of each row.

    Raises:
        ValueError: no bins, or counts that are negative or all zero.
    """
    counts = np.asarray(counts, np.float64)
    if num_bins < 1:
        raise ValueError(f"Received num_bins={num_bins}, expected 1 or more.")
    if not counts.size or counts.min() < 0 or not counts.any():
        raise ValueError("Popularity bins need training counts from 0 on, some of them above 0.")
    order = np.argsort(-counts, kind="stable")
    ends = np.cumsum(counts[order])
    middles = (ends - counts[order] / 2) / ends[-1]
    bins = np.empty(counts.shape, np.int32)
    bins[order] = np.minimum(middles * num_bins, num_bins - 1).astype(np.int32)
    return bins


def metrics_by_popularity(
    ranks: np.ndarray,
    target_rows: np.ndarray,
    counts: np.ndarray,
    ks: Iterable[int],
    num_bins: int = 5,
) -> dict[str, dict[str, float]]:
    """Breaks the metrics down by how popular the target is in the training data.

    Args:
        ranks: float or int `[N]`, ranks from 1 on.
        target_rows: int `[N]`, the row of each event's target.
        counts: int `[num_rows]`, the clicks of each row in the training data.
        ks: the cut-offs.
        num_bins: the number of bins of `popularity_bins`.

    Returns:
        From "1" (the most popular targets) to `str(num_bins)`, bins without an event left out, to
        `ranking_metrics` and the number of events, `num_events`.

    Raises:
        ValueError: as `ranking_metrics` and `popularity_bins`; one target an event is not given.
    """
    bins = popularity_bins(counts, num_bins)[np.asarray(target_rows)]
    return _grouped_metrics(ranks, bins, [str(bin_ + 1) for bin_ in range(num_bins)], ks)


def _grouped_metrics(
    ranks: np.ndarray, groups: np.ndarray, names: list[str], ks: Iterable[int]
) -> dict[str, dict[str, float]]:
    ranks, ks = np.asarray(ranks), tuple(ks)
    if ranks.shape != groups.shape:
        raise ValueError(
            f"Received {ranks.size} ranks and {groups.size} groups, expected as many of each."
        )
    if not ranks.size:
        raise ValueError("There is no event to average over: the test sessions hold no next item.")
    breakdown = {}
    for group, name in enumerate(names):
        selected = ranks[groups == group]
        if selected.size:
            breakdown[name] = {"num_events": selected.size, **ranking_metrics(selected, ks)}
    return breakdown


def _checked(ranks: np.ndarray, k: int) -> tuple[np.ndarray, int]:
    ranks = np.asarray(ranks, np.float64)
    if not ranks.size:
        raise ValueError("There is no event to average over: the test sessions hold no next item.")
    if not ranks.min() >= 1:
        raise ValueError(f"Received the rank {ranks.min()}, expected numbers from 1 on.")
    if k < 1:
        raise ValueError(f"Received the cut-off k={k}, expected 1 or more.")
    return ranks, k
