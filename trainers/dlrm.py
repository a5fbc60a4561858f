"""Trains DLRM on clicks, evaluates it, and exports it for TensorFlow Serving.

    tfrec-dlrm --prepared=prepared --run_dir=run --export_dir=served
    tfrec-dlrm --train=clicks.tsv.gz --columns=columns.json --test_fraction=0.1 --run_dir=run

Data are prepared ones (tfrec-prepare --columns=...), or raw logs, which are prepared into the run
folder first. Started again by the same command, it continues where it was interrupted.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags, logging

from tfrec_zoo.config import list_options
from tfrec_zoo.data.clicks.prepared_clicks import PreparedClicks
from tfrec_zoo.experiments import ClickLogConfig, DLRMExperiment
from tfrec_zoo.program import define_config_flags, resolve_config, run_program
from tfrec_zoo.run_folder import RunFolder
from tfrec_zoo.trainers.click_data import (
    describe,
    prepare_into,
    resolve_preparation,
)
from tfrec_zoo.trainers.drivers.opening import open_driver, open_shared_folder, serve_where_asked
from tfrec_zoo.trainers.gru4rec import RECIPES, export, format_metrics

if TYPE_CHECKING:
    from tfrec_zoo.trainers.dlrm_task import DLRMTask

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the trainer's flags."""
    define_config_flags(DLRMExperiment)
    flags.DEFINE_string("prepared", None, "Folder of prepared data, with all their parts.")
    flags.DEFINE_multi_string("train", [], "Or: raw log to train on; repeatable, wildcards.")
    flags.DEFINE_multi_string("validation", [], "Raw log that picks the best checkpoint.")
    flags.DEFINE_multi_string("test", [], "Raw log of the final metrics; repeatable.")
    flags.DEFINE_string("run_dir", None, "Run folder, made or continued.", required=True)
    flags.DEFINE_string("export_dir", None, "Where a SavedModel version is written at the end.")
    flags.DEFINE_string("init_from", None, "Run folder whose weights a new run starts from.")


def train() -> None:
    """Runs the program."""
    experiment = resolve_config(DLRMExperiment, RECIPES)
    check_flags(experiment)
    serve_where_asked(experiment.distribution)
    if FLAGS.prepared:
        preparation = resolve_preparation(PreparedClicks(FLAGS.prepared), experiment.data)
        experiment = replace(experiment, data=preparation)
    with (
        open_driver(experiment.distribution) as driver,
        open_shared_folder(driver, FLAGS.run_dir, experiment) as folder,
    ):
        data = PreparedClicks(driver.decide(lambda: str(find_data(folder, experiment).path)))
        logging.info("%s", describe(data))
        if "validation" not in data.parts:
            experiment.training.refuse_missing_validation()

        from tfrec_zoo.trainers.batch_shards import choose_num_shards, leave_threads_to_shards
        from tfrec_zoo.trainers.dlrm_task import DLRMTask, train_in_folder

        leave_threads_to_shards(choose_num_shards(experiment))
        task = DLRMTask(
            experiment,
            data.schema,
            data.part("train"),
            validation=data.part("validation") if "validation" in data.parts else None,
            driver=driver,
        )
        metrics = train_in_folder(task, folder, experiment, data, FLAGS.init_from)
        if driver.is_chief:
            folder.write_metrics(metrics | evaluate(task, data))
            if FLAGS.export_dir:
                export(folder)


def check_flags(experiment: DLRMExperiment) -> None:
    """Raises an error where the flags do not go together."""
    if bool(FLAGS.prepared) == bool(FLAGS.train):
        raise flags.Error("pass either --prepared or --train")
    if FLAGS.prepared:
        for name in ("validation", "test"):
            if FLAGS[name].value:
                raise flags.Error(f"--{name} belongs to --train: --prepared has its parts inside")
        refuse_preparation_flags()
    elif not experiment.data.columns:
        raise flags.Error("--train needs --columns, the specification of the log's columns")
    if FLAGS.init_from and Path(FLAGS.init_from).resolve() == Path(FLAGS.run_dir).resolve():
        raise flags.Error("--init_from and --run_dir are the same folder: leave --init_from out")


def refuse_preparation_flags() -> None:
    """Raises flags.Error where a flag is about raw logs, in a run on prepared data."""
    for option in list_options(ClickLogConfig):
        for name in (option.name, *option.aliases):
            if not FLAGS[name].using_default_value:
                raise flags.Error(
                    f"--{name} is about raw logs (--train), and the data of --prepared are "
                    "prepared already: leave it out, or prepare them anew"
                )


def find_data(folder: RunFolder, experiment: DLRMExperiment) -> PreparedClicks:
    """Returns the prepared data; raw logs are prepared first."""
    if FLAGS.prepared:
        return PreparedClicks(FLAGS.prepared)
    return prepare_into(folder, experiment.data, FLAGS.train, FLAGS.validation, FLAGS.test)


def evaluate(task: DLRMTask, data: PreparedClicks) -> dict[str, Any]:
    """Returns the metrics of the test part; nothing where there is none."""
    from tfrec_zoo.trainers.click_evaluation import evaluate_clicks

    if "test" not in data.parts:
        return {}
    start = time.monotonic()
    metrics = evaluate_clicks(task.scorer, data.part("test"))
    seconds = time.monotonic() - start
    logging.info("test: %s, in %.1f s", format_metrics(metrics), seconds)
    return metrics


def main() -> None:
    """Entry of `tfrec-dlrm`."""
    run_program(train, define_flags)


if __name__ == "__main__":
    main()
