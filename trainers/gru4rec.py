"""Trains GRU4Rec on session logs, evaluates it, and exports it for TensorFlow Serving.

    tfrec-gru4rec --train=train.tsv.gz --test=test.tsv.gz --run_dir=run --export_dir=served

Started again by the same command, it continues where it was interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags, logging

from tfrec_zoo.data.sessions.session_log import (
    SessionColumns,
    SessionLog,
    Sessions,
    read_session_log,
)
from tfrec_zoo.experiments import GRU4RecExperiment
from tfrec_zoo.metrics.ranking import TIE_RULE_ALIASES, TIE_RULES
from tfrec_zoo.program import define_config_flags, resolve_config, run_program
from tfrec_zoo.run_folder import RunFolder
from tfrec_zoo.trainers.drivers.cluster import choose_files
from tfrec_zoo.trainers.drivers.opening import open_driver, open_shared_folder, serve_where_asked
from tfrec_zoo.vocabulary import Vocabulary

if TYPE_CHECKING:
    from tfrec_zoo.trainers.gru4rec_task import GRU4RecTask

FLAGS = flags.FLAGS
RECIPES = Path(__file__).parent / "recipes"


def define_flags() -> None:
    """Defines the trainer's flags."""
    define_config_flags(GRU4RecExperiment)
    flags.DEFINE_multi_string("train", None, "Session log to train on; repeatable.", required=True)
    flags.DEFINE_string(
        "vocabulary", None, "Items and their counts, as tfrec-prepare writes; none: of --train."
    )
    flags.DEFINE_string("validation", None, "Session log that picks the best checkpoint.")
    flags.DEFINE_multi_string("test", [], "Session log of the final metrics; repeatable.")
    flags.DEFINE_string("run_dir", None, "Run folder, made or continued.", required=True)
    flags.DEFINE_string("export_dir", None, "Where a SavedModel version is written at the end.")
    flags.DEFINE_string(
        "init_from", None, "Run folder to start from; its vocabulary grows by the new items."
    )
    define_metric_flags()


def define_metric_flags() -> None:
    """Defines how ranks become metrics, for the trainer and for `tfrec-evaluate`."""
    flags.DEFINE_list("k", ["1", "5", "10", "20"], "Cut-offs of the metrics.")
    flags.DEFINE_enum(
        "tie_rule",
        "pessimistic",
        [*TIE_RULES, *TIE_RULE_ALIASES],
        "Rank of a target among equal scores.",
    )


def train() -> None:
    """Runs the program."""
    experiment = resolve_config(GRU4RecExperiment, RECIPES)
    cut_offs = parse_cut_offs(FLAGS.k)
    serve_where_asked(experiment.distribution)
    if not FLAGS.validation:
        experiment.training.refuse_missing_validation()
    log = read_log(choose_files(FLAGS.train, experiment.distribution), experiment)
    vocabulary = find_vocabulary(log)
    if FLAGS.init_from:
        vocabulary = extend_vocabulary(FLAGS.init_from, vocabulary)
    sessions = Sessions.from_log(log, vocabulary)
    logging.info(
        "training data: %d sessions, %d clicks, %d items",
        sessions.num_sessions,
        len(sessions.rows),
        vocabulary.num_items,
    )
    held_out = {
        path: read_sessions(path, experiment, vocabulary)
        for path in [*filter(None, [FLAGS.validation]), *FLAGS.test]
    }

    from tfrec_zoo.trainers.gru4rec_task import GRU4RecTask, train_in_folder

    with (
        open_driver(experiment.distribution) as driver,
        open_shared_folder(driver, FLAGS.run_dir, experiment) as folder,
    ):
        task = GRU4RecTask(
            experiment,
            sessions,
            vocabulary,
            validation=held_out.get(FLAGS.validation),
            cut_offs=cut_offs,
            tie_rule=FLAGS.tie_rule,
            driver=driver,
        )
        metrics = train_in_folder(task, folder, vocabulary, experiment, FLAGS.init_from)
        if driver.is_chief:
            tests = {path: held_out[path] for path in FLAGS.test}
            folder.write_metrics(metrics | evaluate(task, tests, cut_offs))
            if FLAGS.export_dir:
                export(folder)


def find_vocabulary(log: SessionLog) -> Vocabulary:
    """Returns the vocabulary of the whole training data, of which `log` may be a part.

    Raises:
        ValueError: it is only a part, and no vocabulary is given.
    """
    if FLAGS.vocabulary:
        return Vocabulary.load(FLAGS.vocabulary)
    if FLAGS.shard_input:
        raise ValueError("--shard_input needs --vocabulary: no worker sees all items")
    return Vocabulary.from_codes(log.item_ids, log.item_codes)


def extend_vocabulary(init_from: str, vocabulary: Vocabulary) -> Vocabulary:
    """Returns the vocabulary of another run, with what is new in `vocabulary` behind it."""
    if Path(init_from).resolve() == Path(FLAGS.run_dir).resolve():
        raise ValueError(
            f"--init_from and --run_dir are the same folder, {init_from}: leave --init_from out to "
            "continue that run, or choose another --run_dir"
        )
    old = RunFolder(init_from).load_vocabulary()
    return old.extend(vocabulary.ids, vocabulary.counts)


def read_sessions(path: str, experiment: GRU4RecExperiment, vocabulary: Vocabulary) -> Sessions:
    """Reads a validation or test log; what is wrong with its sessions is told with its name."""
    log = read_log([path], experiment)
    try:
        return Sessions.from_log(log, vocabulary)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_log(paths: Sequence[str | Path], experiment: GRU4RecExperiment) -> SessionLog:
    """Reads session logs with the configured columns."""
    data = experiment.data
    columns = SessionColumns(
        session=data.session_column, item=data.item_column, time=data.time_column or None
    )
    return read_session_log(paths, columns)


def parse_cut_offs(texts: list[str]) -> tuple[int, ...]:
    """Returns the cut-offs in `--k`; a flag error where one is no positive integer."""
    if not texts or not all(text.strip().isdecimal() and int(text) > 0 for text in texts):
        raise flags.IllegalFlagValueError(
            f"--k needs positive integers such as 1,5,20, got {','.join(texts)!r}"
        )
    return tuple(int(text) for text in texts)


def evaluate(
    task: GRU4RecTask, tests: dict[str, Sessions], cut_offs: tuple[int, ...]
) -> dict[str, Any]:
    """Returns the metrics of each test log; from the second on with its file's name."""
    from tfrec_zoo.trainers.session_evaluation import evaluate_sessions

    metrics = {}
    names = [Path(path).name for path in tests]
    for path, sessions in tests.items():
        result = evaluate_sessions(task.ranker, sessions, ks=cut_offs, tie_rule=FLAGS.tie_rule)
        logging.info("%s: %s", path, format_metrics(result))
        name = Path(path).name
        prefix = f"{name if names.count(name) == 1 else path}/" if metrics else ""
        metrics |= {prefix + name: value for name, value in result.items()}
    return metrics


def export(folder: RunFolder) -> None:
    """Exports the run's best checkpoint."""
    from tfrec_zoo.export.restore import restore_run
    from tfrec_zoo.export.saved_model import export_run

    path = export_run(restore_run(folder), FLAGS.export_dir)
    logging.info("exported to %s", path)


def format_metrics(metrics: dict[str, Any]) -> str:
    """Returns metrics as one line."""
    return ", ".join(
        f"{name} {value:.4f}" if isinstance(value, float) else f"{name} {value}"
        for name, value in metrics.items()
    )


def main() -> None:
    """Entry of `tfrec-gru4rec`."""
    run_program(train, define_flags)


if __name__ == "__main__":
    main()
