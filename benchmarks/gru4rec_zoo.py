"""Worker: trains and evaluates with the zoo, and reports its throughput."""

import resource
import tempfile
import time

from gru4rec_settings import Settings, report

from tfrec_zoo.data.sessions.session_log import Sessions, read_session_log
from tfrec_zoo.experiments import GRU4RecExperiment
from tfrec_zoo.quiet_start import quieten_tensorflow
from tfrec_zoo.run_folder import open_run_folder
from tfrec_zoo.vocabulary import Vocabulary

LOSS_OPTIONS = {
    "cross_entropy": (
        {"loss": "cross_entropy", "logq_weight": 1.0},
        {"dropout_embedding": 0.1},
    ),
    "bpr_max": ({"loss": "bpr_max"}, {"score_activation": "elu", "elu_alpha": 0.5}),
}


def main() -> None:
    """Trains, then evaluates; the throughput is that of the last epoch."""
    settings = Settings.from_command_line()
    quieten_tensorflow()
    import tensorflow as tf

    from tfrec_zoo.trainers.engine import Trainer
    from tfrec_zoo.trainers.gru4rec_task import GRU4RecTask
    from tfrec_zoo.trainers.session_evaluation import evaluate_sessions

    tf.config.threading.set_intra_op_parallelism_threads(settings.threads)
    loss, model = LOSS_OPTIONS[settings.loss]
    experiment = GRU4RecExperiment.from_dict(
        {
            "model": {"hidden_dims": [settings.hidden], **model},
            "loss": loss,
            "batches": {
                "num_lanes": settings.lanes,
                "num_negatives": settings.negatives,
                "popularity_exponent": 0.75,
            },
            "optimizer": {"learning_rate": 0.1},
            "training": {"epochs": settings.epochs},
        }
    )
    log = read_session_log(settings.train)
    vocabulary = Vocabulary.from_codes(log.item_ids, log.item_codes)
    test = Sessions.from_log(read_session_log(settings.test), vocabulary)
    task = GRU4RecTask(experiment, Sessions.from_log(log, vocabulary), vocabulary)
    with (
        tempfile.TemporaryDirectory() as path,
        open_run_folder(f"{path}/run", experiment) as folder,
    ):
        trainer = Trainer(task, experiment.training, folder)
        trainer.run()
        numbers = trainer.summarize()
    seconds = []
    # The first evaluation compiles, as every process does once.
    for _ in range(2):
        start = time.perf_counter()
        metrics = evaluate_sessions(task.model, test, ks=(20,), tie_rule="pessimistic")
        seconds.append(time.perf_counter() - start)
    report(
        events_per_second=numbers["events_per_second"],
        evaluation_seconds=seconds[0],
        evaluation_seconds_warm=seconds[1],
        recall=metrics["recall@20"],
        mrr=metrics["mrr@20"],
        peak_megabytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


if __name__ == "__main__":
    main()
