"""Farmers of one work directory agree on lock and directory before they touch anything, whoever comes first."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from fakes import make_farm
from helpers import Process, Site, Witness, accounted, contents, settled, wait_for

from taskfarmer_mpi.upkeep import lock_choice
from taskfarmer_mpi.workdir.agreement import Agreement, encode_agreement, make_agreement, parse_agreement
from taskfarmer_mpi.workdir.files import Workdir


def _scratch(site: Site, name: str) -> dict[str, str]:
    """Return an environment in which the lock is in a folder of that name; no name: in the work directory."""
    if not name:
        return site.environ()
    (site.path / name).mkdir(exist_ok=True)
    return site.environ(SCRATCH=str(site.path / name))


def _shared(workdir: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return the files of a work directory that farmers share; the journal and the logs are those of who is at work."""
    names = ("toprocess", "toprocess.added", "tasks.added", "finished", "failed", "farm.ini", "agreement")
    return {name: content for name, content in contents(workdir).items() if name in names}


def test_of_farmers_that_begin_at_once_under_different_locks_only_those_of_one_lock_work(
    site: Site, witness: Witness
) -> None:
    tasks = witness.tasks(60, 0.02)
    tasklist = site.tasklist(tasks)
    farmers = [site.farm("-n", "2", tasklist, environ=_scratch(site, name)) for name in ("s1", "s2", "", "s1", "s2", "")]
    codes = [farmer.wait(60) for farmer in farmers]
    assert sorted(codes[:3]) == [0, 2, 2], codes
    assert codes[3:] == codes[:3]
    for farmer, code in zip(farmers, codes, strict=True):
        if code == 2:
            (line,) = [line for line in farmer.stderr.splitlines() if line.startswith("taskfarmer-mpi: ")]
            assert "exclude each other by" in line
            assert "SCRATCH" in line
    settled(site.path / "tasks_workdir", tasks)
    witness.once_each(60)


@pytest.mark.parametrize(("first", "second"), [("s1", "s2"), ("s1", ""), ("", "s2")])
@pytest.mark.parametrize("command", ["farmer", "add", "retry", "reclaim"])
def test_who_comes_under_another_lock_while_a_farmer_works_is_refused_and_touches_nothing(
    command: str, first: str, second: str, site: Site, witness: Witness
) -> None:
    tasks = witness.tasks(2, 60)
    tasklist = site.tasklist(tasks)
    workdir = site.path / "tasks_workdir"
    site.farm("-n", "1", tasklist, environ=_scratch(site, first))
    wait_for(witness.runs, deadline=30, what="a task runs")
    before = _shared(workdir)
    environ = _scratch(site, second)
    if command == "farmer":
        late = site.farm("-n", "1", tasklist, environ=environ)
    else:
        more = ["true"] if command == "add" else []
        late = site.start(sys.executable, "-m", "taskfarmer_mpi.ctl", command, workdir, *more, environ=environ)
    late.succeed(30, code=2)
    (line,) = late.stderr.splitlines()
    own = str(site.path / second) if second else str(workdir / "lock")
    assert f"exclude each other by {site.path / first if first else workdir / 'lock'}" in line
    assert own in line
    assert (f"set SCRATCH to {site.path / first}" if first else "unset SCRATCH") in line
    assert _shared(workdir) == before
    assert len(witness.runs()) == 1


def test_another_spelling_of_the_work_directory_is_refused_where_it_means_another_lock(site: Site, witness: Witness) -> None:
    tasklist = site.tasklist(witness.tasks(1, 60))
    environ = _scratch(site, "s1")
    (site.path / "real").mkdir()
    (site.path / "alias").symlink_to("real")
    site.farm("-w", site.path / "real", tasklist, environ=environ)
    wait_for(witness.runs, deadline=30, what="a task runs")
    late = site.farm("-w", site.path / "alias", tasklist, environ=environ)
    late.succeed(30, code=2)
    assert f"name the work directory {site.path / 'real'}" in late.stderr


def test_another_spelling_of_the_work_directory_is_welcome_where_it_means_the_same_lock(site: Site) -> None:
    (site.path / "real").mkdir()
    (site.path / "alias").symlink_to("real")
    tasklist = site.tasklist(["true", "true"])
    site.farm("-w", "real", tasklist).succeed(30)
    site.tasklist(["true", "true", "true"])
    site.farm("-w", "alias", tasklist).succeed(30)
    assert len((site.path / "real" / "finished").read_text().splitlines()) == 3


@pytest.mark.parametrize(("first", "second"), [("s1", "s2"), ("s1", ""), ("", "s2")])
def test_a_farm_without_farmers_takes_another_lock(first: str, second: str, site: Site) -> None:
    tasklist = site.tasklist(["true"])
    site.farm(tasklist, environ=_scratch(site, first)).succeed(30)
    site.tasklist(["true", "true"])
    site.farm(tasklist, environ=_scratch(site, second)).succeed(30)
    agreed = json.loads((site.path / "tasks_workdir" / "agreement").read_text())
    assert agreed["lock"].startswith(str(site.path / (second or "tasks_workdir")))


def test_a_dead_farmers_tasks_are_recovered_under_another_lock(site: Site, witness: Witness) -> None:
    tasks = witness.tasks(4, 1)
    tasklist = site.tasklist(tasks)
    first = site.farm("-n", "2", tasklist, environ=_scratch(site, "s1"))
    wait_for(lambda: len(witness.runs()) == 2, deadline=30, what="two tasks run")
    first.kill(signal.SIGKILL)
    site.farm("-n", "4", tasklist, environ=_scratch(site, "s2")).succeed(60)
    settled(site.path / "tasks_workdir", tasks)
    assert witness.overlaps() == []


def test_living_farmers_of_a_version_without_agreement_are_seen_by_their_journals(site: Site, witness: Witness) -> None:
    tasklist = site.tasklist(witness.tasks(1, 60))
    site.farm(tasklist, environ=_scratch(site, "s1"))
    wait_for(witness.runs, deadline=30, what="a task runs")
    agreement = site.path / "tasks_workdir" / "agreement"
    agreement.unlink()
    late = site.farm(tasklist, environ=_scratch(site, "s2"))
    late.succeed(30, code=2)
    assert f"exclude each other by {site.path / 's1'}" in late.stderr
    assert not agreement.exists()


@pytest.mark.parametrize(("value", "reason"), [("", "it is empty"), ("{0}/no", "no such directory"), ("{0}/f", "not a dir")])
@pytest.mark.parametrize("command", ["farmer", "add"])
def test_a_scratch_that_is_no_directory_is_named_and_nothing_is_made(
    command: str, value: str, reason: str, site: Site
) -> None:
    (site.path / "f").touch()
    tasklist = site.tasklist(["true"])
    if command == "add":
        site.farm(tasklist).succeed(30)
    environ = site.environ(SCRATCH=value.format(site.path))
    before = contents(site.path / "tasks_workdir") if command == "add" else {}
    if command == "add":
        process = site.start(sys.executable, "-m", "taskfarmer_mpi.ctl", "add", "tasks_workdir", "true", environ=environ)
    else:
        process = site.farm(tasklist, environ=environ)
    process.succeed(30, code=2)
    (line,) = process.stderr.splitlines()
    assert f"SCRATCH={value.format(site.path)}: {reason}" in line
    assert not (site.path / "no").exists()
    assert (site.path / "tasks_workdir").exists() == (command == "add")
    assert (contents(site.path / "tasks_workdir") if command == "add" else {}) == before


def test_the_first_agreement_stays(tmp_path: Path) -> None:
    workdir = Workdir(tmp_path)
    first, second = (Agreement(f"/s/{n}\n\udcff", str(tmp_path)) for n in (1, 2))
    assert make_agreement(workdir, first) == first
    assert make_agreement(workdir, second) == first
    assert parse_agreement(encode_agreement(second), workdir.agreement) == second
    assert [path.name for path in tmp_path.iterdir()] == ["agreement"]


# -- the directory ----------------------------------------------------------------------------------


def _folders(site: Site, *names: str) -> list[Path]:
    folders = [site.path / name for name in names]
    for folder in folders:
        folder.mkdir()
    return folders


def _places(workdir: Path, count: int) -> set[str]:
    return {(workdir / "logs" / f"log_{i}").read_text().strip() for i in range(count)}


def test_a_later_run_from_elsewhere_runs_its_tasks_where_the_farm_was_begun_and_says_so(site: Site) -> None:
    one, two = _folders(site, "one", "two")
    tasklist = site.tasklist(["pwd"])
    site.farm(tasklist, cwd=one).succeed(30)
    site.tasklist(["pwd", "pwd"])
    later = site.farm(tasklist, cwd=two)
    later.succeed(30)
    assert _places(site.path / "tasks_workdir", 2) == {str(one)}
    assert f"tasks run in {one}, where the farm was begun, and not here: --chdir DIR changes that" in later.stderr


def test_chdir_has_tasks_run_elsewhere_from_now_on(site: Site) -> None:
    one, two = _folders(site, "one", "two")
    tasklist = site.tasklist(["pwd"])
    site.farm(tasklist, cwd=one).succeed(30)
    site.tasklist(["pwd", "pwd"])
    site.farm("--chdir", "two", tasklist).succeed(30)
    site.tasklist(["pwd", "pwd", "pwd"])
    site.farm(tasklist, cwd=one).succeed(30)
    places = [(site.path / "tasks_workdir" / "logs" / f"log_{i}").read_text().strip() for i in range(3)]
    assert places == [str(one), str(two), str(two)]


def test_chdir_is_refused_while_farmers_work_elsewhere(site: Site, witness: Witness) -> None:
    tasklist = site.tasklist(witness.tasks(1, 60))
    site.farm(tasklist)
    wait_for(witness.runs, deadline=30, what="a task runs")
    late = site.farm("--chdir", "/", tasklist)
    late.succeed(30, code=2)
    (line,) = late.stderr.splitlines()
    assert f"its tasks run in {site.path}, not in /, as long as farmers are at work" in line


def test_farmers_that_begin_at_once_in_different_directories_run_all_tasks_in_one(site: Site) -> None:
    folders = _folders(site, "one", "two", "three")
    tasks = ["pwd; sleep 0.05"] * 30
    tasklist = site.tasklist(tasks)
    for farmer in [site.farm("-n", "1", tasklist, cwd=folder) for folder in folders]:
        farmer.succeed(60)
    settled(site.path / "tasks_workdir", tasks)
    assert len(_places(site.path / "tasks_workdir", 30)) == 1


def _two_ranks(site: Site, tasklist: Path, first: str, second: str) -> Process:
    """Start two ranks, each after a command of its own."""
    script = site.path / "rank.sh"
    script.write_text(
        f'if [ "$PMI_RANK" = 0 ]; then {first}; else {second}; fi\nexec {sys.executable} -m taskfarmer_mpi -n 1 {tasklist}\n'
    )
    return site.start("mpiexec", "-n", "2", "bash", script)


def test_a_rank_that_starts_elsewhere_runs_its_tasks_in_the_directory_of_rank_0(site: Site) -> None:
    (two,) = _folders(site, "two")
    tasks = ["pwd; sleep 0.1"] * 20
    _two_ranks(site, site.tasklist(tasks), ":", f"cd {two}").succeed(60)
    settled(site.path / "tasks_workdir", tasks)
    assert _places(site.path / "tasks_workdir", 20) == {str(site.path)}


def test_a_rank_that_cannot_enter_the_directory_takes_no_tasks_and_says_so(site: Site) -> None:
    if os.geteuid() != 0:
        pytest.skip("rank 1 is made a rank of fewer rights by root")
    (only,) = _folders(site, "closed")
    only.chmod(0o700)
    tasks = ["pwd; sleep 0.1"] * 20
    tasklist = site.tasklist(tasks)
    script = site.path / "rank.sh"
    script.write_text(
        f'cd {only}\n[ "$PMI_RANK" = 0 ] || set -- setpriv --bounding-set -dac_override,-dac_read_search\n'
        f'[ "$PMI_RANK" = 0 ] || chown 1 {only}; [ "$PMI_RANK" = 0 ] && sleep 1\n'
        f'exec "$@" {sys.executable} -m taskfarmer_mpi -n 1 {tasklist}\n'
    )
    job = site.start("mpiexec", "-n", "2", "bash", script)
    job.succeed(60)
    settled(site.path / "tasks_workdir", tasks)
    assert "rank 1 takes no tasks: " in job.stderr
    assert f"{only}: cannot enter the directory of the farm's tasks on " in job.stderr
    assert _places(site.path / "tasks_workdir", 20) == {str(only)}
    assert accounted(site.path / "tasks_workdir", tasks).failed == []


@pytest.mark.parametrize(
    ("is_new", "has_plain", "is_shared", "word"),
    [
        (True, False, False, "not at risk"),
        (False, False, False, None),
        (True, True, False, "is at risk"),
        (False, True, False, "is at risk"),
        (True, True, True, None),
    ],
)
def test_a_lock_of_each_node_is_told_once_and_with_what_it_puts_at_risk(
    is_new: bool, has_plain: bool, is_shared: bool, word: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm = make_farm(tmp_path, ["true"])
    if has_plain:
        event = {"cat": "task", "name": "true", "pid": 3, "tid": 4, "ts": 1e15, "dur": 1e6, "ph": "X", "args": {}}
        farm.workdir.timeline.write_text(json.dumps([event]))
    paths = [farm.workdir.path / "lock", Path("/node/tmp/md5_lock")]
    monkeypatch.setattr(lock_choice, "is_local", lambda path: Path(path) == paths[1] and not is_shared)
    said = lock_choice.describe_second_lock(farm.workdir, paths, is_new=is_new)
    assert (said is None) == (word is None)
    assert word is None or (
        said is not None and f"this farm is {word.removeprefix('is ')}" in said and "set SCRATCH" in said
    )
    assert lock_choice.describe_second_lock(farm.workdir, paths[:1], is_new=is_new) is None


def test_a_work_directory_of_one_node_has_nothing_to_say_of_its_second_lock(site: Site) -> None:
    folder = site.path / "tmp"
    folder.mkdir()
    for _ in range(2):
        farm = site.farm(site.tasklist(["true"]), environ=site.environ(TMPDIR=str(folder)))
        farm.succeed(60)
        assert "PyTaskFarmer" not in farm.stderr
    assert len(list(folder.glob("*_lock"))) == 1
