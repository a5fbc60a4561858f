"""Prepares click logs on Apache Beam: writes what tfrec-prepare --columns=... does, on any runner.

    python -m tfrec_zoo.trainers.prepare_clicks_beam --columns=criteo --input=train.txt \\
        --output_dir=prepared --test_fraction=0.1

    python -m tfrec_zoo.trainers.prepare_clicks_beam --columns=criteo --input='gs://logs/day_*' \\
        --output_dir=gs://ads/prepared --num_shards=512 --runner=DataflowRunner \\
        -- --project=ads --region=europe-west1 --temp_location=gs://ads/temp

What stands behind -- are Beam's own options. All workers must see the files, and have this package
installed with its extra (tfrec-zoo[beam]); a file is read by one worker, so cut large ones.
"""

import logging as standard_logging
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from absl import flags, logging

from tfrec_zoo.data.clicks.click_preparation_config import ClickPreparationConfig
from tfrec_zoo.data.tables.table_spec import load_table_spec
from tfrec_zoo.program import resolve_config, run_program
from tfrec_zoo.trainers import prepare_clicks
from tfrec_zoo.trainers.prepared_folder import replace_folder, require_writable

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the program's flags."""
    prepare_clicks.define_flags()
    flags.DEFINE_string(
        "runner", "DirectRunner", "Beam's runner: where the work is done. DirectRunner: here."
    )


def prepare(beam_options: list[str]) -> None:
    """Runs the program, with further options of Beam."""
    config = resolve_config(ClickPreparationConfig)
    spec = load_table_spec(FLAGS.columns)
    _import_beam()
    from apache_beam.options.pipeline_options import PipelineOptions

    from tfrec_zoo.data.beam.beam_preparation import prepare_clicks_with_beam

    logging.info("preparing %s into %s", ", ".join(FLAGS.input), FLAGS.output_dir)
    with _open_output(FLAGS.output_dir) as folder:
        summary = prepare_clicks_with_beam(
            FLAGS.input,
            spec,
            config,
            folder,
            validation_inputs=FLAGS.validation_input,
            test_inputs=FLAGS.test_input,
            options=PipelineOptions([f"--runner={FLAGS.runner}", *beam_options]),
        )
    sys.stdout.write(prepare_clicks.format_summary(summary))
    for warning in summary["warnings"]:
        logging.warning("%s", warning)


def _import_beam() -> None:
    """Imports Beam, and keeps it quiet.

    Raises:
        ValueError: it is not installed.
    """
    if not logging.vlog_is_on(1):
        # Beam logs the traceback of every error that it raises.
        standard_logging.getLogger("apache_beam").setLevel(standard_logging.CRITICAL)
    # As it is imported, it warns of each cloud whose packages are not there.
    standard_logging.disable(standard_logging.WARNING)
    try:
        import apache_beam  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "apache_beam":
            raise
        raise ValueError(
            "Apache Beam is not installed: pip install 'tfrec-zoo[beam]', or use tfrec-prepare, "
            "which does the same on one machine"
        ) from None
    finally:
        standard_logging.disable(standard_logging.NOTSET)


def _open_output(output: str) -> AbstractContextManager[str | Path]:
    """Returns a context with the folder to write to, whole at the end or not there.

    In another file system than a disk, a folder is not renamed: it is new, and whole as soon as it
    has its summary, which is written last.
    """
    from tfrec_zoo.data.beam.beam_files import is_remote, list_folder

    if not is_remote(output):
        require_writable(Path(output), FLAGS.overwrite)
        return replace_folder(Path(output), FLAGS.overwrite)
    if found := list_folder(output):
        raise ValueError(
            f"the output folder {output} is not empty, it has {found[0]}: choose another"
        )
    return nullcontext(output)


def main() -> None:
    """The program."""
    own, beam_options = sys.argv, []
    if "--" in own:
        place = own.index("--")
        own, beam_options = own[:place], own[place + 1 :]

    def run() -> None:
        prepare(beam_options)

    run_program(run, define_flags, own)


if __name__ == "__main__":
    main()
