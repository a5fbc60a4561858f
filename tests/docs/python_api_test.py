"""The Python examples of the documentation run, and print what stands below them."""

import contextlib
import io
import linecache
import re

# A block of Python, and the block of text right after it, if there is one.
EXAMPLE = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.DOTALL | re.M)


def find_examples(text):
    """Lists the Python blocks: the source and the output that is shown, or None."""
    return [match.groups() for match in EXAMPLE.finditer(text)]


def run_example(source, place, variables):
    """Runs a block and returns what it prints."""
    # AutoGraph reads the source of what it compiles.
    linecache.cache[place] = (len(source), None, source.splitlines(keepends=True), place)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(source, place, "exec"), variables)
    return output.getvalue()


def test_examples_run_and_print_what_is_shown(repository, tmp_path, monkeypatch):
    path = repository / "docs" / "python_api.md"
    examples = find_examples(path.read_text(encoding="utf-8"))
    assert len(examples) >= 8
    monkeypatch.chdir(tmp_path)
    variables = {"__name__": "example"}
    for number, (source, shown) in enumerate(examples):
        printed = run_example(source, f"{path.name}, example {number}", variables)
        assert shown is None or printed == shown


def test_a_wrong_output_is_found():
    text = "```python\nprint(1 + 1)\n```\n\n```text\n3\n```\n\n```python\nx = 1\n```\n"
    (source, shown), (other, nothing) = find_examples(text)
    assert (shown, other, nothing) == ("3\n", "x = 1\n", None)
    assert run_example(source, "a test", {}) == "2\n"
