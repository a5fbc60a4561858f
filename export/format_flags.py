"""The flags of `tfrec-export --format`, and what is done as they say."""

from pathlib import Path

from absl import flags

from tfrec_zoo.export.version_folder import SAVED_MODEL
from tfrec_zoo.program import FLAGS

TFLITE = "tflite"
FORMATS = (SAVED_MODEL, "onnx", TFLITE, "openvino")

_OF_FIXED_SHAPES = ("batch_size", "session_length")


def define_format_flags() -> None:
    """Defines the flags that are of other formats than SavedModels."""
    flags.DEFINE_enum(
        "format",
        SAVED_MODEL,
        FORMATS,
        "What is written; a folder takes versions of one format.",
    )
    flags.DEFINE_integer(
        "batch_size",
        None,
        "With --format=tflite, whose shapes are fixed: requests answered at once; none: 1.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "session_length",
        None,
        "With --format=tflite, of a GRU4Rec or SSR: clicks of a session; none: 50.",
        lower_bound=1,
    )


def check_format_flags() -> None:
    """Raises flags.Error where the flags do not go together."""
    for name in _OF_FIXED_SHAPES:
        if FLAGS[name].present and FLAGS.format != TFLITE:
            raise flags.Error(f"--{name} is of --format={TFLITE}: pass that, too, or leave it out")
    if FLAGS.format == SAVED_MODEL:
        return
    if not FLAGS.run_dir:
        raise flags.Error(f"--format={FLAGS.format}: which run is to be exported? Pass --run_dir")
    for name in ("deploy", "cascade"):
        if FLAGS[name].value:
            raise flags.Error(
                f"--{name} is of SavedModels, not of --format={FLAGS.format}: leave one of them out"
            )


def export_format_as_flagged() -> Path:
    """Exports in another format as the flags say; returns the version's folder."""
    from tfrec_zoo.export.other_formats import export_format
    from tfrec_zoo.export.restore import restore_run

    return export_format(
        restore_run(FLAGS.run_dir, FLAGS.checkpoint),
        FLAGS.export_dir,
        FLAGS.format,
        version=FLAGS.version,
        k=FLAGS.k,
        now=FLAGS.now,
        batch_size=FLAGS.batch_size,
        session_length=FLAGS.session_length,
    )
