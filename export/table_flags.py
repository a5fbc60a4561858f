"""The flags of `tfrec-export` for smaller tables."""

from absl import flags

from tfrec_zoo.export.version_folder import SAVED_MODEL
from tfrec_zoo.layers.row_quantization import TABLE_FORMATS
from tfrec_zoo.program import FLAGS


def define_table_flags() -> None:
    """Defines how tables are stored, and on what that is measured."""
    flags.DEFINE_enum(
        "tables",
        TABLE_FORMATS[0],
        list(TABLE_FORMATS),
        "How tables of items and features are stored: as they were trained, in half the bytes, or "
        "in a quarter, with a scale for each row.",
    )
    flags.DEFINE_multi_string(
        "test",
        [],
        "Raw log on which smaller tables are compared with the trained ones; repeatable. None: "
        "random requests, or of a DLRM what its run has prepared.",
    )


def check_table_flags() -> None:
    """Raises flags.Error where the flags do not go together."""
    if FLAGS.test and FLAGS.tables == TABLE_FORMATS[0]:
        raise flags.Error(
            "--test shows what smaller tables cost: pass --tables=float16 or --tables=int8, too, "
            "or evaluate the run by tfrec-evaluate"
        )
    if FLAGS.tables == TABLE_FORMATS[0]:
        return
    if not FLAGS.run_dir:
        raise flags.Error("--tables is of an export: pass --run_dir, too, or leave it out")
    if FLAGS.cascade or FLAGS.format != SAVED_MODEL:
        raise flags.Error("--tables is of the SavedModel of one model: leave --tables out")
