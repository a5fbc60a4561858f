"""Evaluates a trained SSR: targets of sessions among items, and the order of what was shown.

    tfrec-evaluate --run_dir=run --test=test.tsv.gz --test_targets=last
    tfrec-evaluate --export=served/7 --test=today.tsv --items=today_items.tsv --candidates=shown \\
        --test_impressions=today_impressions.tsv

Items are those of the run or export, and those of --items, encoded as they were, so that a log can
be evaluated whose items did not exist at training time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import flags, logging

from tfrec_zoo.data.log_format import find_format
from tfrec_zoo.data.news.held_out import HeldOut
from tfrec_zoo.data.news.impression_files import read_impressions
from tfrec_zoo.data.news.impressions import ImpressionLog
from tfrec_zoo.data.sessions.session_log import SessionLog, read_session_log
from tfrec_zoo.experiments import SSRExperiment
from tfrec_zoo.metrics.ranking import resolve_tie_rule
from tfrec_zoo.program import run_program
from tfrec_zoo.run_folder import write_json
from tfrec_zoo.trainers.evaluate_sessions import define_column_flags, read_columns
from tfrec_zoo.trainers.evaluated_model import (
    check_model_flags,
    check_output_flags,
    define_model_flags,
    find_folder,
    restore_models,
)
from tfrec_zoo.trainers.follow import Evaluation, follow_run
from tfrec_zoo.trainers.gru4rec import define_metric_flags, parse_cut_offs
from tfrec_zoo.trainers.news_data import (
    SHOWN_ITEMS,
    define_candidate_flags,
    find_candidates,
    find_exposures,
    find_times,
    log_unseen,
    look_up,
    make_histories,
)
from tfrec_zoo.trainers.text_table import format_lines

if TYPE_CHECKING:
    from tfrec_zoo.export.restored import RestoredSSR
    from tfrec_zoo.trainers.history_evaluation import HistoryRanker

FLAGS = flags.FLAGS
IMPRESSION_METRICS = ("auc", "mrr", "ndcg@5", "ndcg@10")


def define_flags() -> None:
    """Defines the program's flags."""
    define_model_flags()
    flags.DEFINE_multi_string("test", [], "Session log to evaluate on; repeatable, wildcards.")
    flags.DEFINE_multi_string(
        "test_impressions", [], "What was shown and clicked, in MIND's format; repeatable."
    )
    flags.DEFINE_multi_string(
        "items", [], "Table of items that compete beside those of the model; repeatable."
    )
    define_candidate_flags()
    define_column_flags()
    define_metric_flags()
    flags.DEFINE_integer("seed", 0, "Of tie_rule=random.", lower_bound=0)
    flags.DEFINE_string("metrics_to", None, "JSON file for the metrics.")
    flags.DEFINE_string(
        "predict_to",
        None,
        "File (.tsv, .csv, .parquet) for the items, as many as max(--k), that follow best after "
        "the whole of each session of --test.",
    )


def evaluate() -> None:
    """Runs the program."""
    cut_offs = parse_cut_offs(FLAGS.k)
    check_flags()
    log, impressions = None, {}
    folder = find_folder()
    experiment = SSRExperiment.from_dict(
        {key: value for key, value in folder.load_config().items() if key != "export"}
    )
    if FLAGS.test:
        log = read_session_log(FLAGS.test, read_columns(experiment.data))
    if FLAGS.test_impressions:
        impressions = {"test": read_impressions(FLAGS.test_impressions)}

    def make_evaluation(restored: RestoredSSR) -> Evaluation:
        ranker, held_out = prepare(restored, log, impressions)
        return lambda name: measure(ranker, name, held_out, cut_offs)

    if FLAGS.follow:
        follow_run(folder, make_evaluation)
        return
    results = []
    for name, restored in restore_models(folder):
        ranker, held_out = prepare(restored, log, impressions)
        metrics = measure(ranker, name, held_out, cut_offs)
        print(format_metrics_tables(name, metrics, cut_offs), end="\n\n")
        results.append({"checkpoint": name, **metrics})
        if FLAGS.predict_to:
            predict(ranker, restored, log, max(cut_offs), held_out.candidate_rows)
    if FLAGS.metrics_to:
        write_json(FLAGS.metrics_to, {"results": results})


def check_flags() -> None:
    """Raises flags.Error where the flags do not go together."""
    check_model_flags()
    if not FLAGS.test and not FLAGS.test_impressions:
        raise flags.Error("pass --test, a session log, or --test_impressions, or both")
    if FLAGS.candidates == SHOWN_ITEMS and not FLAGS.test_impressions:
        raise flags.Error("--candidates=shown needs --test_impressions")
    if FLAGS.predict_to and (not FLAGS.test or FLAGS.checkpoint == "all"):
        raise flags.Error("--predict_to needs --test and a single checkpoint")
    if FLAGS.predict_to and find_format(FLAGS.predict_to) == "lines":
        raise flags.Error("--predict_to must end in .tsv, .csv (each also with .gz) or .parquet")
    check_output_flags("predict_to", "metrics_to")


def prepare(
    restored: RestoredSSR, log: SessionLog | None, impressions: dict[str, ImpressionLog]
) -> tuple[HistoryRanker, HeldOut]:
    """Returns what ranks under the model, with all items, and what is to be ranked."""
    from tfrec_zoo.trainers.history_evaluation import HistoryRanker

    restored = add_items(restored, log, impressions)
    exposures = None
    if impressions:
        exposures = find_exposures(restored.experiment, restored.catalogue, impressions)
    ranker = HistoryRanker(
        restored.model,
        restored.catalogue,
        exclude_history=restored.experiment.data.exclude_history,
        exposures=exposures,
    )
    return ranker, find_held_out(restored, log, impressions)


def measure(
    ranker: HistoryRanker, name: str, held_out: HeldOut, cut_offs: tuple[int, ...]
) -> dict[str, Any]:
    """Returns the metrics of the checkpoint `name`."""
    from tfrec_zoo.trainers.evaluation_progress import EvaluationProgress
    from tfrec_zoo.trainers.history_evaluation import evaluate_held_out

    tie_rule = resolve_tie_rule(FLAGS.tie_rule)
    with EvaluationProgress(name) as progress:
        return evaluate_held_out(
            ranker, held_out, cut_offs, tie_rule, seed=FLAGS.seed, progress=progress
        )


def add_items(
    restored: RestoredSSR, log: SessionLog | None, impressions: dict[str, ImpressionLog]
) -> RestoredSSR:
    """Returns the model with the items of `--items`, and the ages that the test data tell."""
    catalogue = restored.catalogue
    if FLAGS.items:
        encoded = catalogue.encode(FLAGS.items)
        catalogue = catalogue.extend(encoded)
        logging.info(
            "items: %d, and those of %d more", restored.catalogue.num_items, encoded.num_items
        )
    if restored.model.age_scores is not None:
        logs = {} if log is None else {"test": log}
        found = find_times(catalogue, logs, impressions)
        times = found if catalogue.times is None else np.fmin(catalogue.times, found)
        catalogue = replace(catalogue, times=times)
    return replace(restored, catalogue=catalogue)


def find_held_out(
    restored: RestoredSSR, log: SessionLog | None, impressions: dict[str, ImpressionLog]
) -> HeldOut:
    """Returns what is to be ranked, in the rows of the model's items."""
    catalogue, experiment = restored.catalogue, restored.experiment
    seen_rows = catalogue.vocabulary.row_counts() > 0
    histories = shown = None
    if log is not None:
        histories = make_histories(experiment, log, catalogue, FLAGS.test_targets, "test")
        log_unseen("test", histories, seen_rows)
    if impressions:
        shown = look_up(impressions["test"], catalogue, "test")
    candidates = find_candidates(catalogue, impressions.values())
    return HeldOut(experiment.batches.max_history, histories, seen_rows, candidates, shown)


def predict(
    ranker: Any,
    restored: RestoredSSR,
    log: SessionLog,
    k: int,
    candidate_rows: np.ndarray | None,
) -> None:
    """Writes the best items after each session that has a known item."""
    from tfrec_zoo.trainers.history_predictions import predict_after
    from tfrec_zoo.trainers.session_predictions import write_predictions

    catalogue = ranker.catalogue
    max_history = restored.experiment.batches.max_history
    found = predict_after(ranker, log, k, max_history, candidate_rows)
    item_ids = catalogue.vocabulary.raw_ids(np.arange(catalogue.num_rows))
    write_predictions(FLAGS.predict_to, found, log.session_ids, item_ids)
    logging.info("%s: the %d best items of each session", FLAGS.predict_to, k)


def format_metrics_tables(name: str, metrics: dict[str, Any], ks: tuple[int, ...]) -> str:
    """Returns the metrics of targets, and those of impressions, as tables."""
    return "\n\n".join(
        format_lines(lines, 1).rstrip()
        for lines in _list_tables(name, metrics, ks)
        if len(lines) > 1
    )


def _list_tables(
    name: str, metrics: dict[str, Any], ks: tuple[int, ...]
) -> Iterator[list[list[str]]]:
    names = [f"{metric}@{k}" for metric in ("recall", "mrr", "ndcg") for k in ks]
    lines = [[name, "events", *names]]
    if "num_test_events" in metrics:
        total, unseen = metrics["num_test_events"], metrics["num_unseen_events"]
        for label, prefix, count in (
            ("all targets", "", total),
            ("  seen in training", "seen_", total - unseen),
            ("  never seen", "unseen_", unseen),
        ):
            if count:
                values = [f"{metrics[prefix + metric]:.4f}" for metric in names]
                lines.append([label, f"{count:,}", *values])
    yield lines
    lines = [["impressions", "number", *IMPRESSION_METRICS]]
    if "num_impressions" in metrics:
        values = [f"{metrics[f'impression_{metric}']:.4f}" for metric in IMPRESSION_METRICS]
        lines.append(["  order of what was shown", f"{metrics['num_impressions']:,}", *values])
    yield lines


def main() -> None:
    """Entry of `tfrec-evaluate` for SSR."""
    run_program(evaluate, define_flags)


if __name__ == "__main__":
    main()
