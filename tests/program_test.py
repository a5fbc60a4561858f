"""A program with two configurations, run in this process or, where that matters, in another."""

import errno
import os
import re
import subprocess
import sys
from dataclasses import dataclass

import pytest
from absl import flags

from tfrec_zoo.config import Config, option
from tfrec_zoo.program import (
    FLAGS,
    define_config_flags,
    describe_error,
    resolve_config,
    run_program,
)


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(Config):
    """The network."""

    hidden_dims: tuple[int, ...] = option((100,), "Units of each layer.", aliases=("layers",))
    activation: str = option("tanh", "Of the state.", choices=("tanh", "relu"))
    tie_embeddings: bool = option(True, "Share tables.", aliases=("constrained_embedding",))
    clip_norm: float | None = option(None, "Of the gradient.")
    compiled: bool | None = option(None, "Compile; unset: where it is faster.")


@dataclass(frozen=True, kw_only=True)
class Experiment(Config):
    """How to train."""

    network: NetworkConfig = NetworkConfig(clip_norm=2.0)
    epochs: int = option(5, "Passes.")
    columns: tuple[str, ...] = option(("a/b",), "To read.")

    def __post_init__(self):
        super().__post_init__()
        if self.epochs < 1:
            raise ValueError(f"epochs must be positive, got {self.epochs}")


def define_flags():
    define_config_flags(Experiment)
    flags.DEFINE_multi_string("train", [], "Files.")
    flags.DEFINE_list("k", ["5", "20"], "Cut-offs.")
    flags.DEFINE_boolean("json", False, "Print JSON.")


def run(*arguments, main=None) -> Experiment | None:
    """Runs a program with `arguments` and returns the configuration that it saw."""
    seen = []

    def resolve():
        seen.append(resolve_config(Experiment))

    run_program(main or resolve, define_flags, ["/bin/tfrec-try.py", *arguments])
    return seen[0] if seen else None


def fail(code, *arguments, main=None, capsys) -> str:
    """Runs a program that must end with `code`, and returns what it said on stderr."""
    with pytest.raises(SystemExit) as caught:
        run(*arguments, main=main)
    assert caught.value.code == code
    return capsys.readouterr().err


def raiser(error):
    def main():
        raise error

    return main


def test_flags_stand_over_the_file_and_the_file_over_the_defaults(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"network": {"layers": [7], "activation": "relu"}, "epochs": 3, "about": ""}')
    config = run(f"--config={path}", "--epochs=4", "--noconstrained_embedding")
    network = NetworkConfig(
        hidden_dims=(7,), activation="relu", tie_embeddings=False, clip_norm=2.0
    )
    assert config == Experiment(network=network, epochs=4)
    assert run() == Experiment()


def test_a_flag_may_mend_a_file(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"epochs": 0}')
    assert run(f"--config={path}", "--epochs=1").epochs == 1


@pytest.mark.parametrize(
    ("argument", "name", "value"),
    [
        ("--hidden_dims=5,6", "hidden_dims", (5, 6)),
        ("--layers=100/50", "hidden_dims", (100, 50)),
        ("--hidden_dims=", "hidden_dims", ()),
        ("--clip_norm=none", "clip_norm", None),
        ("--clip_norm=1", "clip_norm", 1.0),
        ("--notie_embeddings", "tie_embeddings", False),
        ("--tie_embeddings=false", "tie_embeddings", False),
        ("--constrained_embedding", "tie_embeddings", True),
        ("--compiled", "compiled", True),
        ("--nocompiled", "compiled", False),
        ("--compiled=none", "compiled", None),
    ],
)
def test_values_are_written_as_their_type_is(argument, name, value):
    assert getattr(run(argument).network, name) == value


def test_texts_are_not_split_at_slashes():
    assert run("--columns=x/y,z").columns == ("x/y", "z")


def test_flags_may_come_from_a_file(tmp_path):
    path = tmp_path / "flags"
    path.write_text("--epochs=8\n--layers=3\n")
    config = run(f"--flagfile={path}")
    assert (config.epochs, config.network.hidden_dims) == (8, (3,))


def test_a_recipe_is_called_by_its_name(tmp_path):
    (tmp_path / "small.json").write_text('{"epochs": 2}')
    seen = []

    def run_recipe(name):
        run(f"--config={name}", main=lambda: seen.append(resolve_config(Experiment, tmp_path)))
        return seen[-1].epochs

    assert run_recipe("small") == run_recipe("small.json") == 2
    with pytest.raises(SystemExit):
        run_recipe("smal")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epoch=3"], "Unknown command line flag 'epoch'. Did you mean: epochs ?"),
        (["--epochs=x"], "flag --epochs=x: epochs must be an integer, got 'x'"),
        (["--layers=1,x"], "flag --layers=1,x: hidden_dims must be a list of integers"),
        (["--activation=elu"], "activation must be one of tanh, relu, got 'elu'"),
        (["--tie_embeddings=maybe"], "tie_embeddings must be true or false, got 'maybe'"),
        (["--layers=1", "--hidden_dims=2"], "--hidden_dims and --layers are the same option"),
        (["epochs=3"], "tfrec-try takes flags only, got 'epochs=3'"),
        (["--epochs"], "Missing value for flag --epochs"),
    ],
)
def test_wrong_flags_end_in_one_line_and_a_hint(arguments, message, capsys):
    lines = fail(2, *arguments, capsys=capsys).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("tfrec-try: error: ") and message in lines[0]
    assert lines[1] == "Try: tfrec-try --help"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"epoch": 1}', "unknown option 'epoch' in Experiment: did you mean epochs?"),
        ("{", "expected a JSON object"),
        (None, "No such file or directory"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, capsys, text, message):
    path = tmp_path / "config.json"
    if text is not None:
        path.write_text(text)
    said = fail(1, f"--config={path}", capsys=capsys)
    assert str(path) in said and message in said and said.count("\n") == 1


def test_a_wrong_combination_ends_in_one_line(capsys):
    said = fail(1, "--epochs=0", capsys=capsys)
    assert said == "tfrec-try: error: epochs must be positive, got 0\n"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("no column\n 'x'"), "error: no column 'x'"),
        (
            FileNotFoundError(2, "No such file or directory", "a.tsv"),
            "No such file or directory: a.tsv",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "/r/x"),
            "error: the disk is full: /r/x;",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "error: the disk is full; free some"),
        (EOFError("the stream ended"), "error: the stream ended"),
        (KeyError("x"), None),
        (MemoryError(), "error: out of memory"),
    ],
)
def test_an_error_of_the_user_ends_in_one_line_and_a_bug_does_not(error, message, capsys):
    if message is None:
        with pytest.raises(type(error)):
            run(main=raiser(error))
        return
    said = fail(1, main=raiser(error), capsys=capsys)
    assert message in said and said.count("\n") == 1


def test_a_full_device_ends_in_one_line(capsys):
    def main():
        with open("/dev/full", "w", buffering=1) as file:
            file.write("line\n")

    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    assert "error: the disk is full" in fail(1, main=main, capsys=capsys)


def test_an_interrupt_ends_in_one_line(capsys):
    assert fail(130, main=raiser(KeyboardInterrupt()), capsys=capsys) == "tfrec-try: interrupted\n"


def test_errors_of_tensorflow_are_known_without_importing_it():
    tf = pytest.importorskip("tensorflow")
    full = "/run/checkpoints/x.data; No space left on device [Op:SaveV2]"
    for kind in (tf.errors.ResourceExhaustedError, tf.errors.UnknownError):
        sentence = describe_error(kind(None, None, full))
        assert sentence.startswith("the disk is full: /run/checkpoints/x.data; free some space")
    lost = tf.errors.DataLossError(None, None, "truncated record at 5")
    assert "truncated record at 5" in describe_error(lost)
    assert describe_error(tf.errors.InvalidArgumentError(None, None, "shapes differ")) is None


def test_help_names_each_flag_once_with_the_names_of_other_systems(capsys):
    with pytest.raises(SystemExit) as caught:
        run("--help")
    text = capsys.readouterr().out
    assert caught.value.code == 0
    assert text.startswith("tfrec-try: A program with two configurations")
    for heading in ("This program:", "How to train:", "The network:"):
        assert text.count(f"\n{heading}\n") == 1
    assert "--[no]tie_embeddings\n      Share tables. Default: true. Also" in text
    assert "Units of each layer. Default: 100. Also --layers." in text
    assert "Of the state. One of tanh, relu. Default: tanh." in text
    assert "Of the gradient. Default: 2.0." in text
    assert "--train\n      Files.\n" in text
    assert "--k\n      Cut-offs. Default: 5,20.\n" in text
    assert "--[no]json\n      Print JSON. Default: false.\n" in text
    assert not re.search(r"^  --(layers|verbosity)", text, re.MULTILINE)


def test_options_of_one_name_are_refused():
    @dataclass(frozen=True, kw_only=True)
    class Other(Config):
        """Another."""

        train: str = option("", "Clashes with the flag.")

    def define_both():
        define_flags()
        define_config_flags(Other)

    with pytest.raises(flags.DuplicateFlagError, match="train"):
        run_program(lambda: None, define_both, ["try"])


def test_flags_are_taken_back():
    before = set(FLAGS)
    run("--epochs=3")
    assert set(FLAGS) == before
    assert run().epochs == 5


def test_log_lines_have_a_time_and_no_more():
    code = "from absl import logging; from tfrec_zoo.program import run_program\n" + (
        "run_program(lambda: (logging.info('read %d', 3), logging.warning('odd')), argv=['p'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    assert re.fullmatch(r"\[\d\d:\d\d:\d\d\] read 3", lines[0])
    assert re.fullmatch(r"\[\d\d:\d\d:\d\d\] warning: odd", lines[1])


def test_tensorflow_starts_without_a_word():
    code = (
        "from tfrec_zoo.program import run_program\n"
        "def main():\n"
        "    import tensorflow as tf\n"
        "    import tensorflow_recommenders\n"
        "    tf.constant(1.0) + 1\n"
        "run_program(main, argv=['p'])"
    )
    kept = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run([sys.executable, "-c", code], env=kept, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
