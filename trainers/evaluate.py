"""Evaluates a trained model on test data: by what kind of model it is.

    tfrec-evaluate --run_dir=run --test=test.tsv.gz --k=5,20
    tfrec-evaluate --export=served/1 --test=test.tsv.gz --predict_to=predictions.parquet
    tfrec-evaluate --run_dir=run --test=test.tsv.gz --follow

Each kind has flags of its own: --help shows those of the run or export that is named with it, and
of sessions where none is.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from tfrec_zoo.config import PROGRAM_KEY, parse_json_object
from tfrec_zoo.experiments import DLRMExperiment, SSRExperiment
from tfrec_zoo.program import run_program
from tfrec_zoo.run_folder import RunFolder
from tfrec_zoo.trainers import evaluate_clicks, evaluate_histories, evaluate_sessions
from tfrec_zoo.trainers.evaluated_model import define_follow_flags
from tfrec_zoo.trainers.follow import Patience, await_file

_FOLDER_FLAG = re.compile(r"--?(?:run_dir|export)(?:=(.*))?")


def find_program(arguments: Sequence[str]) -> str | None:
    """Returns the model of the run or export that a command line names; None where it has none."""
    for place, argument in enumerate(arguments):
        if not (match := _FOLDER_FLAG.fullmatch(argument)):
            continue
        following = "".join(arguments[place + 1 : place + 2])
        folder = Path(following if match[1] is None else match[1])
        for path in (folder, folder / "assets", *sorted(folder.glob("[0-9]*/assets"))[-1:]):
            try:
                config = parse_json_object((path / "config.json").read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            return config.get(PROGRAM_KEY)
    return None


def find_followed(arguments: Sequence[str]) -> flags.FlagValues | None:
    """Returns the flags of a command line that asks to follow a run; None where it does not."""
    values = flags.FlagValues()
    define_follow_flags(values)
    values.set_gnu_getopt()
    try:
        values(["", *arguments], known_only=True)
    except flags.Error:
        return None
    is_help = {"--help", "-help", "-h"} & set(arguments)
    return values if values.follow and values.run_dir and not is_help else None


def main() -> None:
    """Entry of `tfrec-evaluate`."""
    # Of a training that has not begun nobody knows yet what kind of model it is.
    if followed := find_followed(sys.argv[1:]):
        config_path = RunFolder(followed.run_dir).config_path
        patience = Patience(followed.follow_timeout)
        run_program(lambda: await_file(config_path, patience), argv=sys.argv[:1])
    programs = {
        DLRMExperiment.PROGRAM: evaluate_clicks,
        SSRExperiment.PROGRAM: evaluate_histories,
    }
    programs.get(find_program(sys.argv[1:]), evaluate_sessions).main()


if __name__ == "__main__":
    main()
