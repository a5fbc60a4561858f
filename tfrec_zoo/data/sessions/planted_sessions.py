"""Artificial sessions whose best possible Recall@k and MRR@k are known.

A *world* is drawn once from a seed. Its items fall into groups; each group has a pool of `M`
successor items with Zipf weights; each item appeals to some of `G` tastes. A session has a hidden
taste `g`, drawn uniformly and kept to its end. Its first click follows the popularity `q`; after a
click on item `i` of group `c` the next one is drawn from

    P(j | i, g) = (1 - b) * u_gc(j) + b * q(j)
    u_gc(j)  ~  (1 + rank of j in the pool of c)^-a * (1 if j appeals to g, else e)
    q(j)     ~  (1 + popularity rank of j)^-p

The last click alone tells the pool, but only the earlier ones tell the taste, so that a model
without memory (a first-order Markov chain) stays clearly below the best possible predictor: the
Bayes filter `P(g | clicks)` over the tastes, mixed into `sum_g P(g | clicks) * P(j | i, g)` and
sorted. A world holds `G * M` numbers a group of items, and none a pair of items, so that catalogues
of millions of items are possible.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tfrec_zoo.config import Config, option
from tfrec_zoo.data.sessions.session_log import SessionLog

_START_OF_LOG = 1_704_067_200  # 2024-01-01 00:00 UTC
_SECONDS_A_DAY = 86_400
_MEAN_SECONDS_BETWEEN_CLICKS = 45.0
_EVENTS_A_CHUNK = 8_192


@dataclass(frozen=True, kw_only=True)
class PlantedConfig(Config):
    """What a world of planted sessions is like; the letters are those of the module's formulas."""

    num_items: int = option(2000, "items of the catalogue")
    num_tastes: int = option(6, "hidden tastes G, of which a session has one")
    tastes_per_item: int = option(2, "tastes that an item appeals to")
    items_per_group: int = option(200, "items that share one pool of successors")
    num_successors: int = option(80, "size M of a group's pool of successors")
    successor_exponent: float = option(0.8, "Zipf exponent a of the weights in a pool")
    popularity_exponent: float = option(0.8, "Zipf exponent p of the popularity q")
    background_share: float = option(0.1, "share b of the clicks that follow the popularity alone")
    off_taste_weight: float = option(0.02, "weight e of a successor that is not to the taste")
    mean_length: float = option(8.0, "mean number of clicks of a session before the cut")
    max_length: int = option(50, "number of clicks at which a session is cut")
    num_days: int = option(14, "days over which the sessions' starts are spread evenly")
    seed: int = option(0, "decides the world; the sessions drawn from it have a seed of their own")

    def __post_init__(self):
        """Refuses values that describe no world.

        Raises:
            ValueError: names the field, what was received and what is expected.
        """
        super().__post_init__()
        at_least = {
            "num_items": 2,
            "num_tastes": 1,
            "tastes_per_item": 1,
            "items_per_group": 1,
            "num_successors": 1,
            "mean_length": 2,
            "max_length": 2,
            "num_days": 1,
            "successor_exponent": 0,
            "popularity_exponent": 0,
            "seed": 0,
        }
        for name, least in at_least.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least {least}.")
        for name, most in (("tastes_per_item", "num_tastes"), ("num_successors", "num_items")):
            if getattr(self, name) > getattr(self, most):
                raise ValueError(
                    f"{name} is {getattr(self, name)}, expected at most {most}, "
                    f"{getattr(self, most)}."
                )
        for name in ("background_share", "off_taste_weight"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected more than 0, up to 1.")


class PlantedWorld:
    """The drawn tables of a world: a sampler of sessions and their best possible prediction.

    Attributes (`V` items, `C` groups, `M` successors, `G` tastes; items are numbers `0..V-1` here):
        config: the `PlantedConfig`.
        popularity: float64 `[V]`, `q`.
        items_by_popularity: int32 `[V]`, the most popular first.
        groups: int32 `[V]`, the group `c` of each item.
        successors: int32 `[C, M]`, the pool of each group, without repetition.
        successor_probabilities: float64 `[C, G, M]`, `u_gc` of the pool's items.
    """

    def __init__(self, config: PlantedConfig):
        """Draws the world that `config` and its seed describe."""
        self.config = config
        rng = np.random.default_rng(config.seed)
        num_items, num_tastes = config.num_items, config.num_tastes
        num_groups = -(-num_items // config.items_per_group)
        self.items_by_popularity = rng.permutation(num_items).astype(np.int32)
        self.popularity = np.empty(num_items)
        weights = (1.0 + np.arange(num_items)) ** -config.popularity_exponent
        self.popularity[self.items_by_popularity] = weights / weights.sum()
        self.groups = (rng.permutation(num_items) % num_groups).astype(np.int32)
        self.successors = _draw_pools(rng, num_groups, config.num_successors, num_items)
        order = rng.random((num_items, num_tastes), np.float32).argsort(axis=1)
        appeals = order < config.tastes_per_item
        weights = np.where(appeals[self.successors], 1.0, config.off_taste_weight)
        weights *= (1.0 + np.arange(config.num_successors))[:, None] ** -config.successor_exponent
        weights /= weights.sum(axis=1, keepdims=True)
        self.successor_probabilities = np.ascontiguousarray(weights.transpose(0, 2, 1))

    def sample(self, num_sessions: int, seed: int) -> SessionLog:
        """Draws sessions, in the order of their starts; the same arguments give the same sessions.

        A session has `2 + Geometric` clicks with the mean `mean_length`, cut at `max_length`. Item
        ids are `item-00042`, session ids `session-0000007`, times int64 epoch seconds that rise
        by at least 1 s a click.

        Raises:
            ValueError: fewer than one session.
        """
        if num_sessions < 1:
            raise ValueError(f"Received num_sessions={num_sessions}, expected 1 or more.")
        config = self.config
        rng = np.random.default_rng([config.seed, seed])
        extra = rng.geometric(1 / (config.mean_length - 1), num_sessions) - 1
        lengths = np.minimum(2 + extra, config.max_length)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        items = self._sample_items(rng, lengths)
        codes, distinct = pd.factorize(items)
        return SessionLog(
            item_codes=codes.astype(np.int32),
            item_ids=_format_ids("item", distinct, config.num_items),
            times=self._sample_times(rng, offsets),
            offsets=offsets.astype(np.int64),
            session_ids=_format_ids("session", np.arange(num_sessions), num_sessions),
        )

    def _sample_items(self, rng: np.random.Generator, lengths: np.ndarray) -> np.ndarray:
        """Clicks of sessions of the given lengths, one session after the other; int32 `[N]`."""
        config = self.config
        # Longest first, so that the sessions which go on are always a leading slice.
        order = np.argsort(-lengths, kind="stable")
        starts = (np.cumsum(lengths) - lengths)[order]
        tastes = rng.integers(config.num_tastes, size=lengths.size)
        popularity_ends = np.cumsum(self.popularity)
        # Row r of the cumulative probabilities is lifted by r: one sorted array, one binary search.
        pool_ends = np.cumsum(self.successor_probabilities, axis=2)
        pool_ends = (pool_ends / pool_ends[:, :, -1:]).reshape(-1, config.num_successors)
        pool_ends = (pool_ends + np.arange(len(pool_ends))[:, None]).ravel()
        items = np.empty(lengths.sum(), np.int32)
        current = _draw(rng, popularity_ends, lengths.size)
        items[starts] = current
        for position in range(1, lengths.max()):
            num_left = np.count_nonzero(lengths > position)
            row = self.groups[current[:num_left]] * config.num_tastes + tastes[:num_left]
            place = np.searchsorted(pool_ends, row + rng.random(num_left), side="right")
            place = np.clip(place - row * config.num_successors, 0, config.num_successors - 1)
            current = self.successors[row // config.num_tastes, place]
            is_background = rng.random(num_left) < config.background_share
            current[is_background] = _draw(rng, popularity_ends, is_background.sum())
            items[starts[:num_left] + position] = current
        return items

    def best_possible(self, sessions: SessionLog, ks: Iterable[int]) -> dict[str, float]:
        """Returns what the best possible predictor reaches on these very sessions.

        With the probabilities `p_1 >= p_2 >= ...` of the next item given all clicks so far, sorted,
        an event's expected recall at `k` is `p_1 + ... + p_k` and its expected reciprocal rank
        `p_1 / 1 + ... + p_k / k`; no ranking can expect more. The realised values rank the clicks
        that did follow, and scatter around the expected ones.

        Args:
            sessions: a log sampled from this world, or whole sessions of it. (Where clicks have
                been dropped, the predictor takes the clicks left for consecutive ones.)
            ks: the cut-offs.

        Returns:
            `recall@k`, `mrr@k` (expected), `realised_recall@k` and `realised_mrr@k` for each
            cut-off, averaged over every click that has a predecessor, and their number,
            `num_test_events`.

        Raises:
            ValueError: no cut-off, one below 1, no session of two clicks, an item of another world.
        """
        ks = tuple(ks)
        if not ks or min(ks) < 1:
            raise ValueError(f"Received the cut-offs {ks}, expected at least one, from 1 on.")
        items = self._item_numbers(sessions)
        events = np.flatnonzero(_has_successor(sessions.offsets))
        if not events.size:
            raise ValueError("There is no next item to predict: no session has two clicks.")
        tastes = self.taste_probabilities(sessions)
        ranks = 1 + np.arange(max(ks))
        gains = {f"recall@{k}": np.where(ranks <= k, 1.0, 0.0) for k in ks}
        gains |= {f"mrr@{k}": np.where(ranks <= k, 1.0 / ranks, 0.0) for k in ks}
        totals = dict.fromkeys([*gains, *(f"realised_{name}" for name in gains)], 0.0)
        for start in range(0, events.size, _EVENTS_A_CHUNK):
            chunk = events[start : start + _EVENTS_A_CHUNK]
            top_items, probabilities = self.rank_next(items[chunk], tastes[chunk], max(ks))
            is_hit = top_items == items[chunk + 1, None]
            for name, gain in gains.items():
                totals[name] += (probabilities @ gain[: probabilities.shape[1]]).sum()
                totals[f"realised_{name}"] += (is_hit @ gain[: is_hit.shape[1]]).sum()
        averages = {name: float(total / events.size) for name, total in totals.items()}
        return averages | {"num_test_events": int(events.size)}

    def taste_probabilities(self, sessions: SessionLog) -> np.ndarray:
        """Returns `P(g | this click and the session's earlier ones)`, float64 `[num_clicks, G]`.

        The Bayes filter: `P(g | i_1 .. i_n)` is proportional to the product of `P(i_m | i_m-1, g)`
        over `m = 2 .. n`; the first click says nothing about the taste.

        Raises:
            ValueError: an item of another world.
        """
        items = self._item_numbers(sessions)
        log_likelihoods = np.zeros((items.size, self.config.num_tastes))
        events = np.flatnonzero(_has_successor(sessions.offsets))
        for start in range(0, events.size, _EVENTS_A_CHUNK):
            chunk = events[start : start + _EVENTS_A_CHUNK]
            group, following = self.groups[items[chunk]], items[chunk + 1]
            is_place = self.successors[group] == following[:, None]
            pool = self.successor_probabilities[group, :, is_place.argmax(axis=1)]
            pool *= is_place.any(axis=1, keepdims=True)
            log_likelihoods[chunk + 1] = np.log(self._mixed(pool, following[:, None]))
        sums = np.cumsum(log_likelihoods, axis=0)
        sums -= np.repeat(sums[sessions.offsets[:-1]], np.diff(sessions.offsets), axis=0)
        sums -= sums.max(axis=1, keepdims=True)
        np.exp(sums, out=sums)
        return sums / sums.sum(axis=1, keepdims=True)

    def rank_next(
        self, items: np.ndarray, tastes: np.ndarray, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ranks the next item after each of `items`, given what is known of the taste.

        Args:
            items: int `[N]`, the last clicked items.
            tastes: float64 `[N, G]`, the probabilities of the tastes.
            k: how many of the most probable next items to return (all, if there are fewer).

        Returns:
            int32 `[N, k]`, the items, and float64 `[N, k]`, their probabilities, falling.
        """
        num_popular = min(k + self.config.num_successors, self.config.num_items)
        popular = self.items_by_popularity[:num_popular]
        groups, group_of_item = np.unique(self.groups[items], return_inverse=True)
        is_in_pool = np.stack([np.isin(popular, self.successors[group]) for group in groups])
        pool_items = self.successors[self.groups[items]]
        pool = np.einsum("ng,ngm->nm", tastes, self.successor_probabilities[self.groups[items]])
        background = np.where(is_in_pool, -1.0, self._mixed(0.0, popular))
        popular = np.broadcast_to(popular, (items.size, num_popular))
        candidates = np.concatenate([pool_items, popular], axis=1)
        scores = np.concatenate([self._mixed(pool, pool_items), background[group_of_item]], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, : min(k, self.config.num_items)]
        return np.take_along_axis(candidates, order, 1), np.take_along_axis(scores, order, 1)

    def _mixed(self, pool: np.ndarray | float, items: np.ndarray) -> np.ndarray:
        share = self.config.background_share
        return (1 - share) * pool + share * self.popularity[items]

    def _item_numbers(self, sessions: SessionLog) -> np.ndarray:
        """The world's number of each click's item; int32 `[num_clicks]`."""
        ids = np.asarray(sessions.item_ids, str)
        digits = np.char.replace(ids, "item-", "", 1)
        is_known = np.char.startswith(ids, "item-") & np.char.isdecimal(digits)
        numbers = np.where(is_known, digits, "-1").astype(np.int64)
        is_known &= numbers < self.config.num_items
        if not is_known.all():
            raise ValueError(
                f"Received the item {str(ids[~is_known][0])!r}, expected one of the "
                f"{self.config.num_items} items of this planted world, such as 'item-00042'."
            )
        return numbers.astype(np.int32)[sessions.item_codes]

    def _sample_times(self, rng: np.random.Generator, offsets: np.ndarray) -> np.ndarray:
        num_sessions = len(offsets) - 1
        starts = np.sort(rng.integers(self.config.num_days * _SECONDS_A_DAY, size=num_sessions))
        gaps = 1 + rng.exponential(_MEAN_SECONDS_BETWEEN_CLICKS - 1, offsets[-1]).astype(np.int64)
        elapsed = np.cumsum(gaps)
        firsts = starts - elapsed[offsets[:-1]] + _START_OF_LOG
        return elapsed + np.repeat(firsts, np.diff(offsets))


def _draw_pools(
    rng: np.random.Generator, num_groups: int, pool_size: int, num_items: int
) -> np.ndarray:
    """Pools without repetition that use every item about equally often; int32 `[C, M]`."""
    pools_a_shuffle = num_items // pool_size
    num_shuffles = -(-num_groups // pools_a_shuffle)
    shuffles = [
        rng.permutation(num_items)[: pools_a_shuffle * pool_size].reshape(-1, pool_size)
        for _ in range(num_shuffles)
    ]
    return np.concatenate(shuffles)[:num_groups].astype(np.int32)


def _draw(rng: np.random.Generator, ends: np.ndarray, size: int) -> np.ndarray:
    """Draws int32 `[size]` places from the cumulative probabilities `ends`."""
    places = np.searchsorted(ends, rng.random(size) * ends[-1], side="right")
    return np.minimum(places, len(ends) - 1).astype(np.int32)


def _has_successor(offsets: np.ndarray) -> np.ndarray:
    """Which clicks are not the last of their session; bool `[num_clicks]`."""
    has_successor = np.ones(offsets[-1], bool)
    has_successor[offsets[1:] - 1] = False
    return has_successor


def _format_ids(prefix: str, numbers: np.ndarray, count: int) -> np.ndarray:
    digits = np.char.zfill(numbers.astype(str), max(5, len(str(count - 1))))
    return np.char.add(f"{prefix}-", digits).astype(object)
