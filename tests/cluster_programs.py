"""Programs that stand for the trainers, and what the files for clusters start of them."""

import json
import os
import re
from pathlib import Path

from absl import flags

from tfrec_zoo.trainers import dlrm, gru4rec

CLUSTERS = Path(__file__).resolve().parents[1] / "docs" / "clusters"
PROGRAMS = {"tfrec-gru4rec": gru4rec, "tfrec-dlrm": dlrm}
# A trainer that says what it was started as, and ends or stays as the test wants.
FAKE_TRAINER = """#!/usr/bin/env bash
type=$(sed 's/.*"type": "\\([a-z]*\\)".*/\\1/' <<< "$TF_CONFIG")
echo "$TF_CONFIG $(basename "$0") $*" >> "$FAKES/started"
if mv "$FAKES/$type.fails" "$FAKES/$$" 2> /dev/null; then
    exit "$(cat "$FAKES/$$")"
fi
if [[ -e $FAKES/$type.stays ]]; then
    exec sleep 600
fi
"""


def write_programs(folder, programs):
    """Writes executable files into a folder, text by name."""
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)


def write_trainers(folder):
    """Writes the programs that stand for the trainers into a folder."""
    write_programs(folder, {name: FAKE_TRAINER for name in PROGRAMS})


def make_environment(fakes, **variables):
    """Returns an environment that finds the programs in the folder `fakes` first."""
    return {
        "PATH": f"{fakes}:{os.environ['PATH']}",
        "FAKES": str(fakes),
        "HOME": str(fakes / "home"),
        **{name: str(value) for name, value in variables.items()},
    }


def read_started(fakes):
    """Returns TF_CONFIG and the command line of each trainer that was started."""
    decoder = json.JSONDecoder()
    found = []
    for line in (fakes / "started").read_text().splitlines():
        config, end = decoder.raw_decode(line)
        found.append((config, line[end:].split()))
    return found


def list_flags(program):
    """Returns the names of a trainer's flags."""
    known = set(flags.FLAGS)
    try:
        program.define_flags()
        return set(flags.FLAGS) - known
    finally:
        for name in set(flags.FLAGS) - known:
            delattr(flags.FLAGS, name)


def check_command(command, strategy):
    """Asserts that a command line runs a trainer with flags that it has."""
    program, *arguments = command
    names = [re.fullmatch(r"--([a-z_]+)=\S+", argument)[1] for argument in arguments]
    assert f"--strategy={strategy}" in arguments
    assert set(names) <= list_flags(PROGRAMS[program])
    assert "run_dir" in names and {"train", "prepared"} & set(names)
