"""What the documentation points to exists: files, headings, programs, flags and recipes."""

import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest
from absl import flags

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
CODE_BLOCK = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
FLAG = re.compile(r"(?<![\w-])--(?:\[no\])?([a-z_0-9]+)")
# Not the distribution with its extras, tfrec-zoo[faiss].
PROGRAM = re.compile(r"\btfrec-[a-z0-9_]+\b(?!\[)")
RECIPE = re.compile(r"--config=([a-z0-9_]+)(?![\w./])")
# Run by `python -m`.
OTHER_PROGRAMS = ["tfrec_zoo.trainers.prepare_clicks_beam"]
# Absl's own, and those of other programs (and of Beam's runners) that the documentation shows.
FOREIGN_FLAGS = {"help", "flagfile", "verbosity", "model_config_file", "logdir"}
# Of services and servers.
FOREIGN_FLAGS |= {"opt_out", "port", "rest_api_port", "signature"}
FOREIGN_FLAGS |= {"project", "region", "temp_location"}
# Of benchmarks.
FOREIGN_FLAGS |= {"clicks", "news", "nopeers", "sessions"}
# Of Slurm, kubectl and pip, as far as the first hyphen.
FOREIGN_FLAGS |= {"for", "gpus", "no", "nodes", "timeout"}


def list_pages(repository: Path) -> list[Path]:
    # Not what npm installs below a service.
    patterns = ("docs/*.md", "docs/services/README.md", "docs/services/*/README.md", "README.md")
    return sorted(page for pattern in patterns for page in repository.glob(pattern))


def anchor(heading: str) -> str:
    """Returns the anchor of a heading as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def list_programs(repository: Path) -> dict[str, str]:
    """Returns the console scripts of setup.py with their modules."""
    setup = (repository / "setup.py").read_text(encoding="utf-8")
    return dict(re.findall(r'"(tfrec-[\w-]+) = ([\w.]+):main"', setup))


def find_flag_modules(module: str) -> list[ModuleType]:
    """Returns the modules that define a program's flags: its own, those that it hands over to."""
    program = importlib.import_module(module)
    parts = [part for part in vars(program).values() if isinstance(part, ModuleType)]
    return [part for part in (program, *parts) if hasattr(part, "define_flags")]


def list_flags(program: ModuleType) -> set[str]:
    """Returns the names of a program's flags, the peers' among them."""
    known = set(flags.FLAGS)
    try:
        program.define_flags()
        return set(flags.FLAGS) - known
    finally:
        for name in set(flags.FLAGS) - known:
            delattr(flags.FLAGS, name)


@pytest.fixture(scope="module")
def known_flags(repository):
    programs = [*list_programs(repository).values(), *OTHER_PROGRAMS]
    modules = {part for program in programs for part in find_flag_modules(program)}
    names = set().union(*map(list_flags, modules)) | FOREIGN_FLAGS
    return names | {f"no{name}" for name in names}


def find_broken_links(page: Path) -> list[str]:
    """Returns the relative links of a page that lead to no file or to no heading of it."""
    broken = []
    for target in LINK.findall(CODE_BLOCK.sub("", page.read_text(encoding="utf-8"))):
        if "://" in target:
            continue
        name, _, wanted = target.partition("#")
        path = page.parent / name if name else page
        if not path.exists():
            broken.append(target)
        elif wanted:
            text = CODE_BLOCK.sub("", path.read_text(encoding="utf-8"))
            if wanted not in map(anchor, HEADING.findall(text)):
                broken.append(target)
    return broken


def test_links_lead_somewhere(repository):
    pages = list_pages(repository)
    assert len(pages) >= 6
    assert {page.name: find_broken_links(page) for page in pages if find_broken_links(page)} == {}


def test_a_broken_link_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# One, two\n[a](page.md#one-two) [b](#three) [c](other.md) [d](http://x.y)\n")
    assert find_broken_links(page) == ["#three", "other.md"]


def test_flags_exist(repository, known_flags):
    assert {"train", "noshared_negatives", "n_sample", "by_position", "slice_by"} <= known_flags
    unknown = {
        page.name: sorted(found)
        for page in list_pages(repository)
        if (found := set(FLAG.findall(page.read_text(encoding="utf-8"))) - known_flags)
    }
    assert unknown == {}


def test_programs_exist(repository):
    programs = set(list_programs(repository))
    for page in list_pages(repository):
        assert set(PROGRAM.findall(page.read_text(encoding="utf-8"))) <= programs, page.name


def test_recipes_exist_and_are_all_documented(repository):
    recipes = {path.stem for path in (repository / "trainers" / "recipes").glob("*.json")}
    for page in list_pages(repository):
        named = set(RECIPE.findall(page.read_text(encoding="utf-8"))) - {"file"}
        assert named <= recipes, page.name
    text = (repository / "docs" / "recipes.md").read_text(encoding="utf-8")
    assert {recipe for recipe in recipes if f"`{recipe}`" not in text} == set()
