"""Man pages, completions and the page of all options say what the parsers say."""

from __future__ import annotations

import argparse
import re
import shutil
import sys

from helpers import ROOT, Process, Site

from taskfarmer_mpi.cli.control import COMMANDS, declare
from taskfarmer_mpi.cli.options import build_parser

SCRIPT = ROOT / "scripts" / "pages"
DOCS = ROOT / "docs"
GUIDE = (DOCS / "command-line.md").read_text()
_OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")


def _check(site: Site, folder: str) -> Process:
    return site.start(sys.executable, SCRIPT, "--check", folder)


def test_the_committed_pages_are_those_of_the_parsers(site: Site) -> None:
    _check(site, str(ROOT)).succeed(60)


def test_a_page_that_says_something_else_is_named_and_made_anew(site: Site) -> None:
    for folder in ("share", "docs"):
        shutil.copytree(ROOT / folder, site.path / folder)
    page = site.path / "share" / "man" / "man1" / "taskfarmer-mpi.1"
    text = page.read_text()
    page.write_text(text.replace("task", "job", 1))
    (site.path / "docs" / "options.md").unlink()
    check = _check(site, str(site.path))
    check.succeed(60, code=1)
    assert [line.split(":")[0] for line in check.stdout.splitlines()] == [
        "docs/options.md",
        "share/man/man1/taskfarmer-mpi.1",
    ]
    site.start(sys.executable, SCRIPT, site.path).succeed(60)
    assert page.read_text() == text
    assert (site.path / "docs" / "options.md").read_text() == (ROOT / "docs" / "options.md").read_text()


def test_the_page_of_all_options_has_all_options_and_commands() -> None:
    page = (ROOT / "docs" / "options.md").read_text()
    for action in build_parser()._actions:
        assert all(
            f"`{option}" in page or f", {option}" in page
            for option in action.option_strings
            if option not in ("-h", "--help")
        )
    assert [name for name in COMMANDS if f"\n### taskfarmer-ctl {name}\n" not in page] == []


def _rows(title: str) -> list[list[str]]:
    r"""Return the cells of the rows of a table of the guide, by its title; `\|` is no end of a cell."""
    table = GUIDE.split(title, 1)[1].split("\n\n", 1)[0]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in table.splitlines()[1:] if row]


def _options_in(text: str) -> set[str]:
    return {option for code in re.findall(r"`([^`]+)`", text) for option in _OPTION.findall(code)}


def test_the_guide_names_options_that_are_there_with_their_defaults() -> None:
    actions = {option: action for action in build_parser()._actions for option in action.option_strings}
    for names, _, default in _rows("| Option | Meaning | Default |\n"):
        options = _options_in(names)
        assert options <= set(actions), names
        for option in options if default.isdecimal() else ():
            assert f"(default: {default})" in str(actions[option].help), (option, default)


def test_each_option_is_told_on_a_page_that_is_written_by_hand() -> None:
    pages = [page.read_text() for page in DOCS.glob("*.md") if page.name != "options.md"]
    told = set().union(*map(_options_in, pages))
    assert [action.option_strings for action in build_parser()._actions if not told.intersection(action.option_strings)] == [
        []
    ]


def test_the_guide_names_all_commands_with_options_that_they_have() -> None:
    named = set()
    for names, text in _rows("| Command | What it does |\n"):
        for name in re.findall(r"`([a-z]+)", names):
            parser = argparse.ArgumentParser()
            declare(name, parser)
            known = {option for action in parser._actions for option in action.option_strings}
            assert _options_in(names) <= known, (name, known)
            named.add(name)
            if names.count("`") == 2 and name not in ("submit", "doctor"):
                assert _options_in(text) <= known, (name, text)
    assert named == set(COMMANDS)
