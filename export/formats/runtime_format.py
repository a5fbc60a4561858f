"""What the formats of other runtimes have in common: a file for each function, and its trial."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfrec_zoo.export.conformance import require, require_close
from tfrec_zoo.export.formats.numeric_signature import Arrays, NumericSignature
from tfrec_zoo.item_index.vector_services import import_extra

# Kernels of other shapes add in another order.
_TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}

# Inputs by name to outputs by name, in the runtime of a format.
Run = Callable[[Arrays], Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class RuntimeFormat:
    """A format that a function of a model can be written in.

    Attributes:
        name: as on the command line.
        suffix: of its files.
        packages: what is imported for it.
        extra: of the zoo, that installs them.
        write: writes a function to a file. It is given a folder, too, which it may fill.
        load: returns a file's function, as its runtime answers.
        has_fixed_shapes: whether the number of requests and the length of sessions are fixed.
        max_bytes: of the tables in a file; None: any number.
    """

    name: str
    suffix: str
    packages: tuple[str, ...]
    extra: str
    write: Callable[[NumericSignature, Path, Path], None]
    load: Callable[[Path], Run]
    has_fixed_shapes: bool = False
    max_bytes: int | None = None

    def require_packages(self) -> None:
        """Raises a ValueError, with the command that installs it, where a package is missing."""
        root = logging.getLogger()
        handlers = list(root.handlers)
        for package in self.packages:
            try:
                import_extra(package, self.extra)
            except ImportError as error:
                raise ValueError(f"format {self.name}: {error}") from None
            finally:
                root.handlers[:] = handlers  # OpenVINO takes them away.

    def convert(self, signature: NumericSignature, path: Path, scratch: Path) -> None:
        """Writes a function to a file, and tries whether it answers as TensorFlow does.

        Args:
            signature: the function.
            path: of the file.
            scratch: an empty folder, which may be filled.

        Raises:
            ValueError: the format lacks an operation of the function, its tables are too large, or
                the answers differ.
            OSError: the file cannot be written.
        """
        self._require_size(signature)
        try:
            self.write(signature, path, scratch)
            inputs = signature.draw_inputs()
            found = self.load(path)(inputs)
        except (OSError, MemoryError):
            raise
        except Exception as error:  # a converter and a runtime raise anything
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise ValueError(
                f"{signature.name} cannot be written as {self.name}: {lines[0][:300]}"
            ) from error
        _compare(found, signature.run(inputs), f"{signature.name} as {self.name}")

    def _require_size(self, signature: NumericSignature) -> None:
        if self.max_bytes is None:
            return
        variables = signature.traced.variables
        size = sum(variable.shape.num_elements() * variable.dtype.size for variable in variables)
        if size > self.max_bytes:
            raise ValueError(
                f"the tables of {signature.name} have {size:,} bytes and a file of format "
                f"{self.name} {self.max_bytes:,} at most: choose the format openvino or "
                "saved_model"
            )


def _compare(found: Arrays, expected: Arrays, what: str) -> None:
    """Raises a ValueError unless the outputs are the same; rows may change places in a tie."""
    require(
        found.keys() == expected.keys(),
        f"{what} answers {sorted(found)}, expected {sorted(expected)}",
    )
    for name, array in expected.items():
        require(
            found[name].shape == array.shape,
            f"{name} of {what} is of shape {list(found[name].shape)}, expected {list(array.shape)}",
        )
        if array.dtype == np.float32:
            # LiteRT has the least number for -inf, the score of no item.
            values = np.where(found[name] == np.finfo(np.float32).min, -np.inf, found[name])
            require_close(values, array, f"{name} of {what}", **_TOLERANCE)
    if "rows" in expected:
        is_clear = _find_clear_places(expected["scores"])
        require_close(
            found["rows"][is_clear], expected["rows"][is_clear], f"rows of {what}", rtol=0, atol=0
        )


def _find_clear_places(scores: np.ndarray) -> np.ndarray:
    """Returns which scores [B, K] are those of one item for certain, bool [B, K]."""
    is_gap = ~np.isclose(scores[:, :-1], scores[:, 1:], **_TOLERANCE)
    edge = np.ones((len(scores), 1), bool)
    # Behind the last place stands an item whose score is not known.
    return np.hstack([edge, is_gap]) & np.hstack([is_gap, ~edge])
