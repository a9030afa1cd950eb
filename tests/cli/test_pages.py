"""Man pages, completions and the page of all options say what the parsers say."""

from __future__ import annotations

import shutil
import sys

from helpers import ROOT, Process, Site

from taskfarmer_mpi.cli.control import COMMANDS
from taskfarmer_mpi.cli.options import build_parser

SCRIPT = ROOT / "scripts" / "pages"


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
