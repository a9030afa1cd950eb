"""The documentation speaks of what is there, in the words of the code."""

import re
from pathlib import Path

import pytest
from helpers import ROOT

PACKAGE = ROOT / "taskfarmer_mpi"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
DESIGN = (ROOT / "docs/design.md").read_text()
RETIRED = r"(?i)(?<![a-z])(crew|muster|roster|ledger|glances?|whereabouts)(?![a-z])"
"""Words that the code had for what the glossary names."""


def test_the_map_has_all_folders_and_no_others() -> None:
    drawn = set(re.findall(r"^        ([a-z]+/|errors\.py) ", DESIGN, re.MULTILINE))
    folders = {f"{path.parent.name}/" for path in PACKAGE.glob("*/__init__.py")}
    assert drawn == folders | {"errors.py"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_modules_that_a_page_names_are_there(page: Path) -> None:
    named = re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", page.read_text())
    assert [name for name in named if not (PACKAGE / name).is_file() and not (ROOT / name).is_file()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_points_to_are_there(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_parts_of_pages_that_a_page_points_to_are_there(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", page.read_text()):
        text = (page.parent / target).read_text() if target else page.read_text()
        titles = [title.lower() for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)]
        assert anchor in {re.sub(r"[^\w -]", "", title).replace(" ", "-") for title in titles}, (target, anchor)


def test_no_word_of_former_names_is_left() -> None:
    files = [*PAGES, *PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    files = [path for path in files if path.name not in ("class_paths.py", Path(__file__).name)]
    found = {path: words for path in files if (words := re.findall(RETIRED, path.read_text()))}
    assert found == {}
