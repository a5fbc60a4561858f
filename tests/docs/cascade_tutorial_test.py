"""The commands and examples of the cascade tutorial run, on a part of the ratings."""

import gzip
import json
import re
import shlex
import shutil
import subprocess

import pytest
from docs.links_test import CODE_BLOCK
from docs.python_api_test import find_examples, run_example

from tfrec_zoo.export import check, main
from tfrec_zoo.program import run_program
from tfrec_zoo.trainers import dlrm, gru4rec

# Lines that are indented by four blanks, and a request.
COMMANDS = re.compile(r"(?:^    [^\n]*\n)+", re.MULTILINE)
REQUEST = re.compile(r"^```bash\n(.*?)^```\n", re.DOTALL | re.MULTILINE)
NUM_RATINGS = 6_000
# What is run in this process; shorter than on the page, and without compiling.
PROGRAMS = {
    "tfrec-gru4rec": (
        gru4rec.train,
        gru4rec.define_flags,
        ["--epochs=1", "--hidden_dims=8", "--num_negatives=8", "--nojit_compile"],
    ),
    "tfrec-dlrm": (
        dlrm.train,
        dlrm.define_flags,
        ["--epochs=1", "--top_mlp=8,1", "--batch_size=512", "--nojit_compile"],
    ),
    "tfrec-export": (main.export, main.define_flags, []),
    "tfrec-check": (check.check, check.define_flags, []),
}
SIZES = {"90000": "5000", "10000": "1000"}


@pytest.fixture(scope="module")
def page(repository):
    return (repository / "docs" / "cascade_tutorial.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(page, shared_data, tmp_path_factory):
    """A folder where all commands of the page have been run."""
    folder = tmp_path_factory.mktemp("cascade_tutorial")
    (folder / "ml-100k").mkdir()
    for name in ("u.data", "u.item"):
        with gzip.open(shared_data / "ratings" / f"{name}.gz", "rb") as file:
            (folder / "ml-100k" / name).write_bytes(file.read())
    ratings = (folder / "ml-100k" / "u.data").read_text().splitlines()
    ratings = sorted(ratings, key=lambda line: int(line.split("\t")[3]))[:NUM_RATINGS]
    (folder / "ml-100k" / "u.data").write_text("\n".join(ratings) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        text = CODE_BLOCK.sub("", page[: page.index("## 7.")])
        for block in COMMANDS.findall(text):
            for command in split_commands(block):
                run_command(command)
    return folder


def split_commands(block):
    """Lists the commands of a block: each program's, and what is left for a shell."""
    lines = re.sub(r"\\\n *", "", re.sub(r"^    ", "", block, flags=re.M)).splitlines()
    if not lines[0].startswith("tfrec-"):
        return ["\n".join(lines)]
    return lines


def run_command(command):
    """Runs a command, one of the zoo's in this process."""
    words = shlex.split(command) if command.startswith("tfrec-") else []
    if not words:
        for size, smaller in SIZES.items():
            command = command.replace(size, smaller)
        subprocess.run(["bash", "-euc", command], check=True, timeout=60)
        return
    function, define_flags, shorter = PROGRAMS[words[0]]
    if words[1:2] == ["served"]:
        words[1] = "--export=served"
    try:
        run_program(function, define_flags, [*words, *shorter])
    except SystemExit as end:
        assert not end.code, command


def test_the_commands_leave_what_the_page_says(folder):
    about = json.loads((folder / "served" / "1" / "assets" / "config.json").read_text())["export"]
    assert (about["k"], about["num_candidates"]) == (20, 100)
    assert about["item_features"] == ["film", "genres"]
    assert about["inputs"] == {"dense": [], "sparse": ["user"]}
    assert "cascade" in (folder / "served" / "deploy" / "models.config").read_text()


def test_the_python_examples_run(page, folder, monkeypatch):
    monkeypatch.chdir(folder)
    examples = find_examples(page)
    assert len(examples) == 2
    printed = [
        run_example(source, f"cascade_tutorial.md, example {number}", {"__name__": "example"})
        for number, (source, _) in enumerate(examples)
    ]
    for text, (_, shown) in zip(printed, examples, strict=True):
        assert len(text.splitlines()) == len(shown.splitlines())
    first, *others = (line.split("  recall")[0].strip() for line in printed[1].splitlines())
    assert first == "retrieval alone" and others[0] == "the best of 20 candidates"
    # The same 20 films in another order.
    recalls = re.findall(r"recall@20 (\S+)", printed[1])
    assert recalls[0] == recalls[1]


def test_curl_is_answered(page, folder):
    pytest.importorskip("tensorflow_serving")
    if not shutil.which("curl"):
        pytest.skip("needs curl")
    from serving.model_server import ModelServer
    from serving.rest_server import serve_rest

    server = ModelServer()
    server.load("cascade", folder / "served" / "1")
    (command,) = REQUEST.findall(page)
    with serve_rest(server) as url:
        command = command.replace("http://localhost:8501", url)
        run = subprocess.run(["bash", "-c", command], capture_output=True, check=True, timeout=30)
    (found,) = json.loads(run.stdout)["predictions"]
    assert sorted(found) == ["items", "retrieval_scores", "scores"]
    assert len(found["items"]) == 20
