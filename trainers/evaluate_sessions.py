"""Evaluates a trained GRU4Rec on session logs: exact ranks of every next item.

    tfrec-evaluate --run_dir=run --test=test.tsv.gz --k=5,20
    tfrec-evaluate --export=served/1 --test=test.tsv.gz --predict_to=predictions.parquet

Items that the model does not know are left out before the sessions are played. An export is
evaluated by the weights and the vocabulary inside it, so that its ranks are exact, too, and not
known up to the length of its answers only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import flags, logging

from tfrec_zoo.data.log_format import find_format
from tfrec_zoo.data.sessions.session_log import (
    SessionColumns,
    SessionLog,
    Sessions,
    read_session_log,
)
from tfrec_zoo.experiments import SessionLogConfig
from tfrec_zoo.metrics.ranking import resolve_tie_rule
from tfrec_zoo.program import run_program
from tfrec_zoo.run_folder import RunFolder, write_json
from tfrec_zoo.trainers.evaluated_model import (
    check_model_flags,
    check_output_flags,
    define_model_flags,
    find_folder,
    restore_models,
)
from tfrec_zoo.trainers.follow import Evaluation, follow_run
from tfrec_zoo.trainers.gru4rec import define_metric_flags, parse_cut_offs
from tfrec_zoo.trainers.metrics_table import describe_test, format_table
from tfrec_zoo.vocabulary import Vocabulary

if TYPE_CHECKING:
    from tfrec_zoo.export.restore import RestoredGRU4Rec
    from tfrec_zoo.trainers.session_evaluation import SessionRanker

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the program's flags."""
    define_model_flags()
    flags.DEFINE_multi_string("test", None, "Session log to evaluate on; repeatable.")
    flags.DEFINE_multi_string("train", [], "Training log, for --baselines; repeatable.")
    define_column_flags()
    define_metric_flags()
    flags.DEFINE_integer("seed", 0, "Of tie_rule=random.", lower_bound=0)
    flags.DEFINE_string("candidate_items", None, "File of the items that compete, an id a line.")
    flags.DEFINE_bool("by_position", False, "Also by the clicks before the target.")
    flags.DEFINE_bool("by_popularity", False, "Also by the popularity of the target; 1: greatest.")
    flags.DEFINE_bool("baselines", False, "Also for the popular items and a Markov chain.")
    flags.DEFINE_string("metrics_to", None, "JSON file for the metrics.")
    flags.DEFINE_string(
        "predict_to", None, "File (.tsv, .csv, .parquet) for the best items, as many as max(--k)."
    )
    flags.DEFINE_enum(
        "predict_positions", "last", ["last", "all"], "Predict after a session's last click or all."
    )


def define_column_flags() -> None:
    """Defines the columns of a test log, for all models of sessions."""
    for role in ("session", "item", "time"):
        flags.DEFINE_string(
            f"{role}_column", None, f"Column of the {role}s, if its name is not that of training."
        )


@dataclass(frozen=True)
class TestLog:
    """A test log and its sessions in the rows of the vocabulary."""

    path: str
    log: SessionLog
    sessions: Sessions


def evaluate() -> None:
    """Runs the program."""
    cut_offs = parse_cut_offs(FLAGS.k)
    check_flags()
    folder = find_folder()
    columns = read_columns(SessionLogConfig.from_dict(folder.load_config().get("data", {})))
    vocabulary = folder.load_vocabulary()
    candidates = read_candidates(FLAGS.candidate_items, vocabulary)
    num_candidates = vocabulary.num_items if candidates is None else len(candidates)
    if max(cut_offs) > num_candidates:
        raise ValueError(
            f"--k={max(cut_offs)} is more than there are items to rank, {num_candidates}: choose "
            "smaller cut-offs"
        )
    tests = [read_test(path, columns, vocabulary) for path in FLAGS.test]
    options = {
        "ks": cut_offs,
        "tie_rule": resolve_tie_rule(FLAGS.tie_rule),
        "row_counts": vocabulary.row_counts(),
        "candidate_rows": candidates,
        "by_position": FLAGS.by_position,
        "by_popularity": FLAGS.by_popularity,
        "seed": FLAGS.seed,
    }
    if FLAGS.baselines:
        log = read_session_log(FLAGS.train, columns)
        options["baselines_from"] = Sessions.from_log(log, vocabulary)
    if FLAGS.follow:
        follow_run(folder, lambda restored: make_evaluation(restored, tests, options))
        return
    results = measure(folder, tests, options)
    for test in tests:
        of_test = [(r["checkpoint"], r) for r in results if r["test"] == test.path]
        print(describe_test(test.path, of_test[0][1], vocabulary.num_items))
        print(format_table(of_test, cut_offs), end="\n\n")
    if FLAGS.metrics_to:
        write_json(FLAGS.metrics_to, {"results": results})


def check_flags() -> None:
    """Raises flags.Error where the flags do not go together."""
    check_model_flags()
    if not FLAGS.test:
        raise flags.Error("pass the session log to evaluate on as --test")
    if FLAGS.baselines and not FLAGS.train:
        raise flags.Error("--baselines needs the training log: pass it as --train")
    if FLAGS.predict_to and (len(FLAGS.test) > 1 or FLAGS.checkpoint == "all"):
        raise flags.Error("--predict_to needs a single --test and a single checkpoint")
    if FLAGS.predict_to and find_format(FLAGS.predict_to) == "lines":
        raise flags.Error("--predict_to must end in .tsv, .csv (each also with .gz) or .parquet")
    check_output_flags("predict_to", "metrics_to")


def read_columns(config: SessionLogConfig) -> SessionColumns:
    """Returns the columns that a model was trained with, those of the flags in their place."""
    names = {}
    for role in ("session", "item", "time"):
        flag = FLAGS[f"{role}_column"].value
        names[role] = getattr(config, f"{role}_column") if flag is None else flag
    return SessionColumns(**names)


def read_test(path: str, columns: SessionColumns, vocabulary: Vocabulary) -> TestLog:
    """Reads a test log; ValueError, with its name, where nothing in it can be predicted."""
    log = read_session_log(path, columns)
    try:
        return TestLog(path, log, Sessions.from_log(log, vocabulary))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_candidates(path: str | None, vocabulary: Vocabulary) -> np.ndarray | None:
    """Returns the rows of the ids in a file, an id a line; None for no file.

    Raises:
        ValueError: the file names no item of the vocabulary. Some unknown ones are a warning.
    """
    if path is None:
        return None
    ids = [line for line in Path(path).read_text(encoding="utf-8").splitlines() if line]
    rows = vocabulary.rows(np.array(ids, dtype=object))
    num_unknown = int(np.count_nonzero(rows == 0))
    if num_unknown == len(ids):
        raise ValueError(f"{path}: the vocabulary has none of its {len(ids)} candidate items")
    if num_unknown:
        logging.warning(
            "%s: %d of %d candidate items are unknown and left out", path, num_unknown, len(ids)
        )
    return np.unique(rows[rows > 0])


def measure(
    folder: RunFolder, tests: list[TestLog], options: dict[str, Any]
) -> list[dict[str, Any]]:
    """Evaluates every chosen checkpoint on every test log, and writes the predictions."""
    from tfrec_zoo.trainers.session_evaluation import SessionRanker

    results = []
    for name, restored in restore_models(folder):
        ranker = SessionRanker(restored.model)
        for test in tests:
            metrics = measure_test(ranker, name, test, options)
            results.append({"test": test.path, "checkpoint": name, **metrics})
        if FLAGS.predict_to:
            predict(restored, tests[0], max(options["ks"]), options["candidate_rows"])
    return results


def measure_test(
    ranker: SessionRanker, name: str, test: TestLog, options: dict[str, Any]
) -> dict[str, Any]:
    """Returns the metrics of the checkpoint `name` on a test log."""
    from tfrec_zoo.trainers.evaluation_progress import EvaluationProgress
    from tfrec_zoo.trainers.session_evaluation import evaluate_sessions

    with EvaluationProgress(f"{name} on {Path(test.path).name}") as progress:
        return evaluate_sessions(ranker, test.sessions, **options, progress=progress)


def make_evaluation(
    restored: RestoredGRU4Rec, tests: list[TestLog], options: dict[str, Any]
) -> Evaluation:
    """Returns what evaluates the model, whose weights change from call to call.

    The metrics of all logs but the first have the path of theirs in front.
    """
    from tfrec_zoo.trainers.session_evaluation import SessionRanker

    ranker = SessionRanker(restored.model)

    def evaluate_checkpoint(name: str) -> dict[str, Any]:
        metrics = measure_test(ranker, name, tests[0], options)
        for test in tests[1:]:
            of_test = measure_test(ranker, name, test, options)
            metrics |= {f"{test.path}/{metric}": value for metric, value in of_test.items()}
        return metrics

    return evaluate_checkpoint


def predict(
    restored: RestoredGRU4Rec, test: TestLog, k: int, candidate_rows: np.ndarray | None
) -> None:
    """Writes the best items after each session, of one click or more, or after each click."""
    from tfrec_zoo.trainers.session_predictions import predict_sessions, write_predictions

    vocabulary = restored.vocabulary
    sessions = Sessions.from_log(test.log, vocabulary, min_length=1)
    predictions = predict_sessions(
        restored.model,
        sessions,
        k,
        at_every_position=FLAGS.predict_positions == "all",
        candidate_rows=candidate_rows,
    )
    session_ids = test.log.session_ids[sessions.log_sessions]
    item_ids = vocabulary.raw_ids(np.arange(vocabulary.num_rows))
    write_predictions(FLAGS.predict_to, predictions, session_ids, item_ids)
    logging.info(
        "%s: the %d best items of %d sessions; %d sessions without a known item have none",
        FLAGS.predict_to,
        k,
        sessions.num_sessions,
        sessions.num_dropped_sessions,
    )


def main() -> None:
    """Entry of `tfrec-evaluate`."""
    run_program(evaluate, define_flags)


if __name__ == "__main__":
    main()
