"""The order of the imports, and the other rules that keep the modules apart."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDERS = {
    "tfrec_zoo": REPOSITORY / "tfrec_zoo",
    "tfrec_zoo.trainers": REPOSITORY / "trainers",
    "tfrec_zoo.export": REPOSITORY / "export",
}
# A module imports only from what stands in a line above its own, and from its own package.
ORDER = [
    {"atomic_file", "serving"},
    {"vocabulary", "config"},
    {"data", "distributed_variables", "distribution_config"},
    {"layers", "losses", "optimizers", "metrics"},
    {"models"},
    {"experiments"},
    {"item_index"},
    {"quiet_start", "freed_memory"},
    {"run_folder", "program"},
    {"export"},
    {"trainers"},
    {"estimator"},
]
RANKS = {package: rank for rank, packages in enumerate(ORDER) for package in packages}
# What the programs need before they know that their flags are right.
WITHOUT_TENSORFLOW = [
    "tfrec_zoo.config",
    "tfrec_zoo.data.news.histories",
    "tfrec_zoo.data.news.impression_files",
    "tfrec_zoo.data.news.item_catalogue",
    "tfrec_zoo.data.news.planted_news_table",
    "tfrec_zoo.data.news.time_split",
    "tfrec_zoo.data.sessions.planted_sessions",
    "tfrec_zoo.data.sessions.session_log",
    "tfrec_zoo.metrics.ranking",
    "tfrec_zoo.program",
    "tfrec_zoo.run_folder",
    "tfrec_zoo.serving.rest",
    "tfrec_zoo.serving.rpc",
    "tfrec_zoo.vocabulary",
]


def list_modules() -> dict[str, Path]:
    """Returns import name -> file of every module of the zoo, without the root package."""
    modules = {}
    for package, folder in FOLDERS.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            name = ".".join([package, *parts]).removesuffix(".__init__")
            modules[name] = path
    del modules["tfrec_zoo"]
    return modules


MODULES = list_modules()


def find_imports(source: str, module: str) -> set[str]:
    """Returns the full names of what `source`, the text of `module`, imports from the zoo."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = module.split(".")[: -node.level] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith("tfrec_zoo.")}


def find_violations(source: str, module: str) -> list[str]:
    """Returns what `module` imports against the order."""
    package = module.split(".")[1]
    imported = {name: name.split(".")[1] for name in find_imports(source, module)}
    return sorted(
        name
        for name, other in imported.items()
        if other in RANKS and other != package and RANKS[other] >= RANKS[package]
    )


def test_every_module_has_a_place_in_the_order():
    assert {name.split(".")[1] for name in MODULES} <= set(RANKS)


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_one_way(module):
    assert find_violations(MODULES[module].read_text(encoding="utf-8"), module) == []


@pytest.mark.parametrize(
    "source",
    [
        "import tfrec_zoo.trainers.engine",
        "from tfrec_zoo.trainers import engine",
        "from tfrec_zoo import trainers",
        "def f():\n    from tfrec_zoo.trainers.engine import train",
        "from ..trainers import engine",
    ],
)
def test_an_import_of_the_wrong_way_is_found(source):
    assert len(find_violations(source, "tfrec_zoo.models.gru4rec")) == 1
    assert find_violations(source, "tfrec_zoo.estimator.gru4rec") == []


def test_flags_do_not_wait_for_tensorflow():
    configs = [name for name in MODULES if name.endswith("_config")]
    modules = [*WITHOUT_TENSORFLOW, *configs, *list_program_modules()]
    code = f"import sys, {', '.join(modules)}; sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def list_program_modules() -> list[str]:
    """Returns the modules of the console scripts that setup.py declares."""
    setup = (REPOSITORY / "setup.py").read_text(encoding="utf-8")
    return re.findall(r'"tfrec-[\w-]+ = ([\w.]+):main"', setup)


@pytest.mark.parametrize("module", list_program_modules())
def test_every_program_has_help(module):
    run = subprocess.run(
        [sys.executable, "-m", module, "--help"], capture_output=True, text=True, timeout=60
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert "This program:" in run.stdout


def test_no_file_is_long():
    tests = sorted((REPOSITORY / "tests").rglob("*.py"))
    lengths = {
        str(path.relative_to(REPOSITORY)): path.read_text(encoding="utf-8").count("\n")
        for path in [*MODULES.values(), *tests]
    }
    assert {path: length for path, length in lengths.items() if length > 350} == {}


def test_the_library_does_not_print():
    printing = [
        f"{name}:{node.lineno}"
        for name, path in MODULES.items()
        if path.is_relative_to(FOLDERS["tfrec_zoo"])
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "print"
    ]
    assert printing == []
