"""Evaluates a trained model on test data: by what kind of model it is.

    tfrec-evaluate --run_dir=run --test=test.tsv.gz --k=5,20
    tfrec-evaluate --export=served/1 --test=test.tsv.gz --predict_to=predictions.parquet

Each kind has flags of its own: --help shows those of the run or export that is named with it, and
of sessions where none is.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from tfrec_zoo.config import PROGRAM_KEY, parse_json_object
from tfrec_zoo.experiments import DLRMExperiment, SSRExperiment
from tfrec_zoo.trainers import evaluate_clicks, evaluate_histories, evaluate_sessions

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


def main() -> None:
    """Entry of `tfrec-evaluate`."""
    programs = {
        DLRMExperiment.PROGRAM: evaluate_clicks,
        SSRExperiment.PROGRAM: evaluate_histories,
    }
    programs.get(find_program(sys.argv[1:]), evaluate_sessions).main()


if __name__ == "__main__":
    main()
