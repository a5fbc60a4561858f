"""Trains SSR on session logs and the content of items, evaluates it, and exports it.

    tfrec-ssr --train=clicks.tsv.gz --items=articles.tsv.gz --item_columns=mind --run_dir=run
    tfrec-ssr --train=clicks.tsv.gz --test_time=1573516800 --run_dir=run --export_dir=served

Without a table of items an item is its id. Started again by the same command, it continues where it
was interrupted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from absl import flags, logging

from tfrec_zoo.experiments import SSRExperiment
from tfrec_zoo.program import define_config_flags, resolve_config, run_program
from tfrec_zoo.trainers.drivers.opening import open_driver, open_shared_folder, serve_where_asked
from tfrec_zoo.trainers.gru4rec import (
    RECIPES,
    define_metric_flags,
    export,
    format_metrics,
    parse_cut_offs,
)
from tfrec_zoo.trainers.news_data import NewsData, check_data_flags, define_data_flags, load_news

if TYPE_CHECKING:
    from tfrec_zoo.trainers.ssr_task import SSRTask

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the trainer's flags."""
    define_config_flags(SSRExperiment)
    define_data_flags()
    flags.DEFINE_string("run_dir", None, "Run folder, made or continued.", required=True)
    flags.DEFINE_string("export_dir", None, "Where a SavedModel version is written at the end.")
    define_metric_flags()


def train() -> None:
    """Runs the program."""
    experiment = resolve_config(SSRExperiment, RECIPES)
    check_data_flags(experiment)
    cut_offs = parse_cut_offs(FLAGS.k)
    serve_where_asked(experiment.distribution)
    data = load_news(experiment)

    from tfrec_zoo.trainers.ssr_task import SSRTask, train_in_folder

    with (
        open_driver(experiment.distribution) as driver,
        open_shared_folder(driver, FLAGS.run_dir, experiment) as folder,
    ):
        task = SSRTask(
            experiment,
            data.catalogue,
            data.examples,
            validation=data.held_out.get("validation"),
            exposures=data.exposures,
            cut_offs=cut_offs,
            tie_rule=FLAGS.tie_rule,
            driver=driver,
        )
        metrics = train_in_folder(task, folder, data.catalogue, experiment)
        if driver.is_chief:
            folder.write_metrics(metrics | evaluate(task, data, cut_offs))
            if FLAGS.export_dir:
                export(folder)


def evaluate(task: SSRTask, data: NewsData, cut_offs: tuple[int, ...]) -> dict[str, Any]:
    """Returns the metrics of the test part; nothing where there is none."""
    from tfrec_zoo.trainers.history_evaluation import evaluate_held_out

    if "test" not in data.held_out:
        return {}
    metrics = evaluate_held_out(task.ranker, data.held_out["test"], cut_offs, FLAGS.tie_rule)
    logging.info("test: %s", format_metrics(metrics))
    return metrics


def main() -> None:
    """Entry of `tfrec-ssr`."""
    run_program(train, define_flags)


if __name__ == "__main__":
    main()
