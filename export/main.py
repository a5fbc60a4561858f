"""Exports the model of a run folder for TensorFlow Serving.

    tfrec-export --run_dir=run --export_dir=served

The SavedModel becomes a new version in the folder. Of a GRU4Rec: raw item ids in, the best items
out, with and without items to exclude; of an SSR: the same, and the vectors of sessions and items
(`tfrec-index` makes further versions of it, with other items); of a DLRM: raw numbers and texts in,
the click probability out. Look it over with `tfrec-check served/<version>`.

    tfrec-export --run_dir=run --export_dir=served --deploy
    tfrec-export --export_dir=served --deploy

adds `served/deploy`, what TensorFlow Serving is run with: a file for docker compose, manifests for
Kubernetes, and the server's own files, which serve versions by labels. Without --run_dir nothing
else is done. Files that are there stay as they are.

    tfrec-export --cascade --run_dir=session_run --ranker_run_dir=click_run --item_column=film \\
        --export_dir=served

exports two stages as one model: a GRU4Rec or an SSR names candidates, a DLRM ranks them.

    tfrec-export --run_dir=run --export_dir=served --tables=int8 --test=test.tsv.gz

stores the tables of items and features in a quarter of the bytes, and says what that costs in
recall or AUC.

    tfrec-export --run_dir=run --export_dir=served_onnx --format=onnx

writes files for other runtimes than TensorFlow in place of a SavedModel: ONNX, LiteRT (tflite) or
OpenVINO. Rows of tables in, rows or numbers out; the vocabulary lies beside them.
"""

import sys
from pathlib import Path

from absl import flags, logging

from tfrec_zoo.export.cascade_flags import (
    check_cascade_flags,
    define_cascade_flags,
    export_cascade_as_flagged,
)
from tfrec_zoo.export.format_flags import (
    check_format_flags,
    define_format_flags,
    export_format_as_flagged,
)
from tfrec_zoo.export.table_flags import check_table_flags, define_table_flags
from tfrec_zoo.export.version_folder import SAVED_MODEL
from tfrec_zoo.program import FLAGS, run_program


def define_flags() -> None:
    """Defines the flags of this program."""
    flags.DEFINE_string("run_dir", None, "The run folder; may be left out with --deploy.")
    flags.DEFINE_string(
        "export_dir", None, "The folder of the versions, made where it is missing.", required=True
    )
    flags.DEFINE_string(
        "checkpoint",
        "best",
        "Which one: best (the last where no validation has picked a best), last, or a path.",
    )
    flags.DEFINE_integer(
        "k", None, "Number of items in an answer, where it is of items; none: 20.", lower_bound=1
    )
    flags.DEFINE_float(
        "now",
        None,
        "Of an SSR with age_buckets: the time that its items have their ages at, in the unit of "
        "the log's times; none: the newest time of an item.",
    )
    flags.DEFINE_integer(
        "version",
        None,
        "Number of the version; none: the one after the last. Without --run_dir: the one to be "
        "deployed; none: the last.",
        lower_bound=1,
    )
    flags.DEFINE_boolean("deploy", False, "Write what TensorFlow Serving is run with.")
    define_cascade_flags()
    define_format_flags()
    define_table_flags()


def export() -> None:
    """Exports as the flags say, and prints the path of the version."""
    check_cascade_flags()
    check_format_flags()
    check_table_flags()
    check_flags()
    from tfrec_zoo.export.restore import restore_run
    from tfrec_zoo.export.saved_model import export_run

    if FLAGS.cascade:
        path = export_cascade_as_flagged()
    elif FLAGS.format != SAVED_MODEL:
        path = export_format_as_flagged()
    elif FLAGS.run_dir:
        restored = restore_run(FLAGS.run_dir, FLAGS.checkpoint)
        options = (FLAGS.version, FLAGS.k, FLAGS.now, FLAGS.tables, FLAGS.test)
        path = export_run(restored, FLAGS.export_dir, *options)
    else:
        path = find_version()
    if FLAGS.deploy:
        deploy(path)
    sys.stdout.write(f"{path}\n")


def check_flags() -> None:
    """Raises flags.Error where the flags do not go together."""
    if FLAGS.run_dir:
        return
    if not FLAGS.deploy:
        raise flags.Error("which run is to be exported? Pass --run_dir")
    for name in ("checkpoint", "k", "now"):
        if FLAGS[name].present:
            raise flags.Error(f"--{name} is of an export: pass --run_dir, too, or leave it out")


def find_version() -> Path:
    """Returns the version that is there already.

    Raises:
        ValueError: there is none.
    """
    from tfrec_zoo.export.version_folder import list_versions

    versions = list_versions(FLAGS.export_dir)
    if not versions:
        raise ValueError(
            f"{FLAGS.export_dir} has no version yet: pass --run_dir, the run to export"
        )
    return Path(FLAGS.export_dir) / str(FLAGS.version or versions[-1])


def deploy(path: Path) -> None:
    """Writes what a version is served with, beside it, and says what was there already."""
    from tfrec_zoo.config import parse_json_object
    from tfrec_zoo.export.deployment import FILE_NAMES, write_deployment
    from tfrec_zoo.export.restore import find_program, open_export

    config = open_export(path).config_path.read_text(encoding="utf-8")
    written = write_deployment(path.parent, find_program(parse_json_object(config)), int(path.name))
    kept = sorted(set(FILE_NAMES) - {file.name for file in written})
    if kept:
        logging.info("--deploy: kept as they are: %s", ", ".join(kept))


def main() -> None:
    """Runs the program."""
    run_program(export, define_flags)


if __name__ == "__main__":
    main()
