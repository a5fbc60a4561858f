"""Lines of cells as a table of text."""

from collections.abc import Iterable, Sequence


def format_lines(lines: Iterable[Sequence[str]], num_left: int) -> str:
    """Returns the lines with their cells in columns, the first `num_left` of them to the left."""
    lines = list(lines)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(
            cell.ljust(width) if column < num_left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        + "\n"
        for line in lines
    )
