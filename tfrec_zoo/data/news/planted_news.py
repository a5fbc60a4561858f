"""Artificial news whose best possible Recall@k and MRR@k are known.

A *world* is drawn once from a seed. Time is cut into periods. Items appear at the start of each and
are there for some periods, so that in the last period some items have never been there before. A
word `w` has a taste vector `t_w` of length 1, and some words, the fillers, have none. The title of
an item is drawn around a hidden topic, and its taste is what its words say, nothing else:

    v_i ~ sum of t_w over the words of the title, brought to length 1

so that whoever knows the words knows the taste of an item that nobody has clicked. There are R
kinds of readers with tastes `u_r` of length 1. A session belongs to one period and one reader,
drawn uniformly, and clicks items that are there, each once:

    P(i | r, clicks) ~ exp(b * u_r . v_i)  over the items that are there and not yet clicked

The best possible prediction is the Bayes filter: `P(r | clicks)` is proportional to the product of
the probabilities of the clicks, and items are sorted by `sum_r P(r | clicks) * P(i | r, clicks)`.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from tfrec_zoo.data.news.hit_sums import HitSums
from tfrec_zoo.data.news.planted_news_config import PlantedNewsConfig
from tfrec_zoo.data.sessions.session_log import SessionLog

START_OF_LOG = 1_704_067_200  # 2024-01-01 00:00 UTC
PERIOD_SECONDS = 3_600

_SESSIONS_A_CHUNK = 512


class PlantedNewsWorld:
    """The drawn tables of a world: a sampler of sessions, and their best possible prediction.

    Attributes (`V` items, in the order in which they appear, are numbers `0..V-1` here):
        config: the `PlantedNewsConfig`.
        births: int64 `[V]`, the first period of each item.
        titles: int32 `[V, W]`, the words of each title; fillers are numbers behind the words.
        tastes: float64 `[V, D]`, `v_i`.
        readers: float64 `[R, D]`, `u_r`.
        item_ids: object `[V]`.
    """

    def __init__(self, config: PlantedNewsConfig):
        """Draws the world that `config` and its seed describe."""
        self.config = config
        rng = np.random.default_rng(config.seed)
        # Items that are there in the first period have appeared before it.
        first = 1 - config.lifetime
        self.births = np.repeat(np.arange(first, config.num_periods), config.items_per_period)
        num_items = len(self.births)
        words = _draw_directions(rng, config.num_words, config.taste_dim)
        topics = _draw_directions(rng, num_items, config.taste_dim)
        self.titles = self._draw_titles(rng, words, topics)
        vectors = np.concatenate([words, np.zeros((config.num_fillers, config.taste_dim))])
        self.tastes = _to_length_1(vectors[self.titles].sum(axis=1))
        self.readers = _draw_directions(rng, config.num_readers, config.taste_dim)
        self.item_ids = _format_ids("news", np.arange(num_items), num_items)
        self._weights = np.exp(config.choice_sharpness * self.readers @ self.tastes.T)

    @property
    def num_items(self) -> int:
        """The number of items of all periods, V."""
        return len(self.births)

    @property
    def last_period_time(self) -> int:
        """When the last period begins, in seconds: where to split by time."""
        return self.period_time(self.config.num_periods - 1)

    def period_time(self, period: int) -> int:
        """Returns when a period begins, in seconds since 1970-01-01."""
        return START_OF_LOG + PERIOD_SECONDS * period

    def alive_items(self, period: int) -> np.ndarray:
        """Returns the numbers of the items that are there in a period, int64 [A]."""
        ages = period - self.births
        return np.flatnonzero((ages >= 0) & (ages < self.config.lifetime))

    def candidate_ids(self, period: int) -> np.ndarray:
        """Returns the ids of the items that are there in a period, object [A]."""
        return self.item_ids[self.alive_items(period)]

    def sample_log(
        self, sessions_per_period: int, seed: int, periods: Iterable[int] | None = None
    ) -> SessionLog:
        """Draws sessions.

        Args:
            sessions_per_period: of each period.
            seed: of these sessions.
            periods: to draw from; None: all.
        """
        config = self.config
        rng = np.random.default_rng((config.seed, seed))
        items, lengths, times = [], [], []
        for period in range(config.num_periods) if periods is None else periods:
            alive = self.alive_items(period)
            readers = rng.integers(config.num_readers, size=sessions_per_period)
            found = rng.integers(config.min_length, config.max_length + 1, sessions_per_period)
            # The greatest sums of logarithms and Gumbel noise, in their order, are draws without
            # replacement.
            scores = np.log(self._weights[readers[:, None], alive])
            scores += rng.gumbel(size=scores.shape)
            order = np.argsort(-scores, axis=1)[:, : config.max_length]
            is_click = np.arange(config.max_length) < found[:, None]
            items.append(alive[order][is_click])
            lengths.append(found)
            # All of a session lies in its period.
            shares = np.sort(rng.random((sessions_per_period, config.max_length)), axis=1)
            seconds = self.period_time(period) + (shares * PERIOD_SECONDS).astype(np.int64)
            times.append(seconds[is_click])
        lengths = np.concatenate(lengths)
        codes, item_numbers = _number(np.concatenate(items))
        return SessionLog(
            item_codes=codes,
            item_ids=self.item_ids[item_numbers],
            times=np.concatenate(times),
            offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
            session_ids=_format_ids("session", np.arange(len(lengths)), len(lengths)),
        )

    def best_possible(
        self,
        log: SessionLog,
        ks: Iterable[int] = (1, 5, 10, 20),
        *,
        targets: str = "all",
        seen_ids: np.ndarray | None = None,
    ) -> dict[str, float]:
        """Returns what the Bayes filter reaches: candidates are what is there and not yet clicked.

        Args:
            log: sessions of this world, whole.
            ks: cut-offs.
            targets: `all` positions but the first, or the `last` one.
            seen_ids: object [m], the items that occur in training, to tell the others apart.

        Returns:
            `recall@k` and `mrr@k`: the expected value, which no predictor exceeds; `realised_...`:
            what the filter reaches on these very targets; with `seen_ids` both also as
            `unseen_...`, of the targets that are not among them, for the same lists: a predictor
            that prefers what is new may reach more there, and less elsewhere. `num_targets`, and
            `num_unseen_targets`.

        Raises:
            ValueError: an item of another world, or one that is not there at its time.
        """
        if targets not in ("all", "last"):
            raise ValueError(f"targets must be one of all, last, got {targets!r}")
        is_unseen = None if seen_ids is None else ~np.isin(self.item_ids, seen_ids)
        sums = HitSums(tuple(ks), is_unseen)
        items = self.find_numbers(log.item_ids)[log.item_codes]
        periods = (log.start_times() - START_OF_LOG) // PERIOD_SECONDS
        for period in np.unique(periods):
            sessions = np.flatnonzero(periods == period)
            for start in range(0, len(sessions), _SESSIONS_A_CHUNK):
                chosen = sessions[start : start + _SESSIONS_A_CHUNK]
                self._add_sessions(log, items, chosen, int(period), targets, sums)
        return sums.averages()

    def rank_next(self, clicks: np.ndarray, period: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns what may come after clicks: items by falling probability.

        Args:
            clicks: int [n], the numbers of the items that a session has clicked, one or more.
            period: of the session.

        Returns:
            Numbers of items, int64 [A], and their probabilities, float64 [A]; 0 for those clicked.
        """
        alive = self.alive_items(period)
        places = np.searchsorted(alive, clicks)[None]
        *_, (probabilities,) = self._filter(alive, places, np.array([len(clicks)]))
        order = np.argsort(-probabilities, kind="stable")
        return alive[order], probabilities[order]

    def find_numbers(self, item_ids: np.ndarray) -> np.ndarray:
        """Returns the numbers of items, int64 [n]; ValueError for ids of another world."""
        order = np.argsort(self.item_ids)
        places = np.searchsorted(self.item_ids[order], item_ids)
        numbers = order[np.minimum(places, self.num_items - 1)]
        is_wrong = self.item_ids[numbers] != item_ids
        if is_wrong.any():
            raise ValueError(
                f"Received the item {item_ids[is_wrong][0]!r}, expected one of the "
                f"{self.num_items} items of this planted world, such as {self.item_ids[0]!r}."
            )
        return numbers

    def _draw_titles(
        self, rng: np.random.Generator, words: np.ndarray, topics: np.ndarray
    ) -> np.ndarray:
        config = self.config
        ends = np.cumsum(np.exp(config.word_focus * topics @ words.T), axis=1)
        draws = rng.random((len(topics), config.title_words)) * ends[:, -1:]
        chosen = np.stack([np.searchsorted(e, d) for e, d in zip(ends, draws, strict=True)])
        shape = (len(topics), config.title_fillers)
        fillers = config.num_words + rng.integers(max(config.num_fillers, 1), size=shape)
        titles = np.concatenate([np.minimum(chosen, config.num_words - 1), fillers], axis=1)
        return rng.permuted(titles, axis=1).astype(np.int32)

    def _add_sessions(
        self,
        log: SessionLog,
        items: np.ndarray,
        sessions: np.ndarray,
        period: int,
        targets: str,
        sums: HitSums,
    ) -> None:
        alive = self.alive_items(period)
        lengths = log.lengths[sessions]
        columns = np.arange(lengths.max())
        is_click = columns < lengths[:, None]
        clicks = items[np.where(is_click, log.offsets[sessions][:, None] + columns, 0)]
        places = np.minimum(np.searchsorted(alive, clicks), len(alive) - 1)
        is_wrong = is_click & (alive[places] != clicks)
        if is_wrong.any():
            raise ValueError(
                f"Received a click on {self.item_ids[clicks[is_wrong][0]]!r}, which is not there "
                f"in period {period} of this planted world."
            )
        for position, probabilities in enumerate(self._filter(alive, places, lengths - 1), start=1):
            is_target = lengths == position + 1 if targets == "last" else lengths > position
            chosen = np.flatnonzero(is_target)
            if len(chosen):
                sums.add(probabilities[chosen], places[chosen, position], alive)

    def _filter(
        self, alive: np.ndarray, places: np.ndarray, lengths: np.ndarray
    ) -> Iterator[np.ndarray]:
        """Yields, after the first click, the second ..., what comes next: float64 [n, A].

        Args:
            alive: int64 [A], the items that are there.
            places: int [n, T], the place in `alive` of each click.
            lengths: int [n], the clicks of each session, T at most; what is yielded for a session
                after its last click but one means nothing.
        """
        weights = self._weights[:, alive]
        rest = np.repeat(weights.sum(axis=1)[None], len(places), axis=0)
        log_posterior = np.zeros(rest.shape)
        is_open = np.ones((len(places), len(alive)))
        for position in range(int(lengths.max())):
            chosen = weights[:, places[:, position]].T
            log_posterior += np.log(chosen / rest)
            # Behind a session's end, where nothing is meant, nothing may be left.
            rest = np.maximum(rest - chosen, 1e-12)
            is_open[np.arange(len(places)), places[:, position]] = 0
            posterior = np.exp(log_posterior - log_posterior.max(axis=1, keepdims=True))
            posterior /= posterior.sum(axis=1, keepdims=True)
            yield (posterior / rest) @ weights * is_open


def _draw_directions(rng: np.random.Generator, count: int, width: int) -> np.ndarray:
    return _to_length_1(rng.normal(size=(count, width)))


def _to_length_1(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _number(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns int32 codes [N], and the distinct values in the order of their first appearance."""
    distinct, first, codes = np.unique(values, return_index=True, return_inverse=True)
    order = np.argsort(first)
    places = np.empty(len(order), np.int32)
    places[order] = np.arange(len(order), dtype=np.int32)
    return places[codes], distinct[order]


def _format_ids(prefix: str, numbers: np.ndarray, count: int) -> np.ndarray:
    digits = np.char.zfill(numbers.astype(str), max(5, len(str(count - 1))))
    return np.char.add(f"{prefix}-", digits).astype(object)
