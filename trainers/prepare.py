"""Prepares session logs: filters, splits by time, makes a vocabulary, writes one file a part.

    tfrec-prepare --input=clicks.csv --output_dir=prepared
    tfrec-prepare --input=clicks.tsv.gz --output_dir=lines --format=lines --test_seconds=none

Writes train_full, test, train and validation (the RSC15 preprocessing: tune on train and
validation, report on train_full and test), vocabulary.tsv of train_full, and preparation.json.

With --columns, it prepares click logs, for models of click probabilities, and has other flags:

    tfrec-prepare --columns=criteo --help
"""

import dataclasses
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from absl import flags, logging

from tfrec_zoo.config import Config, option
from tfrec_zoo.data.sessions.preparation import (
    LogCounts,
    Preparation,
    PreparationConfig,
    RuleCount,
    prepare_sessions,
)
from tfrec_zoo.data.sessions.session_log import SessionColumns, read_session_log
from tfrec_zoo.experiments import SessionLogConfig
from tfrec_zoo.program import define_config_flags, resolve_config, run_program
from tfrec_zoo.run_folder import write_json
from tfrec_zoo.trainers import prepare_clicks
from tfrec_zoo.trainers.prepared_folder import (
    SUMMARY_NAME,
    VOCABULARY_NAME,
    replace_folder,
    require_writable,
    write_part,
)
from tfrec_zoo.trainers.text_table import format_lines
from tfrec_zoo.vocabulary import Vocabulary

FLAGS = flags.FLAGS
# A newer part with fewer sessions than both of these is hardly what was meant.
_FEW_SESSIONS, _SMALL_SHARE = 100, 0.001
_COLUMNS_FLAG = re.compile(r"--?columns(=.*)?")
ENDINGS = {name: name for name in ("parquet", "tsv", "tsv.gz", "csv", "csv.gz")} | {"lines": "txt"}


@dataclass(frozen=True, kw_only=True)
class FileConfig(Config):
    """How the log is read and the parts are written."""

    column_names: tuple[str, ...] = option(
        (), "Columns of text files that have no header line; empty: they have one."
    )
    input_format: str | None = option(
        None,
        "Format of the input; none: by its ending.",
        choices=("tsv", "csv", "parquet", "lines"),
    )
    format: str = option(
        "parquet",
        "Format of the parts; lines is one session a line, its items separated by blanks.",
        choices=tuple(ENDINGS),
    )
    num_shards: int = option(1, "Files of each part, each a contiguous run of sessions in time.")

    def __post_init__(self) -> None:
        """Checks the number of shards."""
        super().__post_init__()
        if self.num_shards < 1:
            raise ValueError(f"num_shards must be 1 or more, got {self.num_shards}")


@dataclass(frozen=True, kw_only=True)
class PrepareConfig(Config):
    """A whole preparation."""

    data: SessionLogConfig = field(default_factory=SessionLogConfig)
    rules: PreparationConfig = field(default_factory=PreparationConfig)
    files: FileConfig = field(default_factory=FileConfig)

    @property
    def columns(self) -> SessionColumns:
        """Where the input has what."""
        return SessionColumns(
            session=self.data.session_column,
            item=self.data.item_column,
            time=self.data.time_column,
            names=self.files.column_names,
            file_format=self.files.input_format,
        )


def define_flags() -> None:
    """Defines the program's flags."""
    define_config_flags(PrepareConfig)
    flags.DEFINE_multi_string("input", None, "Session log; repeatable, wildcards.", required=True)
    flags.DEFINE_string("output_dir", None, "Folder to write, new or empty.", required=True)
    flags.DEFINE_bool("overwrite", False, "Replace an earlier preparation in the folder.")


def prepare() -> None:
    """Runs the program."""
    config = resolve_config(PrepareConfig)
    output = Path(FLAGS.output_dir)
    require_writable(output, FLAGS.overwrite)
    logging.info("reading %s", ", ".join(FLAGS.input))
    log = read_session_log(FLAGS.input, config.columns)
    read = LogCounts.of(log)
    preparation = prepare_sessions(log, config.rules)
    del log
    logging.info("writing %s", output)
    with replace_folder(output, FLAGS.overwrite) as folder:
        write_preparation(preparation, read, config, FLAGS.input, folder)
    sys.stdout.write(format_table(preparation, read))
    warn_of_small_parts(preparation)


def warn_of_small_parts(preparation: Preparation) -> None:
    """Warns of a part that a few clicks dated long after all others have left nearly empty."""
    for newer, older in (("test", "train_full"), ("validation", "train")):
        if newer not in preparation.parts:
            continue
        num_newer, num_older = (preparation.parts[name].num_sessions for name in (newer, older))
        if num_newer < min(_FEW_SESSIONS, _SMALL_SHARE * num_older):
            logging.warning(
                "%s has only %d sessions, %s %d: if a few clicks are dated long after the others, "
                "drop those or set --test_fraction",
                newer,
                num_newer,
                older,
                num_older,
            )


def write_preparation(
    preparation: Preparation,
    read: LogCounts,
    config: PrepareConfig,
    inputs: list[str],
    folder: Path,
) -> None:
    """Writes the parts, the vocabulary of `train_full` and the summary into `folder`."""
    full = preparation.parts["train_full"]
    Vocabulary.from_codes(full.item_ids, full.item_codes).save(folder / VOCABULARY_NAME)
    parts = {}
    for name, log in preparation.parts.items():
        ending = ENDINGS[config.files.format]
        files = write_part(log, folder, name, ending, config.files.num_shards, config.columns)
        parts[name] = {"files": files, **dataclasses.asdict(LogCounts.of(log))}
    summary = {
        "input": {"files": inputs, **dataclasses.asdict(read)},
        "config": config.to_dict(),
        "rules": [dataclasses.asdict(count) for count in preparation.rule_counts],
        "parts": parts,
    }
    write_json(folder / SUMMARY_NAME, summary)


def format_table(preparation: Preparation, read: LogCounts) -> str:
    """Returns the counts before and after each rule as lines of text."""
    columns = ("clicks", "sessions", "items")
    lines = [("part", "rule", *columns), ("log", "as read", *_counts(read))]
    lines += [(count.part, count.rule, *_changes(count)) for count in preparation.rule_counts]
    lines += [
        (name, "written", *_counts(LogCounts.of(log))) for name, log in preparation.parts.items()
    ]
    return format_lines(lines, num_left=2)


def _counts(counts: LogCounts) -> tuple[str, ...]:
    return tuple(f"{value:,}" for value in dataclasses.astuple(counts))


def _changes(count: RuleCount) -> tuple[str, ...]:
    pairs = zip(_counts(count.before), _counts(count.after), strict=True)
    return tuple(f"{before} -> {after}" for before, after in pairs)


def main() -> None:
    """The console script: what has columns specified is a click log."""
    if any(_COLUMNS_FLAG.fullmatch(argument) for argument in sys.argv[1:]):
        prepare_clicks.main()
    else:
        run_program(prepare, define_flags)


if __name__ == "__main__":
    main()
