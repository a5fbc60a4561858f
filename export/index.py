"""Makes a new version of a served SSR with other items, in seconds and without training.

    tfrec-index --run_dir=run --items=articles.tsv --export_dir=served
    tfrec-index --export_dir=served --add=new.tsv --remove=gone.txt --now=1573603200 \\
        --impressions=last_hours.tsv

The model is that of a run, of an export, or of the last version in --export_dir; its weights stay
as they are, bit by bit. Items are those it has, or with --items those of this table alone; then
--add adds items, or replaces their content, and --remove removes some. Each table is encoded as the
training's was; a row that is no good is named and passed over. The new version is whole or not
there, and the versions before it go on being answered. Two refreshes of one folder take turns.
"""

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags, logging

from tfrec_zoo.export.vector_outputs import (
    OUTPUTS,
    define_vector_flags,
    require_packages,
    write_vectors,
)
from tfrec_zoo.layers.row_quantization import TABLE_FORMATS
from tfrec_zoo.program import FLAGS, run_program

if TYPE_CHECKING:
    import numpy as np

    from tfrec_zoo.data.news.item_catalogue import ItemCatalogue
    from tfrec_zoo.export.item_changes import ItemChanges
    from tfrec_zoo.export.restored import RestoredSSR

_CHANGES = ("items", "add", "remove", "remove_id", "impressions")


def define_flags() -> None:
    """Defines the flags of this program."""
    flags.DEFINE_string("run_dir", None, "The run whose best checkpoint is the model.")
    flags.DEFINE_string(
        "export", None, "Or: the version whose model and items they are, or a folder of versions."
    )
    flags.DEFINE_string(
        "export_dir",
        None,
        "The folder of the versions, made where it is missing; its last version is where the model "
        "and the items come from unless --run_dir or --export says otherwise.",
    )
    flags.DEFINE_multi_string("items", [], "Table of all items; repeatable, wildcards.")
    flags.DEFINE_multi_string("add", [], "Table of items to add or to replace; repeatable.")
    flags.DEFINE_multi_string("remove", [], "File of items to remove, an id a line; repeatable.")
    flags.DEFINE_multi_string("remove_id", [], "Id of an item to remove; repeatable.")
    flags.DEFINE_multi_string(
        "impressions",
        [],
        "What was shown of late, in MIND's format, for a model that looks at that; "
        "repeatable. It tells how much each item is being shown at --now, and how often it is "
        "clicked then; without it, as before.",
    )
    flags.DEFINE_integer(
        "max_bad_rows",
        None,
        "Rows of the tables of a flag that may be passed over; none: any number.",
        lower_bound=0,
    )
    flags.DEFINE_float(
        "now",
        None,
        "Time of the items' ages and shows, in the unit of the log's times, as date +%s for "
        "seconds; none: the newest time of an item or a show, or that of the version before.",
    )
    flags.DEFINE_integer(
        "k", None, "Number of items in an answer; none: as before, of a run 20.", lower_bound=1
    )
    flags.DEFINE_enum(
        "tables",
        None,
        list(TABLE_FORMATS),
        "How tables and vectors in the version are stored; none: as before, of a run float32.",
    )
    flags.DEFINE_integer(
        "keep_versions",
        None,
        "Delete the oldest versions in --export_dir beyond this many; none: keep all. A server may "
        "be loading the last but one, so at least 2.",
        lower_bound=2,
    )
    define_vector_flags()


def refresh() -> None:
    """Writes what the flags ask for, and prints the path of the new version."""
    check_flags()
    require_packages()
    from tfrec_zoo.export.item_vectors import find_now, make_index
    from tfrec_zoo.export.saved_model import export_ssr
    from tfrec_zoo.export.version_folder import delete_old_versions, take_turns

    with take_turns(FLAGS.export_dir) if FLAGS.export_dir else contextlib.nullcontext():
        restored = restore_model()
        now = find_now(restored, FLAGS.now)
        restored = change(restored, now)
        restored = measure_shows(restored)
        # With the times of the new items, unless a time is given.
        now = find_now(restored, FLAGS.now)
        # Before the version: where this fails, the same changes can be asked for again.
        if any(FLAGS[name].value for name in OUTPUTS):
            write_vectors(make_index(restored, now))
        if FLAGS.export_dir:
            path = export_ssr(restored, FLAGS.export_dir, FLAGS.k, now=now, tables=FLAGS.tables)
            if FLAGS.keep_versions:
                delete_old_versions(FLAGS.export_dir, FLAGS.keep_versions)
            sys.stdout.write(f"{path}\n")


def check_flags() -> None:
    """Raises flags.Error where the flags do not go together."""
    if FLAGS.run_dir and FLAGS.export:
        raise flags.Error("the model is of --run_dir or of --export: pass one of them")
    outputs = ("export_dir", *OUTPUTS)
    if not any(FLAGS[name].value for name in outputs):
        raise flags.Error(f"nothing is to be written: pass one of --{', --'.join(outputs)}")
    if not (FLAGS.run_dir or FLAGS.export or FLAGS.export_dir):
        raise flags.Error("where is the model? Pass --run_dir or --export")
    asked = [*_CHANGES, *OUTPUTS, "run_dir", "export"]
    options = (FLAGS.now, FLAGS.k, FLAGS.tables)
    if not any(FLAGS[name].value for name in asked) and options == (None, None, None):
        raise flags.Error(
            "there is nothing to change in the last version: pass --items, --add, --remove or --now"
        )
    if not FLAGS.export_dir and (FLAGS.keep_versions or FLAGS.k or FLAGS.tables):
        raise flags.Error("--keep_versions, --k and --tables are of the versions in --export_dir")


def restore_model() -> "RestoredSSR":
    """Returns the model and the items that it has so far.

    Raises:
        ValueError: it is no SSR, or there is none.
    """
    from tfrec_zoo.export.restore import load_export, restore_run
    from tfrec_zoo.export.restored import RestoredSSR
    from tfrec_zoo.export.version_folder import list_versions

    if FLAGS.run_dir:
        source = FLAGS.run_dir
        restored = restore_run(source)
    else:
        source = Path(FLAGS.export or FLAGS.export_dir)
        if not (source / "saved_model.pb").is_file():
            versions = list_versions(source)
            if not versions and FLAGS.export:
                raise ValueError(f"there is no exported version at {source}")
            if not versions:
                raise ValueError(
                    f"{source} has no version yet: pass --run_dir, the run of the first one"
                )
            source /= str(versions[-1])
        restored = load_export(source)
    if not isinstance(restored, RestoredSSR):
        program = restored.experiment.PROGRAM
        raise ValueError(
            f"{source} is of a model {program!r}, whose items are in its weights: an index is made "
            "for 'ssr'"
        )
    return restored


def change(restored: "RestoredSSR", now: float | None) -> "RestoredSSR":
    """Returns the model with the items that the flags ask for; says what became of them."""
    from dataclasses import replace

    from tfrec_zoo.export.item_changes import change_items

    catalogue = restored.catalogue
    changes = change_items(
        catalogue,
        replacement=read_items("items", catalogue),
        added=read_items("add", catalogue),
        removed_ids=read_removed_ids(catalogue),
        now=now,
    )
    _log_changes(changes)
    return replace(restored, catalogue=changes.catalogue)


def measure_shows(restored: "RestoredSSR") -> "RestoredSSR":
    """Returns the model with how much its items are being shown, as `--impressions` tell."""
    from dataclasses import replace

    import numpy as np

    from tfrec_zoo.data.news.exposures import Exposures
    from tfrec_zoo.data.news.impression_files import read_impressions

    if not FLAGS.impressions:
        return restored
    config, catalogue = restored.model.config, restored.catalogue
    if not config.asks_impressions:
        raise ValueError(
            "--impressions tell how much items are being shown, and this model does not look at "
            "that: leave them out, or train with exposure_weight or click_rate_weight"
        )
    log = read_impressions(FLAGS.impressions)
    exposures = Exposures.from_logs([log], catalogue.vocabulary, config.exposure_half_life)
    # A show counts for what comes after it.
    now = exposures.last_time + 1 if FLAGS.now is None else FLAGS.now
    catalogue = exposures.describe(catalogue, now, config.click_rate_prior)
    logging.info(
        "--impressions: %d of what was shown; %d items shown of late",
        log.num_impressions,
        int(np.count_nonzero(catalogue.shows >= config.exposure_prior)),
    )
    return replace(restored, catalogue=catalogue)


def read_items(flag: str, catalogue: "ItemCatalogue") -> "ItemCatalogue | None":
    """Returns the items in the tables of a flag; None where there are none.

    Rows that are no good are named on stderr.
    """
    if not FLAGS[flag].value:
        return None
    limit = sys.maxsize if FLAGS.max_bad_rows is None else FLAGS.max_bad_rows
    items = catalogue.encode(
        FLAGS[flag].value,
        max_bad_rows=limit,
        on_bad_row=lambda sentence: logging.warning("passed over: %s", sentence),
    )
    counts = items.summary
    logging.info(
        "--%s: %s items, %s repeated, %s without content; %s rows passed over",
        flag,
        *(
            f"{counts[name]:,}"
            for name in ("num_items", "num_duplicates", "num_without_content", "num_bad_rows")
        ),
    )
    return items


def read_removed_ids(catalogue: "ItemCatalogue") -> "np.ndarray | None":
    """Returns the ids to remove, object [n]; says how many the catalogue lacks."""
    import numpy as np

    ids = list(FLAGS.remove_id)
    for path in FLAGS.remove:
        # Bytes that are no text are no id of an item, either.
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
        ids += [line for line in lines if line]
    if not ids:
        return None
    found = np.array(list(dict.fromkeys(ids)), dtype=object)
    num_missing = int(np.count_nonzero(catalogue.rows(found) == 0))
    logging.info("--remove: %d items, %d of them not there before", len(found), num_missing)
    return found


def _log_changes(changes: "ItemChanges") -> None:
    logging.info(
        "%s items: %s new, %s read anew, %s removed",
        *(
            f"{number:,}"
            for number in (
                changes.catalogue.num_items,
                changes.num_new,
                changes.num_changed,
                changes.num_removed,
            )
        ),
    )


def main() -> None:
    """Runs the program."""
    run_program(refresh, define_flags)


if __name__ == "__main__":
    main()
