"""Each row of docs/coming-from.md does what its right side says; so does the left side where the tool is here."""

from __future__ import annotations

import html
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import find_tool
from helpers import BIN, MPIEXEC, ROOT, Site

PAGE = ROOT / "docs" / "coming-from.md"
OURS = re.compile(r"(?:taskfarmer-(?:mpi|ctl)|srun|mpiexec|seq|ls|sed|cut)\b")
SRUN = 'while [[ $1 == -* ]]; do shift; done; exec "$@"'
STAND_INS = {"srun": SRUN, "sbatch": "cat > script; echo 7", "mpiexec": f'exec {MPIEXEC} "$@"'}
LINES = ["echo 1 > 1.out", "echo 2 > 2.out", "[ -e mended ] && echo 3 > 3.out"]


@dataclass(frozen=True)
class Row:
    """What is typed there, and here."""

    tool: str
    theirs: str
    ours: str


def _rows() -> list[Row]:
    rows = []
    tool = ""
    for line in PAGE.read_text().splitlines():
        if line.startswith("## "):
            tool = line[3:]
        cells = re.split(r"(?<!\\)\|", line)
        if len(cells) == 4 and "`" in line:
            left, right = (cell.replace(r"\|", "|") for cell in cells[1:3])
            codes = [re.search(r"`([^`]+)`", cell) for cell in (left, right)]
            theirs, ours = (html.unescape(code[1]) if code else "" for code in codes)
            rows.append(Row(tool, theirs, ours))
    return rows


ROWS = _rows()
TOOLS = list(dict.fromkeys(row.tool for row in ROWS))


def _is_run_there(row: Row) -> bool:
    return row.theirs.startswith(("parallel ", "ls ", "pytaskfarmer.py ")) and "--sshlogin" not in row.theirs


def _rows_of(tool: str) -> list[Row]:
    """Return the rows of a tool that are not the same as one before."""
    first: dict[str, Row] = {}
    for row in ROWS:
        first.setdefault(row.ours, row)
    return [
        row for row in ROWS if row.tool == tool and OURS.match(row.ours) and (_is_run_there(row) or first[row.ours] is row)
    ]


def _prepare(folder: Path, row: Row) -> Site:
    """Make a place with what the rows name; a farm that has failed once, where the row is about that."""
    folder.mkdir()
    site = Site(folder)
    site.tasklist(LINES)
    site.tasklist(["echo 4 > 4.out"], "later")
    site.tasklist(["x\t7", "y\t8"], "table")
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text(name)
    (folder / "data").mkdir()
    for name, text in {"run": 'echo "$*" > "run-$1.out"', **STAND_INS}.items():
        path = folder / "bin" / name if name in STAND_INS else folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)
    has_failed = bool(re.search(r"retry |/failed", row.ours))
    if not has_failed:
        (folder / "mended").touch()
    if has_failed or "--resume" in row.theirs or "tasks_workdir" in row.ours.partition(";")[0]:
        site.farm("tasks").succeed(60, code=int(has_failed))
    if "joblog" in row.theirs:
        _type(site, "parallel --joblog joblog < tasks", code=int(has_failed))
    for path in folder.glob("*.out"):
        path.unlink()
    (folder / "mended").touch()
    return site


def _type(site: Site, command: str, *, code: int = 0) -> str:
    environ = site.environ(PATH=f"{site.path}/bin:{BIN}:{site.environ()['PATH']}")
    process = site.start("bash", "-o", "pipefail", "-c", command, environ=environ)
    process.succeed(90, code=code)
    assert "Traceback" not in process.stderr
    return process.stdout


def _made(site: Site) -> dict[str, str]:
    return {path.name: path.read_text().strip() for path in sorted(site.path.glob("*.out"))}


def _check(row: Row, folder: Path, script: Path) -> str | None:
    """Run our side, and theirs if it can be; return what is wrong."""
    here = _prepare(folder / "here", row)
    there = None
    try:
        said = _type(here, row.ours)
        if row.ours.startswith(("taskfarmer-mpi", "srun", "seq", "ls")):
            assert re.search(r"^[1-9]\d* tasks?: [1-9]\d* finished, 0 failed, 0 left", said, re.MULTILINE), said
        if _is_run_there(row):
            there = _prepare(folder / "there", row)
            _type(there, row.theirs.replace("pytaskfarmer.py", f"{script.parent}/python -u {script}"))
            assert row.tool != "GNU parallel" or _made(there) == _made(here), (_made(there), _made(here))
    except AssertionError as error:
        return f"{row.ours}: {error}"
    finally:
        for site in (here, there):
            if site is not None:
                site.clear()
    return None


def test_each_tool_has_rows_that_are_run() -> None:
    assert len(TOOLS) == 7
    for tool in TOOLS:
        assert sum(bool(OURS.match(row.ours)) for row in ROWS if row.tool == tool) >= 5, tool
    left_out = [row.theirs for row in ROWS if not OURS.match(row.ours)]
    assert left_out == ["hq server start"]


@pytest.mark.parametrize("tool", TOOLS)
def test_each_row_does_what_it_says(tool: str, tmp_path: Path, pytaskfarmer: Path) -> None:
    find_tool("parallel", "GNU parallel")
    rows = _rows_of(tool)
    folders = [tmp_path / str(number) for number in range(len(rows))]
    for folder in folders:
        folder.mkdir()
    with ThreadPoolExecutor(3) as pool:
        wrong = [found for found in pool.map(_check, rows, folders, [pytaskfarmer] * len(rows)) if found is not None]
    assert wrong == [], "\n".join(wrong)
