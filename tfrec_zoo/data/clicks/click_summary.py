"""What is counted while click data are written, and the summary that `preparation.json` holds."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfrec_zoo.data.clicks.click_features import LearnedFeatures
from tfrec_zoo.data.clicks.click_schema import ClickSchema
from tfrec_zoo.data.clicks.click_shards import ClickRows


class PartCounts:
    """The counts of one part so far.

    Attributes:
        num_rows: examples.
        num_clicks: those with the label 1.
        num_weighted_rows: the sum of the examples' weights.
        num_weighted_clicks: the sum of the weights of those with the label 1.
        num_values: int64 [F], values of each feature.
        num_unknown: int64 [F], those outside the vocabulary, in row 0 or behind it.
        times: the oldest and the newest; None where there are none.
    """

    def __init__(self, schema: ClickSchema) -> None:
        """Begins at 0."""
        self._first_slots = np.array(schema.slot_offsets[:-1], np.int64)
        features = schema.categorical
        self._first_oov_rows = np.repeat(
            np.array([feature.first_oov_row for feature in features], np.int64),
            [feature.max_values for feature in features],
        )
        self.num_rows = self.num_clicks = 0
        self.num_weighted_rows = self.num_weighted_clicks = 0.0
        self.num_values = np.zeros(len(schema.categorical), np.int64)
        self.num_unknown = np.zeros(len(schema.categorical), np.int64)
        self.times: tuple[float, float] | None = None

    def add(self, rows: ClickRows, times: np.ndarray | None) -> None:
        """Counts examples, float64 [n] being their times."""
        self.num_rows += rows.num_rows
        self.num_clicks += int(np.count_nonzero(rows.labels))
        weights = np.ones(rows.num_rows) if rows.weights is None else rows.weights
        self.num_weighted_rows += float(weights.sum(dtype=np.float64))
        self.num_weighted_clicks += float(weights @ rows.labels)
        is_value = (
            np.ones(rows.rows.shape, bool) if rows.row_weights is None else rows.row_weights != 0
        )
        self.num_values += self._sum_slots(is_value)
        is_outside = (rows.rows == 0) | (rows.rows >= self._first_oov_rows)
        self.num_unknown += self._sum_slots(is_value & is_outside)
        if times is not None:
            found = (float(times.min()), float(times.max()))
            old = self.times or found
            self.times = (min(old[0], found[0]), max(old[1], found[1]))

    def to_dict(self) -> dict[str, Any]:
        """Returns the counts of the examples."""
        counts = {
            "num_rows": self.num_rows,
            "num_clicks": self.num_clicks,
            "click_rate": self.num_clicks / self.num_rows,
            "weighted_click_rate": self.num_weighted_clicks / max(self.num_weighted_rows, 1e-30),
        }
        return counts | ({"times": list(self.times)} if self.times else {})

    def _sum_slots(self, is_counted: np.ndarray) -> np.ndarray:
        if not len(self._first_slots):
            return np.zeros(0, np.int64)
        return np.add.reduceat(np.count_nonzero(is_counted, axis=0), self._first_slots)


def describe_features(
    learned: LearnedFeatures, num_cut: Mapping[str, int], counts: Mapping[str, PartCounts]
) -> dict[str, dict[str, Any]]:
    """Returns name of a categorical feature -> its table, and the shares of its values in row 0."""
    described = {}
    for place, feature in enumerate(learned.schema.categorical):
        found = {"kind": feature.kind, "num_rows": feature.num_rows}
        found |= learned.counts.get(feature.name, {})
        if feature.name in num_cut:
            found["num_cut_rows"] = num_cut[feature.name]
        found["unknown"] = {
            part: float(count.num_unknown[place] / max(count.num_values[place], 1))
            for part, count in counts.items()
        }
        described[feature.name] = found
    return described


def find_warnings(
    features: Mapping[str, Mapping[str, Any]], counts: Mapping[str, PartCounts]
) -> list[str]:
    """Returns a sentence on each thing that is hardly what was meant."""
    warnings = []
    for part, count in counts.items():
        if count.num_clicks in (0, count.num_rows):
            label = int(count.num_clicks > 0)
            warnings.append(
                f"all {count.num_rows:,} labels of {part} are {label}: there is nothing to rank, "
                "and the AUC is undefined"
            )
    for name, feature in features.items():
        if feature["kind"] == "vocabulary" and feature["num_rows"] == 1:
            warnings.append(
                f"feature {name} has {feature['num_values']:,} values, none of them frequent "
                "enough for a row of its own: lower min_count, or hash it"
            )
        if feature.get("num_cut_rows"):
            warnings.append(
                f"feature {name}: {feature['num_cut_rows']:,} rows have more values than "
                "max_values, and those after them are left out"
            )
    return warnings
