"""Artificial clicks whose best possible AUC and log loss are known.

A *world* is drawn once from a seed. An example has counts `x_d`, one value of each single-valued
feature and a bag of values of each multi-valued one, all independent, values with Zipf frequencies:

    P(value v) ~ (1 + v)^-p
    t_d        = log(1 + x_d) - its mean
    logit      = bias + sum_d a_d t_d + sum_f b_f + sum_{f < g} <u_f, u_g>
    click      ~ Bernoulli(1 / (1 + exp(-logit)))

`b_f` and the latent vector `u_f` of a feature are those of its value, or pooled over its bag; one
more latent vector, linear in the `t_d`, meets the others as if it were a feature's. Each `b_f` and
`u_f` is 0 in the mean over the values, so that no model without interactions gets at the last sum,
while a DLRM with the dot interaction can represent all of it. A value that is missing or never seen
has `b_f = 0` and `u_f = 0`.

No prediction has a lower expected log loss, nor ranks better in the mean, than the logit itself.
"""

import dataclasses

import numpy as np

from tfrec_zoo.data.clicks.click_schema import CategoricalFeature, ClickSchema, DenseFeature
from tfrec_zoo.data.clicks.click_shards import ClickRows
from tfrec_zoo.data.clicks.planted_clicks_config import PlantedClicksConfig

_NUM_REFERENCE_ROWS = 50_000
_ROWS_A_CHUNK = 16_384
_BISECTIONS = 60
# Counts are rounded down from exp(N(mean, std)): about one in ten is 0.
_LOG_COUNT_MEAN, _LOG_COUNT_STD = 1.5, 1.2
_MAX_COUNT = 100_000
_BAG_WEIGHTS = (0.5, 1.0, 1.5, 2.0)
_SEPARATOR, _WEIGHT_SEPARATOR = "|", ":"


class PlantedClickWorld:
    """The drawn numbers of a world: a sampler of clicks and their best possible prediction.

    Attributes (`R` rows of all tables, one table after the other; `L` the width of `u`):
        config: the `PlantedClicksConfig`.
        schema: the `ClickSchema` of the examples: dense `x1`, ..., single-valued `c1`, ...,
            multi-valued `bag1`, ...; value `v` has row `v + 1`.
        bias: of the logit.
        tables: float64 `[R, 1 + L]`, `b` and `u` of each row; 0 for row 0 of a feature.
        dense_weights: float64 `[Dn, 1 + L]`, what each `t_d` adds to the logit and to its vector.
        dense_means: float64 `[Dn]`, the means of log(1 + x).
    """

    def __init__(self, config: PlantedClicksConfig):
        """Draws the world that `config` and its seed describe."""
        self.config = config
        self.schema = _make_schema(config)
        rng = np.random.default_rng(config.seed)
        width = 1 + config.latent_dim
        num_values = (*config.value_counts, *config.bag_value_counts)
        self._frequencies = [_zipf(count, config.zipf_exponent) for count in num_values]
        tables = []
        for frequencies in self._frequencies:
            table = rng.normal(size=(len(frequencies), width))
            tables += [np.zeros((1, width)), table - frequencies @ table]
        self.tables = np.concatenate(tables)
        self.dense_weights = rng.normal(size=(config.num_dense, width))
        self.dense_means = np.zeros(config.num_dense)
        self.bias = 0.0
        self._calibrate(self._sample_features(rng, _NUM_REFERENCE_ROWS))

    def _calibrate(self, rows: ClickRows) -> None:
        """Scales the drawn numbers so that `rows` have the configured spreads and click rate."""
        self.dense_means = rows.dense.mean(axis=0, dtype=np.float64)
        first, second = self._logit_parts(rows)
        scales = np.full(1 + self.config.latent_dim, self.config.interaction_spread / second.std())
        # A product of two vectors grows with the square of their scale.
        scales **= 0.5
        scales[0] = self.config.first_order_spread / first.std()
        self.tables *= scales
        self.dense_weights *= scales
        logits = self.true_logits(rows)
        low, high = -logits.max() - 40.0, -logits.min() + 40.0
        for _ in range(_BISECTIONS):
            self.bias = (low + high) / 2
            if _probabilities(logits + self.bias).mean() < self.config.click_rate:
                low = self.bias
            else:
                high = self.bias

    def sample(self, num_rows: int, seed: int) -> ClickRows:
        """Draws examples in memory, fit for a model; the same arguments give the same ones.

        Raises:
            ValueError: fewer than one example.
        """
        if num_rows < 1:
            raise ValueError(f"Received num_rows={num_rows}, expected 1 or more.")
        rng = np.random.default_rng([self.config.seed, seed])
        rows = self._sample_features(rng, num_rows)
        is_click = rng.random(num_rows) < _probabilities(self.true_logits(rows))
        return dataclasses.replace(rows, labels=is_click.astype(np.float32))

    def _sample_features(self, rng: np.random.Generator, num_rows: int) -> ClickRows:
        config, schema = self.config, self.schema
        counts = np.exp(rng.normal(_LOG_COUNT_MEAN, _LOG_COUNT_STD, (num_rows, config.num_dense)))
        counts = np.minimum(np.floor(counts), _MAX_COUNT).astype(np.float32)
        rows = np.empty((num_rows, schema.num_slots), np.int32)
        weights = np.ones((num_rows, schema.num_slots), np.float32)
        for feature, start, frequencies in zip(
            schema.categorical, schema.slot_offsets, self._frequencies, strict=False
        ):
            slots = slice(start, start + feature.max_values)
            values = _draw(rng, frequencies, (num_rows, feature.max_values))
            if feature.max_values > 1:
                rows[:, slots], weights[:, slots] = self._fill_bags(rng, 1 + values)
            else:
                rows[:, slots] = 1 + values
        return ClickRows(
            labels=np.zeros(num_rows, np.float32),
            dense=np.log1p(counts),
            rows=rows,
            row_weights=weights if schema.needs_row_weights else None,
        )

    def _fill_bags(
        self, rng: np.random.Generator, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Cuts candidates `[n, max_values]` to bags of distinct rows; returns rows and weights."""
        num_rows, max_values = rows.shape
        is_there = np.arange(max_values) < rng.integers(max_values + 1, size=(num_rows, 1))
        for slot in range(1, max_values):
            is_there[:, slot] &= (rows[:, :slot] != rows[:, slot, None]).all(axis=1)
        # Values first, padding behind them.
        order = np.argsort(~is_there, axis=1, kind="stable")
        is_there = np.take_along_axis(is_there, order, axis=1)
        rows = np.where(is_there, np.take_along_axis(rows, order, axis=1), 0)
        weights = is_there.astype(np.float32)
        if self.config.weighted_bags:
            weights *= rng.choice(np.asarray(_BAG_WEIGHTS, np.float32), size=weights.shape)
        if self.config.pooling == "mean":
            weights /= np.maximum(weights.sum(axis=1, keepdims=True), _BAG_WEIGHTS[0])
        return rows, weights

    def true_logits(self, rows: ClickRows) -> np.ndarray:
        """Returns the log-odds of a click of each example; float64 `[n]`.

        Args:
            rows: examples of this world, with the rows of its own schema (those of a prepared
                folder are numbered in another order).

        Raises:
            ValueError: they are not of this world's schema.
        """
        self._check_rows(rows)
        first, second = self._logit_parts(rows)
        return self.bias + first + second

    def _logit_parts(self, rows: ClickRows) -> tuple[np.ndarray, np.ndarray]:
        """Returns the sum of the first-order effects and that of the interactions; `[n]` each."""
        parts = np.empty((2, rows.num_rows))
        table_sizes = [feature.num_rows for feature in self.schema.categorical]
        slots_of = [feature.max_values for feature in self.schema.categorical]
        table_starts = np.repeat(np.cumsum(table_sizes) - table_sizes, slots_of)
        for start in range(0, rows.num_rows, _ROWS_A_CHUNK):
            chunk = slice(start, start + _ROWS_A_CHUNK)
            values = self.tables[table_starts + rows.rows[chunk]]
            if rows.row_weights is not None:
                values *= rows.row_weights[chunk, :, None]
            pooled = np.add.reduceat(values, self.schema.slot_offsets[:-1], axis=1)
            dense = (rows.dense[chunk] - self.dense_means) @ self.dense_weights
            pooled = np.concatenate([dense[:, None], pooled], axis=1)
            total = pooled.sum(axis=1)
            parts[0, chunk] = total[:, 0]
            squares = (total[:, 1:] ** 2).sum(axis=1) - (pooled[:, :, 1:] ** 2).sum(axis=(1, 2))
            parts[1, chunk] = squares / 2
        return parts[0], parts[1]

    def _check_rows(self, rows: ClickRows) -> None:
        sizes = np.repeat(
            [feature.num_rows for feature in self.schema.categorical],
            [feature.max_values for feature in self.schema.categorical],
        )
        received = (rows.dense.shape[1], rows.rows.shape[1], rows.row_weights is not None)
        wanted = (self.schema.num_dense, self.schema.num_slots, self.schema.needs_row_weights)
        if received != wanted or (rows.rows < 0).any() or (rows.rows >= sizes).any():
            raise ValueError(
                "Received rows of another schema, expected examples of this planted world: "
                f"{wanted[0]} dense numbers and {wanted[1]} slots."
            )

    def best_possible(self, rows: ClickRows) -> dict[str, float]:
        """Returns what the best possible predictor, the true probability, reaches on `rows`.

        With the true probabilities `p_i`, the expected log loss is the mean of their entropies
        `-p log p - (1 - p) log(1 - p)`, and the expected AUC is the expected number of pairs of a
        click and another example that the logits rank right (a half for equal ones), divided by
        the expected number of pairs. The realised values are those of the labels that were drawn,
        and scatter around the expected ones.

        Args:
            rows: examples of this world, see `true_logits`.

        Returns:
            `auc`, `log_loss` (expected), `realised_auc`, `realised_log_loss` and `num_rows`. AUC is
            NaN where all labels are equal.

        Raises:
            ValueError: no example, or examples of another world.
        """
        if not rows.num_rows:
            raise ValueError("There is nothing to predict: received no rows.")
        logits = self.true_logits(rows)
        probabilities = _probabilities(logits)
        labels = rows.labels.astype(np.float64)
        return {
            "auc": _rank_area(logits, probabilities),
            "log_loss": _mean_loss(logits, probabilities),
            "realised_auc": _rank_area(logits, labels),
            "realised_log_loss": _mean_loss(logits, labels),
            "num_rows": rows.num_rows,
        }


def _make_schema(config: PlantedClicksConfig) -> ClickSchema:
    dense = [DenseFeature(f"x{d}", f"x{d}", "log") for d in range(1, 1 + config.num_dense)]
    categorical = [
        CategoricalFeature(f"c{number}", f"c{number}", 1 + count)
        for number, count in enumerate(config.value_counts, 1)
    ]
    categorical += [
        CategoricalFeature(
            f"bag{number}",
            f"bag{number}",
            1 + count,
            max_values=config.max_values,
            pooling=config.pooling,
            is_weighted=config.weighted_bags,
            separator=_SEPARATOR,
            weight_separator=_WEIGHT_SEPARATOR if config.weighted_bags else None,
        )
        for number, count in enumerate(config.bag_value_counts, 1)
    ]
    return ClickSchema(tuple(dense), tuple(categorical))


def _zipf(count: int, exponent: float) -> np.ndarray:
    weights = (1.0 + np.arange(count)) ** -exponent
    return weights / weights.sum()


def _draw(rng: np.random.Generator, frequencies: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Draws places of `frequencies`, int64 of `shape`."""
    ends = np.cumsum(frequencies)
    places = np.searchsorted(ends, rng.random(shape) * ends[-1], side="right")
    return np.minimum(places, len(ends) - 1)


def _probabilities(logits: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0.0, -logits))


def _mean_loss(logits: np.ndarray, targets: np.ndarray) -> float:
    """The mean cross-entropy of `logits` where each click happens with the chance `targets`."""
    return float((np.logaddexp(0.0, logits) - targets * logits).mean())


def _rank_area(logits: np.ndarray, clicks: np.ndarray) -> float:
    """The area under the ROC curve of `logits` where each click happens with the chance `clicks`.

    It is a ratio of expected numbers of pairs; an example makes no pair with itself.
    """
    values, group = np.unique(logits, return_inverse=True)
    clicks_of = np.bincount(group, clicks, minlength=len(values))
    others_of = np.bincount(group, 1.0 - clicks, minlength=len(values))
    others_below = np.cumsum(others_of) - others_of
    itself = (clicks * (1.0 - clicks)).sum()
    pairs = clicks_of.sum() * others_of.sum() - itself
    right = (clicks_of * (others_below + others_of / 2)).sum() - itself / 2
    return float(right / pairs) if pairs > 0 else float("nan")
