"""The flags of `tfrec-export --cascade`, and what is done as they say."""

from pathlib import Path

from absl import flags, logging

from tfrec_zoo.data.clicks.click_schema import ClickSchema
from tfrec_zoo.program import FLAGS

_FLAGS = ("ranker_run_dir", "ranker_checkpoint", "items", "item_column", "num_candidates")
_NEEDED = {
    "run_dir": "the run of the GRU4Rec or SSR that names candidates",
    "ranker_run_dir": "the run of the DLRM that ranks them",
    "item_column": "the column of the DLRM's log that holds the ids of items",
}


def define_cascade_flags() -> None:
    """Defines the flags that are of a cascade alone."""
    flags.DEFINE_boolean(
        "cascade", False, "Export two stages as one model: --run_dir retrieves, a DLRM ranks."
    )
    flags.DEFINE_string("ranker_run_dir", None, "The run folder of the DLRM that ranks.")
    flags.DEFINE_string("ranker_checkpoint", "best", "Which one of that run, as --checkpoint.")
    flags.DEFINE_string(
        "item_column", None, "The column of the DLRM's log that holds the ids of the retriever."
    )
    flags.DEFINE_multi_string(
        "items",
        [],
        "Table of items: the features of the DLRM whose columns it has are the item's, the others "
        "are sent with a request. Repeatable, wildcards; none: the table that the DLRM's log was "
        "joined with by --item_column.",
    )
    flags.DEFINE_integer(
        "num_candidates", None, "Items that are ranked for an answer; none: 100.", lower_bound=1
    )


def check_cascade_flags() -> None:
    """Raises flags.Error where the flags do not go together."""
    if not FLAGS.cascade:
        for name in _FLAGS:
            if FLAGS[name].present:
                raise flags.Error(f"--{name} is of a cascade: pass --cascade, too, or leave it out")
        return
    for name, meaning in _NEEDED.items():
        if not FLAGS[name].value:
            raise flags.Error(f"--cascade needs --{name}, {meaning}")


def export_cascade_as_flagged() -> Path:
    """Exports the two stages as the flags say; returns the version's folder."""
    from tfrec_zoo.export.cascade import DEFAULT_CANDIDATES, export_cascade, find_vocabulary
    from tfrec_zoo.export.cascade_items import read_item_features
    from tfrec_zoo.export.restore import restore_dlrm, restore_run
    from tfrec_zoo.export.saved_model import DEFAULT_K

    retriever = restore_run(FLAGS.run_dir, FLAGS.checkpoint)
    ids = find_vocabulary(retriever).ids
    ranker = restore_dlrm(FLAGS.ranker_run_dir, FLAGS.ranker_checkpoint)
    items = read_item_features(ranker, ids, FLAGS.item_column, FLAGS.items or None)
    logging.info(
        "features of the item: %s; of a request: %s; %s of %s items are not in the table",
        *(_list_names(schema) for schema in (items.schema, items.request_schema)),
        f"{items.num_missing:,}",
        f"{len(ids):,}",
    )
    return export_cascade(
        retriever,
        ranker,
        items,
        FLAGS.export_dir,
        k=FLAGS.k or DEFAULT_K,
        num_candidates=FLAGS.num_candidates or DEFAULT_CANDIDATES,
        version=FLAGS.version,
        now=FLAGS.now,
    )


def _list_names(schema: ClickSchema | None) -> str:
    if schema is None:
        return "none"
    return ", ".join(feature.name for feature in (*schema.dense, *schema.categorical))
