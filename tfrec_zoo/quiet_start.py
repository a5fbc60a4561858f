"""Keeps the messages of a program readable: one format, without TensorFlow's start-up chatter."""

import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import logging as standard_logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

from absl import flags, logging

# How TensorFlow's C++ libraries begin their lines: severity and date.
_CPP_LOG_LINE = re.compile(rb"([IWE]\d{4} |WARNING: All log messages before absl)")
_OTHER_PACKAGE = re.compile(r"[/\\]site-packages[/\\](?!tfrec_zoo)")


class _LineFormatter(standard_logging.Formatter):
    """Formats a record as `[HH:MM:SS] message`, with the level from warnings on."""

    def format(self, record: standard_logging.LogRecord) -> str:
        is_warning = record.levelno >= standard_logging.WARNING
        level = f"{record.levelname.lower()}: " if is_warning else ""
        line = f"[{self.formatTime(record, '%H:%M:%S')}] {level}{record.getMessage()}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _is_of_interest(record: standard_logging.LogRecord) -> bool:
    is_warning = record.levelno >= standard_logging.WARNING
    return is_warning or _OTHER_PACKAGE.search(record.pathname) is None


def set_up_logging() -> None:
    """Sends `absl.logging` to stderr in lines for people; of other packages only the warnings."""
    logging.use_absl_handler()
    handler = logging.get_absl_handler()
    handler.setFormatter(_LineFormatter())
    handler.addFilter(_is_of_interest)
    if flags.FLAGS["verbosity"].using_default_value:
        logging.set_verbosity(logging.INFO)


def quieten_tensorflow() -> None:
    """Silences what TensorFlow says as it starts, unless a `TF_CPP_MIN_LOG_LEVEL` below 3 asks.

    Has no effect in a process that has imported TensorFlow already.
    """
    asked_level = os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3")
    if asked_level < "3" or "tensorflow" in sys.modules:
        return
    # Without a graphics card TensorFlow calls its absence an error, which is level 2.
    has_gpu = Path("/proc/driver/nvidia").exists()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if has_gpu else "3")
    standard_logging.getLogger("tensorflow").setLevel(standard_logging.ERROR)
    sys.meta_path.insert(0, _QuietImport())


class _QuietImport(importlib.abc.MetaPathFinder):
    """Catches the lines of C++ libraries being loaded, which come before any log level holds."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None:
            execute = spec.loader.exec_module

            def execute_quietly(module: ModuleType) -> None:
                with _drop_cpp_log_lines():
                    execute(module)

            spec.loader.exec_module = execute_quietly
        return spec


@contextlib.contextmanager
def _drop_cpp_log_lines() -> Iterator[None]:
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            caught.seek(0)
            for line in caught:
                if not _CPP_LOG_LINE.match(line):
                    os.write(2, line)
