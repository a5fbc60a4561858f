"""Exports the model of a run folder for TensorFlow Serving.

    tfrec-export --run_dir=run --export_dir=served

The SavedModel becomes a new version in the folder: raw item ids in, the best items out, with and
without items to exclude. Look it over with `tfrec-check served/<version>`.
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
    flags.DEFINE_integer("k", 20, "Number of items in an answer.", lower_bound=1)
    flags.DEFINE_integer(
        "version", None, "Number of the version; none: the one after the last.", lower_bound=1
    )


def export() -> None:
    """Exports as the flags say, and prints the path of the version."""
    from tfrec_zoo.export.restore import restore_gru4rec
    from tfrec_zoo.export.saved_model import export_gru4rec

    restored = restore_gru4rec(FLAGS.run_dir, FLAGS.checkpoint)
    path = export_gru4rec(restored, FLAGS.export_dir, FLAGS.k, FLAGS.version)
    sys.stdout.write(f"{path}\n")


def main() -> None:
    """Runs the program."""
    run_program(export, define_flags)


if __name__ == "__main__":
    main()
