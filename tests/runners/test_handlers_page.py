"""The page about runners and handlers: what it shows works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import uproot  # type: ignore[import-untyped]
from helpers import ROOT

from taskfarmer_mpi.runners.pytaskfarmer import make_handler, make_runner
from taskfarmer_mpi.runners.registry import HANDLER, RUNNER, find
from taskfarmer_mpi.runners.shell import Launch

PAGE = (ROOT / "docs" / "handlers.md").read_text()


def blocks() -> list[str]:
    """Return the indented blocks of the page."""
    found = re.findall(r"(?:^    .*\n|^\n)+", PAGE, re.MULTILINE)
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE).strip() + "\n" for block in found if block.strip()]


def shown_file(name: str) -> str:
    """Return the content of a file that the page shows with `cat`."""
    (text,) = (block.partition(f"$ cat {name}\n")[2] for block in blocks() if f"$ cat {name}\n" in block)
    return text


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a current directory with all definitions of the page; the last one of a name counts."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    sections = re.findall(r"^\[\w+\]\n(?:\w+ = .*\n)+", "\n".join(blocks()), re.MULTILINE)
    for number, section in enumerate(sections):
        (tmp_path / f"{number:02}.ini").write_text(section)
    with uproot.recreate(tmp_path / "a.root") as file:
        file.mktree("CollectionTree", {"x": "int64"})
    (tmp_path / "files").write_text("a.root\n")
    for name in ("points.csv", "scan.template"):
        (tmp_path / name).write_text(shown_file(name))
    return tmp_path


@pytest.mark.parametrize("name", ["reco22", "fit", "gpu"])
@pytest.mark.usefixtures("folder")
def test_a_runner_of_the_page_can_be_made(name: str) -> None:
    definition = find(RUNNER, name)
    launch = make_runner(definition).launch("a task")
    assert isinstance(launch, Launch)
    assert definition.options["image"] in " ".join(launch.argv)


@pytest.mark.parametrize(
    ("name", "tasklist", "count", "number", "command"),
    [
        ("points", "points.csv", 2, 1, "fit --mass 200 --title 'rather heavy, but stable' > 'rather heavy, but stable'.log"),
        ("scan", "scan.template", 15_000, 0, "simulate --mass 100 --seed 1 --coupling 0.00"),
        ("digi", "files", 1, 0, "Reco_tf.py --autoConfiguration='everything'"),
        ("valid", "files", 1, 0, "athena.py --nprocs='64' --filesInput='a.root' InDetPhysVal"),
    ],
)
def test_a_handler_of_the_page_has_the_tasks_it_says(
    folder: Path, name: str, tasklist: str, count: int, number: int, command: str
) -> None:
    handler = make_handler(find(HANDLER, name), str(folder / tasklist), str(folder / "work"))
    assert len(handler.tasks) == count
    assert handler[number].startswith(command)


def test_the_class_of_the_page_is_a_runner() -> None:
    (text,) = (block for block in blocks() if "class NiceRunner" in block)
    names: dict[str, type] = {}
    exec(text, names)
    launch = names["NiceRunner"]("5").launch("a; b")
    assert launch == Launch("/usr/bin/nice", ["nice", "-n", "5", "/bin/bash", "-c", "--", "a; b"])
