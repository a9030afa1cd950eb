"""A folder of journals that cannot be read is trouble, and never a folder without journals."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers import Site

from taskfarmer_mpi.errors import FarmError, ShortageError
from taskfarmer_mpi.workdir.journal_reading import all_journals, open_journals


def test_no_folder_has_no_journals(tmp_path: Path) -> None:
    assert open_journals(tmp_path / "none") == all_journals(tmp_path / "none") == []


def test_a_journal_that_is_closed_meanwhile_is_listed_once(tmp_path: Path) -> None:
    for name in ("b.journal", "a.closed", "a.journal", "c.new"):
        (tmp_path / name).touch()
    assert open_journals(tmp_path) == [tmp_path / "a.journal", tmp_path / "b.journal"]
    assert [path.stem for path in all_journals(tmp_path)] == ["a", "b"]


@pytest.mark.parametrize(
    ("code", "trouble"), [(errno.EIO, ShortageError), (errno.ESTALE, ShortageError), (errno.EACCES, FarmError)]
)
def test_a_folder_that_cannot_be_read_is_trouble(
    code: int, trouble: type[FarmError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> list[str]:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "listdir", refuse)
    for listing in (open_journals, all_journals):
        with pytest.raises(trouble, match=f"{tmp_path}: cannot read: "):
            listing(tmp_path)


def test_a_folder_that_cannot_be_listed_at_any_moment_ends_no_farmer_with_a_traceback(site: Site, strace: str) -> None:
    def fail_at(number: int) -> int | None:
        tasklist = site.tasklist(["true", "false"], f"tasks{number}")
        trace = site.path / f"trace{number}"
        path = f"-o {trace} -P {tasklist}_workdir/farmers -e trace=getdents64"
        fault = f"-e inject=getdents64:error=ESTALE:when={number}"
        farmer = site.farm("-n", "1", tasklist, prefix=f"{strace} {path} {fault}")
        code = farmer.wait(120)
        assert "Traceback" not in farmer.stderr, f"at listing {number}: {farmer.said()}"
        return code if "INJECTED" in trace.read_text() else None

    with ThreadPoolExecutor(5) as at_once:  # most of the time they wait until it may be better
        codes = [code for code in at_once.map(fail_at, range(1, 36)) if code is not None]
    assert set(codes) <= {1, 2, 75}, codes
    print(f"{len(codes)} moments: {codes}")
    assert 3 < len(codes) < 35, "each moment was one at which a listing failed"
