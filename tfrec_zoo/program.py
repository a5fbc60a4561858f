"""What every program shares: flags from configurations, errors in one line, an exit code.

A program is two functions, and an entry that joins them. Importing it must stay quick, since
`--help` and a wrong flag should not wait for TensorFlow: what needs it is imported inside `train`.

    def define_flags():
        define_config_flags(Experiment)
        flags.DEFINE_string("run_dir", None, "The run folder.", required=True)

    def train():
        experiment = resolve_config(Experiment)
        ...

    def main() -> None:
        run_program(train, define_flags)

Exit codes: 0 done, 1 bad input or a full disk, 2 wrong flags, 75 another task of the cluster is
gone (the same command goes on), 130 interrupted. A bug keeps its traceback, and so does every error
under `--verbosity=1`.
"""

import errno
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from absl import flags, logging

from tfrec_zoo.config import (
    Config,
    Option,
    OptionType,
    list_options,
    parse_json_object,
    resolve_names,
)
from tfrec_zoo.freed_memory import keep_freed_memory
from tfrec_zoo.quiet_start import quieten_tensorflow, set_up_logging

ConfigType = TypeVar("ConfigType", bound=Config)

FLAGS = flags.FLAGS

# TensorFlow's errors about the input or the machine; by name, for TensorFlow is slow to load.
_TENSORFLOW_USER_ERRORS = {
    "AlreadyExistsError",
    "DataLossError",
    "NotFoundError",
    "PermissionDeniedError",
    "ResourceExhaustedError",
    "UnavailableError",
}
# Of a job that the same command goes on with; the number is that of sysexits.h's EX_TEMPFAIL.
EXIT_TASK_LOST = 75
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
_FULL_DISK_TEXT = re.compile(r"(?:([^\s;:]+)[;:] )?(?:No space left on device|Disk quota exceeded)")


class _OptionParser(flags.ArgumentParser):
    """Reads the text of a flag as the value of an option."""

    def __init__(self, option: Option):
        super().__init__()
        self.option = option

    def parse(self, argument: Any) -> Any:
        if not isinstance(argument, str):
            return self.option.convert(argument)
        return self.option.convert(parse_option_text(self.option.type, argument))

    def flag_type(self) -> str:
        return str(self.option.type)


class _AliasFlag(flags.Flag):
    """A flag under another system's name, left out of the help."""


def parse_option_text(option_type: OptionType, text: str) -> Any:
    """Returns the value that `text` means on a command line, as JSON would have it.

    Lists are separated by commas (of numbers also by slashes: `100/100`), `none` is None. A text
    that is not of the type comes back as it is, for `Option.convert` to refuse.
    """
    scalar = option_type.scalar
    if option_type.is_optional and text.lower() in ("none", "null"):
        return None
    if option_type.is_tuple:
        parts = re.split("," if scalar is str else "[,/]", text) if text else []
        return [parse_option_text(OptionType(scalar), part.strip()) for part in parts]
    if scalar is bool:
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
    try:
        return scalar(text)
    except ValueError:
        return text


def define_config_flags(config_class: type[Config]) -> None:
    """Defines a flag for each option of `config_class`, one for each alias, and `--config`.

    The name is the field's own, without that of the nested configuration, so it must be unique.

    Raises:
        absl.flags.DuplicateFlagError: two options have one name.
    """
    if "config" not in FLAGS:
        flags.DEFINE_string(
            "config", None, "A JSON file of options, or the name of a recipe; flags override it."
        )
    for option in list_options(config_class):
        parser = _OptionParser(option)
        is_boolean = option.type.scalar is bool and not option.type.is_tuple
        section = inspect.getdoc(option.group).splitlines()[0]
        for flag_class, name in [
            (flags.Flag, option.name),
            *((_AliasFlag, alias) for alias in option.aliases),
        ]:
            # The default stays None: what counts is whether the flag is on the command line.
            flag = flag_class(
                parser, None, name, None, _describe_option(option), boolean=is_boolean
            )
            flags.DEFINE_flag(flag, module_name=section)


class TaskLostError(Exception):
    """A task of the cluster is gone, or cannot be reached: the job has to be started again."""


def resolve_config(config_class: type[ConfigType], recipes: Path | None = None) -> ConfigType:
    """Returns the configuration of this run: defaults, `--config` over them, flags over both.

    Args:
        config_class: the class whose flags `define_config_flags` has defined.
        recipes: the folder whose files `--config` may call by their name alone.

    Raises:
        ValueError: the file or the resulting configuration is refused.
        OSError: the file cannot be read.
    """
    values = {}
    if FLAGS.config:
        path = _find_config_file(FLAGS.config, recipes)
        try:
            values = resolve_names(config_class, parse_json_object(path.read_text("utf-8")))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    for option in list_options(config_class):
        names = [n for n in (option.name, *option.aliases) if not FLAGS[n].using_default_value]
        if len(names) > 1:
            raise flags.IllegalFlagValueError(f"--{names[0]} and --{names[1]} are the same option")
        if names:
            group = values
            for name in option.path[:-1]:
                group = group.setdefault(name, {})
            group[option.name] = FLAGS[names[0]].value
    return config_class.from_dict(values)


def run_program(
    main: Callable[[], None],
    define_flags: Callable[[], None] = lambda: None,
    argv: list[str] | None = None,
) -> None:
    """Runs `main` with its flags parsed, and turns its errors into one line and an exit code.

    Args:
        main: the program; the docstring of its module is the head of its `--help`.
        define_flags: defines its flags. They are taken back at the end, so that a process may run
            several programs.
        argv: the command line, `sys.argv` if None.

    Raises:
        SystemExit: with the exit code, unless that is 0 at the end of `main`.
    """
    argv = list(sys.argv if argv is None else argv)
    known_flags = set(FLAGS)
    try:
        define_flags()
        _run(main, argv, [name for name in FLAGS if name not in known_flags])
    finally:
        FLAGS.unparse_flags()
        for name in set(FLAGS) - known_flags:
            delattr(FLAGS, name)


def _run(main: Callable[[], None], argv: list[str], flag_names: list[str]) -> None:
    program = Path(argv[0]).name.removesuffix(".py")
    try:
        if {"--help", "-help", "-h"} & set(argv[1:]):
            sys.stdout.write(
                format_help(program, inspect.getmodule(main).__doc__ or "", flag_names)
            )
            sys.exit(0)
        if rest := FLAGS(argv)[1:]:
            raise flags.Error(
                f"{program} takes flags only, got {rest[0]!r}; is there a -- missing?"
            )
        set_up_logging()
        quieten_tensorflow()
        keep_freed_memory()
        main()
    except (Exception, KeyboardInterrupt) as error:
        sys.exit(report_error(error, program))


def report_error(error: BaseException, program: str | None = None) -> int:
    """Writes the sentence on an error to the standard error, and returns the exit code.

    Args:
        error: what ended the program; raised again where it is a bug, or where --verbosity=1 asks
            for its traceback.
        program: its name; None: as it was called.
    """
    program = program or Path(sys.argv[0]).name.removesuffix(".py")
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, KeyboardInterrupt):
        return _report(130, f"{program}: interrupted")
    if isinstance(error, flags.Error):
        return _report(2, f"{program}: error: {error}\nTry: {program} --help")
    sentence = describe_error(error)
    if sentence is None or logging.vlog_is_on(1):
        raise error
    return _report(
        EXIT_TASK_LOST if isinstance(error, TaskLostError) else 1, f"{program}: error: {sentence}"
    )


def describe_error(error: BaseException) -> str | None:
    """Returns one sentence on an error that its user can mend, None for a bug."""
    text = " ".join(str(error).split())
    is_tensorflow = type(error).__module__.startswith("tensorflow.python.framework.errors")
    if isinstance(error, OSError):
        place = f": {error.filename}" if error.filename else ""
        if error.errno in _FULL_DISK:
            return f"the disk is full{place}; free some space and run the same command again"
        return f"{error.strerror}{place}" if error.strerror else text
    if is_tensorflow and (match := _FULL_DISK_TEXT.search(text)):
        return describe_error(OSError(errno.ENOSPC, "", match.group(1)))
    if is_tensorflow and type(error).__name__ in _TENSORFLOW_USER_ERRORS:
        return text
    if isinstance(error, MemoryError):
        return f"out of memory; {text}" if text else "out of memory"
    if isinstance(error, TaskLostError):
        return f"{text}; start the job again, and it goes on from its last checkpoint"
    # A compressed file that ends too early is an EOFError.
    return text if isinstance(error, ValueError | EOFError) else None


def format_help(program: str, description: str, names: Iterable[str]) -> str:
    """Returns the text of `--help`: the flags `names` under the headings of their sections."""
    sections: dict[str, list[str]] = {}
    for name in names:
        flag = FLAGS[name]
        if isinstance(flag, _AliasFlag):
            continue
        is_option = isinstance(flag.parser, _OptionParser)
        heading = FLAGS.find_module_defining_flag(name) if is_option else "This program"
        text = flag.help if is_option else _describe_flag(flag)
        text = textwrap.indent(textwrap.fill(" ".join(text.split()), 90), " " * 6)
        lines = [f"  --[no]{name}" if flag.boolean else f"  --{name}", text]
        sections.setdefault(heading.rstrip("."), []).extend(lines)
    blocks = [f"{program}: {inspect.cleandoc(description)}"]
    blocks += ["\n".join([f"{heading}:", *lines]) for heading, lines in sections.items()]
    blocks.append("--flagfile=FILE reads flags from a file, --verbosity=1 shows tracebacks.")
    return "\n\n".join(blocks) + "\n"


def _describe_option(option: Option) -> str:
    parts = [option.help.rstrip(".") + "."]
    if option.choices:
        parts.append(f"One of {', '.join(map(str, option.choices))}.")
    parts += _describe_default("none" if option.default is None else option.default)
    if option.aliases:
        parts.append(f"Also {', '.join('--' + alias for alias in option.aliases)}.")
    return " ".join(parts)


def _describe_flag(flag: flags.Flag) -> str:
    # Absl adds a sentence to the help of flags that may be repeated, which say so themselves.
    text = " ".join(flag.help.split()).removesuffix(
        "repeat this option to specify a list of values"
    )
    return " ".join([text.rstrip(".; ") + ".", *_describe_default(flag.default)])


def _describe_default(default: Any) -> list[str]:
    """Returns the sentence on a default as it would be typed; none where it is empty."""
    if isinstance(default, tuple | list):
        default = ",".join(map(str, default))
    if default is None or default == "":
        return []
    return [f"Default: {default if isinstance(default, str) else str(default).lower()}."]


def _find_config_file(name: str, recipes: Path | None) -> Path:
    path = Path(name)
    if recipes is None or path.exists():
        return path
    recipe = recipes / f"{path.name.removesuffix('.json')}.json"
    if path.name == name and recipe.exists():
        return recipe
    known = ", ".join(sorted(file.stem for file in recipes.glob("*.json")))
    raise ValueError(f"--config: there is no file {name}, and the recipes are {known}")


def _report(code: int, message: str) -> int:
    sys.stderr.write(f"{message}\n")
    return code
