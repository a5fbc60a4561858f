"""Evaluates a trained DLRM on clicks: exact AUC, log loss, normalized entropy, calibration.

    tfrec-evaluate --run_dir=run --test=test.tsv.gz --slice_by=C3
    tfrec-evaluate --export=served/1 --prepared=prepared --part=test
    tfrec-evaluate --run_dir=run --test=today.tsv --predict_only --predict_to=clicks.parquet

Raw logs are read and encoded as the training data were. An export is evaluated by the weights and
the vocabularies inside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from absl import flags, logging

from tfrec_zoo.atomic_file import replace_file
from tfrec_zoo.data.clicks.click_schema import CategoricalFeature, ClickSchema
from tfrec_zoo.data.clicks.click_shards import ClickRows
from tfrec_zoo.data.clicks.click_summary import PartCounts
from tfrec_zoo.data.clicks.prepared_clicks import PreparedClicks
from tfrec_zoo.data.log_format import find_format
from tfrec_zoo.data.log_writers import write_table
from tfrec_zoo.metrics.clicks import StreamedClickMetrics, metrics_by_slice, probabilities
from tfrec_zoo.program import run_program
from tfrec_zoo.run_folder import write_json
from tfrec_zoo.trainers.evaluated_model import (
    check_model_flags,
    check_output_flags,
    define_model_flags,
    find_folder,
    restore_models,
)
from tfrec_zoo.trainers.follow import Evaluation, follow_run
from tfrec_zoo.trainers.text_table import format_lines

if TYPE_CHECKING:
    from tfrec_zoo.export.restore import RestoredDLRM

FLAGS = flags.FLAGS
# Features whose shares of unknown values are told, those with the greatest ones.
_TOLD_FEATURES = 5
SHOWN = ("auc", "log_loss", "normalized_entropy", "calibration", "accuracy")


def define_flags() -> None:
    """Defines the program's flags."""
    define_model_flags()
    flags.DEFINE_multi_string("test", [], "Raw log to evaluate on; repeatable, wildcards.")
    flags.DEFINE_string("prepared", None, "Or: folder of the prepared data of this model.")
    flags.DEFINE_string("part", "test", "Of the prepared data: test, validation or train.")
    flags.DEFINE_integer("max_bad_rows", 0, "Rows of a raw log that may be passed over.", 0)
    flags.DEFINE_string("slice_by", None, "Feature for each of whose values metrics are shown.")
    flags.DEFINE_integer("slices", 20, "Most frequent values that are shown.", lower_bound=1)
    flags.DEFINE_bool(
        "streaming", False, "Constant memory: AUC from 8000 bins of probability instead of exact."
    )
    flags.DEFINE_string("metrics_to", None, "JSON file for the metrics.")
    flags.DEFINE_string("predict_to", None, "File (.tsv, .csv, .parquet) for the probabilities.")
    flags.DEFINE_bool("predict_only", False, "No metrics: the log need not have labels.")


@dataclass
class Scored:
    """What is kept of the examples; `slices` are the rows of the feature to slice by."""

    labels: list[np.ndarray] = field(default_factory=list)
    logits: list[np.ndarray] = field(default_factory=list)
    weights: list[np.ndarray] = field(default_factory=list)
    slices: list[np.ndarray] = field(default_factory=list)

    def join(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Returns labels, logits and weights (None: all 1) of all examples."""
        weights = np.concatenate(self.weights) if self.weights else None
        return np.concatenate(self.labels), np.concatenate(self.logits), weights


def evaluate() -> None:
    """Runs the program."""
    check_flags()
    folder = find_folder()
    if FLAGS.follow:
        follow_run(folder, make_evaluation)
        return
    from tfrec_zoo.trainers.click_evaluation import ClickScorer

    results = []
    for name, restored in restore_models(folder):
        counts = PartCounts(restored.schema)
        scored, streamed = score(ClickScorer(restored.model), restored, counts)
        if FLAGS.predict_to:
            write_predictions(scored)
        if FLAGS.predict_only:
            continue
        metrics = streamed or summarize(scored, restored)
        print(f"{name}: {metrics['num_test_examples']:,} examples, click rate ", end="")
        print(f"{metrics['click_rate']:.4f}{describe_unknown(restored.schema, counts)}")
        print(format_metrics_table({"all": metrics}), end="\n\n")
        if FLAGS.slice_by:
            print(format_metrics_table(metrics["slices"]), end="\n\n")
        results.append({"checkpoint": name, **metrics})
    if FLAGS.metrics_to:
        write_json(FLAGS.metrics_to, {"results": results})


def make_evaluation(restored: RestoredDLRM) -> Evaluation:
    """Returns what evaluates the model, whose weights change from call to call."""
    from tfrec_zoo.trainers.click_evaluation import ClickScorer

    scorer = ClickScorer(restored.model)

    def evaluate_checkpoint(name: str) -> dict[str, Any]:
        logging.info("evaluating %s", name)
        scored, streamed = score(scorer, restored, PartCounts(restored.schema))
        return streamed or summarize(scored, restored)

    return evaluate_checkpoint


def check_flags() -> None:
    """Raises flags.Error where the flags do not go together."""
    check_model_flags()
    if bool(FLAGS.test) == bool(FLAGS.prepared):
        raise flags.Error("pass either --test or --prepared")
    if FLAGS.predict_only and not FLAGS.predict_to:
        raise flags.Error("--predict_only needs --predict_to")
    if FLAGS.predict_to and FLAGS.checkpoint == "all":
        raise flags.Error("--predict_to needs a single checkpoint")
    if FLAGS.streaming and (FLAGS.predict_to or FLAGS.slice_by):
        raise flags.Error("--streaming keeps no examples, as --predict_to and --slice_by need")
    if FLAGS.predict_to and find_format(FLAGS.predict_to) == "lines":
        raise flags.Error("--predict_to must end in .tsv, .csv (each also with .gz) or .parquet")
    check_output_flags("predict_to", "metrics_to")


def read_pieces(restored: RestoredDLRM) -> Iterator[ClickRows]:
    """Yields the examples to evaluate, piece by piece."""
    from tfrec_zoo.trainers.click_evaluation import iterate

    if FLAGS.prepared:
        data = PreparedClicks(FLAGS.prepared)
        if data.schema != restored.schema:
            raise ValueError(
                f"the features of {FLAGS.prepared} are not those of the model: give raw logs as "
                "--test, or the data that it was trained on"
            )
        yield from iterate(data.part(FLAGS.part))
        return
    yield from restored.encode_logs(
        FLAGS.test, max_bad_rows=FLAGS.max_bad_rows, needs_label=not FLAGS.predict_only
    )


def score(
    scorer: Any, restored: RestoredDLRM, counts: PartCounts
) -> tuple[Scored, dict[str, float] | None]:
    """Computes the logits of all examples, counted in `counts`.

    With --streaming returns their metrics alone.
    """
    scored, streamed = Scored(), StreamedClickMetrics()
    slot = None
    if FLAGS.slice_by:
        feature = find_feature(restored)
        slot = restored.schema.slot_offsets[restored.schema.categorical.index(feature)]
    for piece in read_pieces(restored):
        logits = scorer(piece)
        counts.add(piece, None)
        if FLAGS.streaming:
            streamed.update(piece.labels, logits, piece.weights)
            continue
        scored.labels.append(np.array(piece.labels))
        scored.logits.append(logits)
        if piece.weights is not None:
            scored.weights.append(np.array(piece.weights))
        if slot is not None:
            scored.slices.append(piece.rows[:, slot].copy())
    if not FLAGS.streaming:
        if not scored.labels:
            raise ValueError("there are no examples to evaluate")
        return scored, None
    return scored, {
        **streamed.result(),
        "click_rate": streamed.click_rate,
        "num_test_examples": streamed.num_examples,
    }


def describe_unknown(schema: ClickSchema, counts: PartCounts) -> str:
    """Returns the features with the greatest shares of values outside their vocabularies."""
    shares = {
        feature.name: unknown / max(values, 1)
        for feature, unknown, values in zip(
            schema.categorical, counts.num_unknown, counts.num_values, strict=True
        )
        if feature.kind == "vocabulary" and unknown
    }
    largest = sorted(shares, key=shares.get, reverse=True)[:_TOLD_FEATURES]
    told = ", ".join(f"{name} {shares[name]:.2%}" for name in largest)
    return f"; unknown values: {told}" if told else ""


def summarize(scored: Scored, restored: RestoredDLRM) -> dict[str, Any]:
    """Returns the metrics of all examples, with --slice_by also those of its `slices`."""
    from tfrec_zoo.trainers.click_evaluation import summarize

    metrics = summarize(*scored.join())
    if FLAGS.slice_by:
        metrics["slices"] = slice_metrics(scored, find_feature(restored), restored)
    return metrics


def find_feature(restored: RestoredDLRM) -> CategoricalFeature:
    """Returns the feature to slice by; ValueError where there is none of one value an example."""
    single = [feature for feature in restored.schema.categorical if feature.max_values == 1]
    for feature in single:
        if feature.name == FLAGS.slice_by:
            return feature
    raise ValueError(
        f"--slice_by={FLAGS.slice_by} is no categorical feature with one value an example, these "
        f"are {', '.join(feature.name for feature in single)}"
    )


def slice_metrics(
    scored: Scored, feature: CategoricalFeature, restored: RestoredDLRM
) -> dict[str, dict[str, float]]:
    """Returns the metrics of the most frequent values, by their names."""
    labels, logits, weights = scored.join()
    rows = np.concatenate(scored.slices)
    values, counts = np.unique(rows, return_counts=True)
    largest = values[np.argsort(-counts, kind="stable")[: FLAGS.slices]]
    is_shown = np.isin(rows, largest)
    found = metrics_by_slice(
        labels[is_shown],
        logits[is_shown],
        rows[is_shown],
        None if weights is None else weights[is_shown],
    )
    return {
        f"{feature.name}={describe_row(int(row), feature, restored)}": metrics
        for row, metrics in found.items()
    }


def describe_row(row: int, feature: CategoricalFeature, restored: RestoredDLRM) -> str:
    """Returns the value, or the values, that a row of a feature's table stands for."""
    if feature.kind == "buckets":
        if row == 0:
            return "missing"
        edges = (-np.inf, *feature.boundaries, np.inf)
        return f"[{edges[row - 1]:g}, {edges[row]:g})"
    if row == 0:
        return "unknown"
    if feature.kind == "hash":
        return f"hash {row}"
    return str(restored.vocabularies[feature.name].raw_ids(np.array([row]))[0])


def format_metrics_table(metrics: dict[str, dict[str, Any]]) -> str:
    """Returns a line for each name and its metrics."""
    lines = [("", "examples", *SHOWN)]
    for name, values in metrics.items():
        count = values.get("num_examples", values.get("num_test_examples"))
        lines.append((name, f"{count:,}", *(_format(values[metric]) for metric in SHOWN)))
    return format_lines(lines, num_left=1).rstrip("\n")


def _format(value: float) -> str:
    """Returns a metric as text; one that is not defined, as the AUC of equal labels, says so."""
    return "undefined" if np.isnan(value) else f"{value:.4f}"


def write_predictions(scored: Scored) -> None:
    """Writes the click probability of each example, in the order of the log, and its label."""
    labels, logits, _ = scored.join()
    columns = {"click_probability": pa.array(probabilities(logits).astype(np.float32))}
    if not np.isnan(labels).any():
        columns["label"] = pa.array(labels.astype(np.int32))
    path = Path(FLAGS.predict_to)
    with replace_file(path) as temporary:
        write_table(temporary, find_format(path), list(columns), [list(columns.values())])
    logging.info("%s: the click probabilities of %d examples", path, len(logits))


def main() -> None:
    """Entry of `tfrec-evaluate` for models of clicks."""
    run_program(evaluate, define_flags)


if __name__ == "__main__":
    main()
