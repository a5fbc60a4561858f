"""Prepares click logs: encodes their values, splits them, writes shards that trainers read as is.

    tfrec-prepare --columns=criteo --input=train.txt.gz --output_dir=prepared --test_fraction=0.1
    tfrec-prepare --columns=columns.json --input=clicks-*.csv --test_input=new.csv --output_dir=out

Writes the parts train, validation and test, features.json, spec.json, a vocabulary for each
feature, all learned from the training part alone, and preparation.json. Without --columns,
tfrec-prepare prepares session logs.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import flags, logging

from tfrec_zoo.data.clicks.click_preparation import prepare_clicks
from tfrec_zoo.data.clicks.click_preparation_config import ClickPreparationConfig
from tfrec_zoo.data.tables.table_spec import load_table_spec
from tfrec_zoo.program import define_config_flags, resolve_config, run_program
from tfrec_zoo.trainers.preparation_progress import PreparationProgress
from tfrec_zoo.trainers.prepared_folder import replace_folder, require_writable
from tfrec_zoo.trainers.text_table import format_lines

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the program's flags."""
    define_config_flags(ClickPreparationConfig)
    flags.DEFINE_string(
        "columns",
        None,
        "What the log's columns are: a JSON file, or the name of a packaged one, such as criteo.",
        required=True,
    )
    flags.DEFINE_multi_string("input", None, "Click log; repeatable, wildcards.", required=True)
    flags.DEFINE_multi_string(
        "validation_input", [], "Click log that is the validation part; repeatable."
    )
    flags.DEFINE_multi_string("test_input", [], "Click log that is the test part; repeatable.")
    flags.DEFINE_string("output_dir", None, "Folder to write, new or empty.", required=True)
    flags.DEFINE_bool("overwrite", False, "Replace an earlier preparation in the folder.")


def prepare() -> None:
    """Runs the program."""
    config = resolve_config(ClickPreparationConfig)
    spec = load_table_spec(FLAGS.columns)
    output = Path(FLAGS.output_dir)
    require_writable(output, FLAGS.overwrite)
    logging.info("preparing %s into %s", ", ".join(FLAGS.input), output)
    with replace_folder(output, FLAGS.overwrite) as folder, PreparationProgress() as progress:
        summary = prepare_clicks(
            FLAGS.input,
            spec,
            config,
            folder,
            validation_inputs=FLAGS.validation_input,
            test_inputs=FLAGS.test_input,
            watch=progress,
        )
    sys.stdout.write(format_summary(summary))
    for warning in summary["warnings"]:
        logging.warning("%s", warning)


def format_summary(summary: Mapping[str, Any]) -> str:
    """Returns the summary of `prepare_clicks` as text: what was read, the parts, the features."""
    read = summary["input"]
    bad = read["num_bad_rows"]
    head = (
        f"read {read['num_rows']:,} rows, passed over {bad:,} bad {'one' if bad == 1 else 'ones'}; "
        f"{summary['rows_per_second']:,.0f} rows per second\n"
    )
    if read["num_dropped_negatives"]:
        head += f"left out {read['num_dropped_negatives']:,} training examples without a click\n"
    tables = [_format_parts(summary["parts"])]
    if summary["features"]:
        tables.append(_format_features(summary["features"], list(summary["parts"])))
    return "\n".join([head, *tables])


def _format_parts(parts: Mapping[str, Mapping[str, Any]]) -> str:
    has_times = any("times" in part for part in parts.values())
    lines = [("part", "examples", "clicks", "click rate", *(["from", "to"] if has_times else []))]
    for name, part in parts.items():
        times = [f"{time:.10g}" for time in part.get("times", [])]
        counts = (f"{part['num_rows']:,}", f"{part['num_clicks']:,}", f"{part['click_rate']:.4f}")
        lines.append((name, *counts, *times))
    return format_lines(lines, num_left=1)


def _format_features(features: Mapping[str, Mapping[str, Any]], parts: list[str]) -> str:
    """Returns a line for each table: its values, and the shares of values that are in its row 0."""
    lines = [("feature", "kind", "values", "kept", "rows", *(f"unknown in {p}" for p in parts))]
    for name, feature in features.items():
        counts = [f"{feature[k]:,}" if k in feature else "-" for k in ("num_values", "num_kept")]
        is_hashed = feature["kind"] == "hash"
        shares = ["-" if is_hashed else f"{feature['unknown'][part]:.2%}" for part in parts]
        lines.append((name, feature["kind"], *counts, f"{feature['num_rows']:,}", *shares))
    return format_lines(lines, num_left=2)


def main() -> None:
    """Entry of `tfrec-prepare` for clicks."""
    run_program(prepare, define_flags)


if __name__ == "__main__":
    main()
