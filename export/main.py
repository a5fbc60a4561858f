"""Exports the model of a run folder for TensorFlow Serving.

    tfrec-export --run_dir=run --export_dir=served

The SavedModel becomes a new version in the folder. Of a GRU4Rec: raw item ids in, the best items
out, with and without items to exclude; of an SSR: the same, and the vectors of sessions and items
(`tfrec-index` makes further versions of it, with other items); of a DLRM: raw numbers and texts in,
the click probability out. Look it over with `tfrec-check served/<version>`.
"""

import sys

from absl import flags

from tfrec_zoo.program import FLAGS, run_program


def define_flags() -> None:
    """Defines the flags of this program."""
    flags.DEFINE_string("run_dir", None, "The run folder.", required=True)
    flags.DEFINE_string(
        "export_dir", None, "The folder of the versions, made where it is missing.", required=True
    )
    flags.DEFINE_string(
        "checkpoint",
        "best",
        "Which one: best (the last where no validation has picked a best), last, or a path.",
    )
    flags.DEFINE_integer(
        "k", None, "Number of items in an answer of GRU4Rec or SSR; none: 20.", lower_bound=1
    )
    flags.DEFINE_float(
        "now",
        None,
        "Of an SSR with age_buckets: the time that its items have their ages at, in the unit of "
        "the log's times; none: the newest time of an item.",
    )
    flags.DEFINE_integer(
        "version", None, "Number of the version; none: the one after the last.", lower_bound=1
    )


def export() -> None:
    """Exports as the flags say, and prints the path of the version."""
    from tfrec_zoo.export.restore import restore_run
    from tfrec_zoo.export.saved_model import export_run

    restored = restore_run(FLAGS.run_dir, FLAGS.checkpoint)
    path = export_run(restored, FLAGS.export_dir, FLAGS.version, FLAGS.k, FLAGS.now)
    sys.stdout.write(f"{path}\n")


def main() -> None:
    """Runs the program."""
    run_program(export, define_flags)


if __name__ == "__main__":
    main()
