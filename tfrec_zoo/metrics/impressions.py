"""Metrics of impressions: how well what was clicked stands above what else was shown.

For one impression with the scores `s`, the clicked items `P` and the others `N`, as in the MIND
benchmark (Wu et al. 2020):

    AUC    = mean over p in P, n in N of [s_p > s_n] + [s_p = s_n] / 2
    MRR    = mean over p in P of 1 / rank_p
    NDCG@k = sum over p in P of [rank_p <= k] / log2(1 + rank_p), divided by its greatest value

`rank` counts from 1 by falling score. Of items that score the same, those that were clicked stand
last (MIND's own program leaves their order to the sort). A metric is the mean over impressions.
"""

from collections.abc import Iterable

import numpy as np


def impression_metrics(
    scores: np.ndarray, is_clicked: np.ndarray, offsets: np.ndarray, ks: Iterable[int] = (5, 10)
) -> dict[str, float]:
    """Returns `impression_auc`, `impression_mrr` and `impression_ndcg@k`, means over impressions.

    Args:
        scores: float [K], of what was shown.
        is_clicked: bool [K].
        offsets: int64 [M + 1], impression m is what stands at `offsets[m]:offsets[m + 1]`; each has
            something clicked and something not.
        ks: cut-offs.

    Raises:
        ValueError: an impression without one of both, none at all, or scores that are no numbers.
    """
    lengths = np.diff(offsets)
    if not len(lengths):
        raise ValueError("there is no impression to average over")
    if np.isnan(scores).any():
        raise ValueError("the scores of the impressions are not numbers (NaN)")
    owners = np.repeat(np.arange(len(lengths)), lengths)
    num_clicked = np.bincount(owners, weights=is_clicked, minlength=len(lengths))
    if not ((num_clicked > 0) & (num_clicked < lengths)).all():
        raise ValueError("each impression needs something that was clicked and something not")
    ranks = 1 + np.arange(len(scores)) - np.repeat(offsets[:-1], lengths)
    order = np.lexsort((is_clicked, -scores, owners))
    clicked = is_clicked[order]
    gains = np.where(clicked, 1.0 / ranks, 0.0)
    metrics = {
        "impression_auc": float(_areas(scores, is_clicked, owners, num_clicked, lengths).mean()),
        "impression_mrr": float((np.bincount(owners, weights=gains) / num_clicked).mean()),
    }
    best = ranks <= np.repeat(num_clicked, lengths)
    for k in ks:
        discounts = np.where(ranks <= k, 1.0 / np.log2(1.0 + ranks), 0.0)
        gained = np.bincount(owners, weights=clicked * discounts)
        metrics[f"impression_ndcg@{k}"] = float(
            (gained / np.bincount(owners, weights=best * discounts)).mean()
        )
    return metrics


def _areas(
    scores: np.ndarray,
    is_clicked: np.ndarray,
    owners: np.ndarray,
    num_clicked: np.ndarray,
    lengths: np.ndarray,
) -> np.ndarray:
    """Returns the AUC of each impression, float64 [M], by the sum of the clicked items' ranks."""
    order = np.lexsort((scores, owners))
    ordered, owner = scores[order], owners[order]
    is_new = np.ones(len(scores), bool)
    is_new[1:] = (ordered[1:] != ordered[:-1]) | (owner[1:] != owner[:-1])
    run = np.cumsum(is_new) - 1
    starts = np.flatnonzero(is_new)
    ends = np.append(starts[1:], len(scores))
    # Equal scores share the mean of their places.
    middles = (starts + ends - 1) / 2
    firsts = np.cumsum(lengths) - lengths
    ranks = middles[run] - firsts[owner] + 1
    sums = np.bincount(owner, weights=ranks * is_clicked[order])
    return (sums - num_clicked * (num_clicked + 1) / 2) / (num_clicked * (lengths - num_clicked))
