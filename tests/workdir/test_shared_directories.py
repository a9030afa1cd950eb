"""Several users of one group directory work on one list, whatever their umask."""

import os
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import skip_or_fail
from helpers import Site, settled

from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.upkeep.ownership import check_owner
from taskfarmer_mpi.workdir.files import Workdir, share

ANOTHER = 54321
"""A user, and a group, that this machine has not."""


@pytest.fixture
def careful() -> Iterator[None]:
    """Have the umask of a user who lets nobody else write."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def _group_directory(path: Path) -> Path:
    path.mkdir()
    os.chown(path, -1, ANOTHER)
    path.chmod(0o2775)
    return path


def _modes(workdir: Path) -> dict[str, int]:
    kept = [path for path in workdir.rglob("*") if path.name != "lock"]
    return {str(path.relative_to(workdir)): stat.S_IMODE(path.stat().st_mode) for path in kept}


def _needs_root() -> None:
    if os.geteuid() != 0:
        skip_or_fail("only root can give files to other users")


@pytest.mark.usefixtures("careful")
def test_all_files_of_a_group_directory_are_the_groups(site: Site) -> None:
    _needs_root()
    workdir = _group_directory(site.path / "tasks_workdir")
    (site.path / "tasks").write_text("true\nfalse\n")
    site.farm("tasks", "-n", "2").succeed(60, code=1)
    modes = _modes(workdir)
    assert {"finished", "failed", "toprocess", "timeline.json", "farm.ini", "logs/log_0"} <= modes.keys()
    assert [name for name, mode in modes.items() if mode & 0o060 != 0o060] == []
    assert {path.stat().st_gid for path in workdir.rglob("*")} == {ANOTHER}


@pytest.mark.usefixtures("careful")
def test_files_of_a_directory_of_ones_own_are_made_as_the_umask_says(site: Site) -> None:
    (site.path / "tasks").write_text("true\n")
    site.farm("tasks", "-n", "2").succeed(60)
    assert [name for name, mode in _modes(site.path / "tasks_workdir").items() if mode & 0o022] == []


@pytest.mark.usefixtures("careful")
def test_another_user_goes_on_where_one_with_a_narrow_umask_has_begun(site: Site) -> None:
    _needs_root()
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        skip_or_fail("setpriv is not installed")
    os.chown(site.path, -1, ANOTHER)
    site.path.chmod(0o775)
    workdir = _group_directory(site.path / "tasks_workdir")
    (site.path / "tasks").write_text("true\nfalse\n")
    site.farm("tasks", "-n", "2").succeed(60, code=1)
    for path in (workdir, *workdir.rglob("*")):
        os.chown(path, ANOTHER, ANOTHER)  # now the first user is another one, of the same group
    other = f"{setpriv} --groups={ANOTHER} --bounding-set=-dac_override,-dac_read_search,-fowner --"
    site.start(sys.executable, "-m", "taskfarmer_mpi.ctl", "retry", workdir, prefix=other).succeed(60)
    site.farm("tasks", "--mpi", "off", prefix=other).succeed(60, code=1)
    lists = settled(workdir, ["true", "false"])
    assert (list(lists.finished), list(lists.failed)) == ([0], [1])


@pytest.mark.parametrize("name", ["finished", "toprocess", "logs"])
def test_what_cannot_be_written_is_refused_before_anything_is_done(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    workdir = Workdir(tmp_path / "w")
    workdir.create()
    workdir.finished.touch()
    workdir.toprocess.touch()
    monkeypatch.setattr(os, "access", lambda path, mode, **_: path != workdir.path / name or mode == os.F_OK)
    with pytest.raises(UserError, match=rf"w/{name}: .* belongs to user .*chmod -R g\+rwX"):
        workdir.create()


def test_who_is_not_of_the_group_gives_no_rights_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    _needs_root()
    folder = _group_directory(tmp_path / "shared")
    monkeypatch.setattr(os, "fchown", refuse)
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT, 0o600)
    share(fd, folder)
    assert stat.S_IMODE(os.fstat(fd).st_mode) == 0o600
    os.close(fd)


def test_a_group_directory_where_everybody_can_make_one_is_refused(tmp_path: Path) -> None:
    _needs_root()
    workdir = _group_directory(tmp_path / "work")
    os.chown(workdir, ANOTHER, os.getegid())
    workdir.chmod(0o2775)
    check_owner(Workdir(workdir), is_shared=False)
    tmp_path.chmod(0o1777)
    with pytest.raises(UserError, match="belongs to user 54321"):
        check_owner(Workdir(workdir), is_shared=False)
    tmp_path.chmod(0o700)
    os.chown(workdir, -1, ANOTHER)
    with pytest.raises(UserError, match="belongs to user 54321"):
        check_owner(Workdir(workdir), is_shared=False)
