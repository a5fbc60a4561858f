"""What SSR's trainer reads: session logs, the table of items, impressions; cut by time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from absl import flags, logging

from tfrec_zoo.data.news.exposures import Exposures
from tfrec_zoo.data.news.held_out import HeldOut
from tfrec_zoo.data.news.histories import TARGETS, Histories
from tfrec_zoo.data.news.impression_files import read_impressions
from tfrec_zoo.data.news.impressions import ImpressionLog, Impressions
from tfrec_zoo.data.news.item_catalogue import ItemCatalogue
from tfrec_zoo.data.news.time_split import describe_unseen, first_times, split_by_time
from tfrec_zoo.data.news.training_examples import TrainingExamples
from tfrec_zoo.data.sessions.session_log import SessionLog
from tfrec_zoo.data.tables.table_spec import load_table_spec
from tfrec_zoo.experiments import SSRExperiment
from tfrec_zoo.trainers.evaluate_sessions import read_candidates
from tfrec_zoo.trainers.gru4rec import read_log
from tfrec_zoo.vocabulary import Vocabulary

FLAGS = flags.FLAGS
PARTS = ("train", "validation", "test")
ALL_ITEMS, SHOWN_ITEMS = "all", "shown"


@dataclass(frozen=True, eq=False)
class NewsData:
    """The data of a run.

    Attributes:
        catalogue: the items.
        examples: what is trained on.
        held_out: `validation` and `test`, as far as there are any.
        exposures: how much items were being shown; None where the model does not ask.
    """

    catalogue: ItemCatalogue
    examples: TrainingExamples
    held_out: dict[str, HeldOut]
    exposures: Exposures | None = None


def define_data_flags() -> None:
    """Defines the flags that name the data."""
    flags.DEFINE_multi_string("train", None, "Session log to train on; repeatable.", required=True)
    flags.DEFINE_multi_string("items", [], "Table of the items; repeatable, wildcards.")
    flags.DEFINE_multi_string(
        "impressions", [], "What was shown and clicked, in MIND's format; repeatable."
    )
    flags.DEFINE_multi_string("validation", [], "Session log that picks the best checkpoint.")
    flags.DEFINE_multi_string("test", [], "Session log of the final metrics; repeatable.")
    flags.DEFINE_multi_string("test_impressions", [], "Impressions of the final metrics.")
    for part in PARTS[1:]:
        flags.DEFINE_float(
            f"{part}_time",
            None,
            f"Or: what ends in --train, and is in --impressions, from this time on is the {part}.",
        )
    define_candidate_flags()


def define_candidate_flags() -> None:
    """Defines what is measured on held-out data, for the trainer and for `tfrec-evaluate`."""
    flags.DEFINE_string(
        "candidates",
        ALL_ITEMS,
        "Items that compete in the metrics: all of the table, those that any impression has shown, "
        "or a file with an id a line.",
    )
    flags.DEFINE_enum(
        "test_targets", "all", TARGETS, "Targets of held-out sessions: every click, or the last."
    )


def check_data_flags(experiment: SSRExperiment) -> None:
    """Raises flags.Error where flags do not go together, ValueError where an option does not."""
    if bool(FLAGS.items) != bool(experiment.data.item_columns):
        raise flags.Error(
            "--items, the table of the items, and --item_columns, the specification of its "
            "columns, go together: pass both or none"
        )
    for part in PARTS[1:]:
        if FLAGS[part].value and FLAGS[f"{part}_time"].value is not None:
            raise flags.Error(f"pass either --{part} or --{part}_time")
    if FLAGS.test_impressions and FLAGS.test_time is not None:
        raise flags.Error("--test_time cuts --impressions, too: leave --test_impressions out")
    if FLAGS.candidates == SHOWN_ITEMS and not (FLAGS.impressions or FLAGS.test_impressions):
        raise flags.Error("--candidates=shown needs --impressions")
    if not FLAGS.validation and FLAGS.validation_time is None:
        experiment.training.refuse_missing_validation()
    times = [FLAGS.validation_time, FLAGS.test_time]
    if None not in times and times[0] >= times[1]:
        raise flags.Error(f"--validation_time must be before --test_time, got {times}")


def load_news(experiment: SSRExperiment) -> NewsData:
    """Reads what the flags name, and says what it found."""
    logs = _read_logs(experiment)
    impressions = _read_impressions()
    training = Vocabulary.from_codes(logs["train"].item_ids, logs["train"].item_codes)
    catalogue = read_catalogue(experiment, training, logs, impressions)
    if experiment.model.age_buckets and catalogue.times is None:
        catalogue = replace(catalogue, times=find_times(catalogue, logs, impressions))
    batches = experiment.batches
    histories = make_histories(experiment, logs["train"], catalogue, batches.targets, "train")
    shown = None
    if "train" in impressions and batches.num_shown_negatives:
        shown = look_up(impressions["train"], catalogue, "train")
    examples = TrainingExamples(histories, shown)
    seen_rows = histories.clicked_rows(catalogue.num_rows)
    candidates = find_candidates(catalogue, impressions.values())
    held_out = {}
    for part in PARTS[1:]:
        if part not in logs and part not in impressions:
            continue
        of_part = None
        if part in logs:
            of_part = make_histories(experiment, logs[part], catalogue, FLAGS.test_targets, part)
            log_unseen(part, of_part, seen_rows)
        shown = look_up(impressions[part], catalogue, part) if part in impressions else None
        held_out[part] = HeldOut(batches.max_history, of_part, seen_rows, candidates, shown)
    exposures = find_exposures(experiment, catalogue, impressions)
    if exposures is not None:
        # As of the end of training; an index is made for a time of its own.
        last_time = impressions["train"].times.max() if "train" in impressions else -np.inf
        catalogue = exposures.describe(catalogue, last_time + 1, experiment.model.click_rate_prior)
    return NewsData(catalogue, examples, held_out, exposures)


def read_catalogue(
    experiment: SSRExperiment,
    training: Vocabulary,
    logs: dict[str, SessionLog],
    impressions: dict[str, ImpressionLog],
) -> ItemCatalogue:
    """Reads the table of items; without one the items of the training log are all there are."""
    if not FLAGS.items:
        logging.info("items: %s, known by their ids alone", f"{training.num_items:,}")
        return ItemCatalogue.of_ids(training)
    data = experiment.data
    ids = [log.item_ids for log in (*logs.values(), *impressions.values())]
    catalogue = ItemCatalogue.build(
        FLAGS.items,
        load_table_spec(data.item_columns),
        training=training,
        learn_from_all=data.learn_from_all,
        min_count=data.min_count,
        log_ids=np.concatenate(ids),
        missing_items=data.missing_items,
        max_bad_rows=data.max_bad_rows,
        on_bad_row=lambda sentence: logging.warning("passed over: %s", sentence),
    )
    describe_catalogue(catalogue)
    return catalogue


def describe_catalogue(catalogue: ItemCatalogue) -> None:
    """Says what was found in the table of items."""
    found = catalogue.summary
    logging.info(
        "items: %s in the table, %s of them clicked in training, %s without content, %s repeated",
        *(
            f"{number:,}"
            for number in (
                found["num_items"],
                int(np.count_nonzero(catalogue.vocabulary.counts)),
                found["num_without_content"],
                found["num_duplicates"],
            )
        ),
    )
    if found["num_missing"]:
        fate = "left out of the logs" if found["missing_items"] == "skip" else "kept as ids alone"
        logging.warning(
            "%d items of the logs are not in the table, such as %s: %s",
            found["num_missing"],
            ", ".join(found["missing_examples"]),
            fate,
        )


def log_unseen(part: str, histories: Histories, seen_rows: np.ndarray) -> None:
    """Says how many targets never occur in training."""
    found = describe_unseen(histories, seen_rows)
    logging.info(
        "%s: %d targets, %d of them (%.1f %%) on items that never occur in training",
        part,
        found["num_targets"],
        found["num_unseen_targets"],
        100 * found["unseen_share"],
    )


def find_candidates(
    catalogue: ItemCatalogue, impressions: Sequence[ImpressionLog]
) -> np.ndarray | None:
    """Returns the rows that compete in the metrics, int32 [n]; None: all."""
    if FLAGS.candidates == ALL_ITEMS:
        return None
    if FLAGS.candidates != SHOWN_ITEMS:
        return _read_candidates(catalogue)
    rows = np.concatenate([catalogue.rows(log.shown_ids()) for log in impressions])
    return np.unique(rows[rows > 0])


def make_histories(
    experiment: SSRExperiment, log: SessionLog, catalogue: ItemCatalogue, targets: str, part: str
) -> Histories:
    """Makes examples of a log, and says what was left out of it."""
    batches = experiment.batches
    try:
        histories = Histories.from_log(
            log,
            catalogue.vocabulary,
            max_history=batches.max_history,
            targets=targets,
            repeats=batches.repeats,
        )
    except ValueError as error:
        raise ValueError(f"the {part} sessions: {error}") from None
    logging.info(
        "%s: %d sessions, %d clicks, %d targets; left out: %d clicks on items not in the table, %d "
        "repeats, %d sessions with fewer than 2 clicks",
        part,
        histories.num_sessions,
        len(histories.rows),
        histories.num_examples,
        histories.num_unknown_clicks,
        histories.num_repeats,
        histories.num_dropped_sessions,
    )
    return histories


def look_up(log: ImpressionLog, catalogue: ItemCatalogue, part: str) -> Impressions:
    """Looks impressions up in the catalogue, and says how many can be ranked."""
    try:
        found = Impressions.from_log(log, catalogue.vocabulary)
    except ValueError as error:
        raise ValueError(f"the {part} impressions: {error}") from None
    logging.info(
        "%s: %d impressions with a history, a click and something not clicked, of %d",
        part,
        found.num_impressions,
        log.num_impressions,
    )
    return found


def find_times(
    catalogue: ItemCatalogue, logs: dict[str, SessionLog], impressions: dict[str, ImpressionLog]
) -> np.ndarray:
    """Returns when each item was first shown, or, without impressions to train on, first clicked.

    What is first shown later than a request counts for that as an item of unknown age.
    """
    rows, times = [], []
    for log in impressions.values():
        rows.append(catalogue.rows(log.item_ids)[log.shown_codes])
        times.append(np.repeat(log.times, np.diff(log.shown_offsets)))
    for log in () if "train" in impressions else logs.values():
        if log.times is None:
            raise ValueError("age_buckets needs times: name the log's time column")
        rows.append(catalogue.rows(log.item_ids)[log.item_codes])
        times.append(log.times)
    return first_times(np.concatenate(rows), np.concatenate(times), catalogue.num_rows)


def _read_candidates(catalogue: ItemCatalogue) -> np.ndarray:
    try:
        return read_candidates(FLAGS.candidates, catalogue.vocabulary)
    except FileNotFoundError:
        raise ValueError(
            f"--candidates is {ALL_ITEMS}, {SHOWN_ITEMS} or a file with an id a line, and there is "
            f"no file {FLAGS.candidates}"
        ) from None


def find_exposures(
    experiment: SSRExperiment, catalogue: ItemCatalogue, impressions: dict[str, ImpressionLog]
) -> Exposures | None:
    """Returns how much items were being shown; None where the model does not ask.

    Impressions of the test are among them: of these a request knows the shows before it.
    """
    model = experiment.model
    if not model.asks_impressions:
        return None
    if not impressions:
        raise ValueError(
            "exposure_weight and click_rate_weight need impressions, which tell what was shown "
            "when: pass them, or set both to 0"
        )
    return Exposures.from_logs(impressions.values(), catalogue.vocabulary, model.exposure_half_life)


def _read_logs(experiment: SSRExperiment) -> dict[str, SessionLog]:
    rest = read_log(FLAGS.train, experiment)
    logs = {
        part: read_log(FLAGS[part].value, experiment) for part in PARTS[1:] if FLAGS[part].value
    }
    for part in reversed(PARTS[1:]):
        time = FLAGS[f"{part}_time"].value
        if time is not None:
            split = split_by_time(rest, time)
            rest, logs[part] = split.train, split.test
    return {"train": rest, **logs}


def _read_impressions() -> dict[str, ImpressionLog]:
    """Returns the impressions of each part that has some."""
    parts = {}
    if FLAGS.test_impressions:
        parts["test"] = read_impressions(FLAGS.test_impressions)
    if not FLAGS.impressions:
        return parts
    rest = read_impressions(FLAGS.impressions)
    for part in reversed(PARTS[1:]):
        time = FLAGS[f"{part}_time"].value
        if time is not None:
            parts[part], rest = rest.select(rest.times >= time), rest.select(rest.times < time)
    parts["train"] = rest
    return {part: log for part, log in parts.items() if log.num_impressions}
