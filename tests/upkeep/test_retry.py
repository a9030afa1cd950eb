"""`taskfarmer-ctl retry`: tasks that have ended are done again."""

import os
import signal
import sys
from collections.abc import Collection
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from fakes import Hand, ids_in, make_farm, unasked
from helpers import Process, Site, accounted, is_alive, settled, slices, wait_for

from taskfarmer_mpi.history.runs import read_histories
from taskfarmer_mpi.tasklists.task import Task
from taskfarmer_mpi.upkeep.recovery import recover
from taskfarmer_mpi.upkeep.reopening import hands
from taskfarmer_mpi.upkeep.retry import Retried, _Scan, _scan, retry_tasks
from taskfarmer_mpi.upkeep.stopping import wait_for_end
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.journal_reading import OpenJournals
from taskfarmer_mpi.workdir.lists import Recorded, append_tasks

CTL = (sys.executable, "-m", "taskfarmer_mpi.ctl")
COMMANDS = [f"true {i}" for i in range(8)]


def farm_with_outcomes(tmp_path: Path) -> Farm:
    """Return a farm where 0 to 2 failed, 3 and 4 finished, 5 to 7 are to do."""
    farm = make_farm(tmp_path, COMMANDS)
    farm.workdir.toprocess.write_text("".join(f"{i} true {i}\n" for i in (7, 6, 5)))
    append_tasks(farm.workdir.failed, [Task(i, farm.catalog[i]) for i in range(3)], unasked)
    append_tasks(farm.workdir.finished, [Task(i, farm.catalog[i]) for i in (3, 4)], unasked)
    for i in range(5):
        farm.workdir.log(i).write_text(f"first {i}\n")
    return farm


def retry(farm: Farm, ids: list[int] | None = None) -> Retried:
    with hands(farm.workdir, farm.lock) as journal:
        return retry_tasks(farm.workdir, farm.lock, journal, farm.catalog.listed, ids, 5.0)


def test_all_failed_tasks_are_on_the_list_again_with_their_logs_kept(tmp_path: Path) -> None:
    farm = farm_with_outcomes(tmp_path)
    assert retry(farm).tasks == [0, 1, 2]
    assert ids_in(farm.workdir.toprocess) == [7, 6, 5, 2, 1, 0]
    assert farm.workdir.failed.read_bytes() == b""
    assert sorted(path.name for path in farm.workdir.logs.iterdir()) == ["log_0.1", "log_1.1", "log_2.1", "log_3", "log_4"]
    assert list(farm.workdir.farmers.iterdir()) == []
    assert not list(farm.lock.paths[0].parent.glob("*.alive"))


def test_given_tasks_may_also_have_finished(tmp_path: Path) -> None:
    farm = farm_with_outcomes(tmp_path)
    assert retry(farm, [1, 4]).tasks == [1, 4]
    assert ids_in(farm.workdir.failed) == [0, 2]
    assert ids_in(farm.workdir.finished) == [3]


def test_tasks_that_have_not_ended_are_left_alone(tmp_path: Path) -> None:
    farm = farm_with_outcomes(tmp_path)
    assert retry(farm, [0, 5, 99]) == Retried([0], [5, 99])
    assert ids_in(farm.workdir.toprocess) == [7, 6, 5, 0]


def test_a_failed_task_that_a_dead_farmer_may_record_again_is_left_alone(tmp_path: Path) -> None:
    farm = farm_with_outcomes(tmp_path)
    hand = Hand(farm, "dead")
    hand.note("taken", ids=[1])
    hand.end(1, 1)
    hand.die()
    assert retry(farm).not_ended == [1]


def test_long_lists_and_journals_are_read_before_others_have_to_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm = farm_with_outcomes(tmp_path)
    looks: list[tuple[str, bool]] = []

    def scan(path: Path, wanted: Collection[int], before: _Scan | None = None) -> _Scan:
        looks.append((path.name, farm.lock.is_held))
        if farm.lock.is_held:
            assert before is not None
        else:
            append_tasks(farm.workdir.failed, [Task(5, farm.catalog[5])], unasked)  # meanwhile another task fails
        return _scan(path, wanted, before)

    def advance(journals: OpenJournals) -> None:
        looks.append(("journals", farm.lock.is_held))
        follow(journals)

    follow = OpenJournals.advance
    monkeypatch.setattr(OpenJournals, "advance", advance)
    monkeypatch.setattr("taskfarmer_mpi.upkeep.retry._scan", scan)
    assert retry(farm, [0, 3, 5]).tasks == [0, 3, 5]
    assert looks == [(name, held) for held in (False, True) for name in ("journals", "finished", "failed")]
    assert (ids_in(farm.workdir.finished), ids_in(farm.workdir.failed)) == ([4], [1, 2])


def test_what_is_recorded_while_a_retry_waits_for_the_lock_stays_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm = farm_with_outcomes(tmp_path)
    held = farm.lock.held

    def late(patience: float) -> AbstractContextManager[None]:
        append_tasks(farm.workdir.finished, [Task(5, farm.catalog[5])], unasked)
        append_tasks(farm.workdir.failed, [Task(6, farm.catalog[6])], unasked)
        return held(patience)

    with hands(farm.workdir, farm.lock) as journal, monkeypatch.context() as patch:
        patch.setattr(farm.lock, "held", late)
        retry_tasks(farm.workdir, farm.lock, journal, farm.catalog.listed, [0, 3], 5.0)
    assert (ids_in(farm.workdir.finished), ids_in(farm.workdir.failed)) == ([4, 5], [1, 2, 6])


def test_an_older_log_keeps_its_name(tmp_path: Path) -> None:
    farm = farm_with_outcomes(tmp_path)
    retry(farm, [0])
    append_tasks(farm.workdir.failed, [Task(0, farm.catalog[0])], unasked)
    farm.workdir.log(0).write_text("second\n")
    retry(farm, [0])
    assert [(farm.workdir.logs / f"log_0.{i}").read_text() for i in (1, 2)] == ["first 0\n", "second\n"]


@pytest.mark.parametrize("step", ["replace_file", "keep_log", "put_on_stacks"])
def test_a_retry_that_dies_leaves_what_recovery_puts_right(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm = farm_with_outcomes(tmp_path)

    class KilledError(BaseException):
        pass

    def die(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(f"taskfarmer_mpi.upkeep.retry.{step}", die)
        with pytest.raises(KilledError):
            retry(farm)
    for journal in farm.workdir.farmers.glob("*.journal"):  # the kernel lets go of the locks of a dead process
        for path in farm.lock.paths[0].parent.glob(f"*{journal.stem}*"):
            path.write_bytes(path.read_bytes())
            _let_go(path)
    recover(farm, (), 5.0)
    accounted(farm.workdir.path, COMMANDS)
    for task_id in ids_in(farm.workdir.toprocess):  # the next run starts its log anew
        assert not farm.workdir.log(task_id).exists()


def _let_go(path: Path) -> None:
    """Close the descriptors by which this process holds a lock file."""
    for fd in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{fd}") == str(path):
                os.close(int(fd))
        except OSError:
            continue


def test_a_list_that_became_shorter_is_read_anew(tmp_path: Path) -> None:
    farm = farm_with_outcomes(tmp_path)
    recorded = Recorded(farm)
    recorded.advance()
    retry(farm, [1])
    append_tasks(farm.workdir.failed, [Task(5, farm.catalog[5])], unasked)
    recorded.advance()
    assert [i for i, flag in enumerate(recorded.flags) if flag] == [0, 2, 3, 4, 5]


def test_failed_tasks_are_retried_while_a_farm_runs(site: Site) -> None:
    flag = site.path / "mended"
    failing = [f"test -e {flag} && sleep 0.05 # {i}" for i in range(10)]
    tasks = [*failing, *(f"sleep 0.1 # {i}" for i in range(80))]
    workdir = site.path / "tasks_workdir"
    farm = site.farm("-n", "2", site.tasklist(tasks), ranks=2)
    wait_for(lambda: len(ids_in(workdir / "failed")) == 10, deadline=60, what="ten tasks failed")
    flag.touch()
    again = site.start(*CTL, "retry", workdir)
    again.succeed(30)
    assert "back on the list: 10 tasks" in again.stdout
    farm.succeed(120)
    assert settled(workdir, tasks).failed == []
    runs = [event["args"]["task"] for event in slices(workdir)]
    assert sorted(runs) == sorted([*range(90), *range(10)])


@pytest.mark.parametrize(
    ("task_id", "words"),
    [
        ("5-3", "'5-3' is not the ID of a task or a range"),
        ("0-99999999999999", "there is no task 99999999999999; it has 1 task"),
    ],
)
def test_a_retry_with_a_bad_id_says_what_is_allowed(site: Site, task_id: str, words: str) -> None:
    site.farm(site.tasklist(["true"])).succeed(30)
    process = site.start(*CTL, "retry", site.path / "tasks_workdir", task_id)
    process.succeed(30, code=2)
    assert words in process.stderr


def test_what_is_no_work_directory_is_told_in_one_line(site: Site) -> None:
    for command in ("retry", "add", "reclaim", "stop"):
        process = site.start(*CTL, command, site.path, *(["true"] if command == "add" else []))
        process.succeed(30, code=2)
        assert process.stderr.count("\n") == 1
        assert "not a work directory" in process.stderr


# -- stop -----------------------------------------------------------------------------------------


def _at_work(site: Site, farms: list[Process], logs: int) -> None:
    folder = site.path / "tasks_workdir" / "logs"
    wait_for(lambda: folder.is_dir() and len(list(folder.iterdir())) >= logs, deadline=60, what="all slots are busy")
    assert all(farm.is_running() for farm in farms)


def test_stop_ends_all_farmers_wherever_they_run_and_only_those(site: Site) -> None:
    tasks = [f"sleep 600 # {i}" for i in range(20)]
    tasklist = site.tasklist(tasks)
    farms = [site.farm("-n", "2", tasklist, ranks=2), site.farm("-n", "2", tasklist)]
    _at_work(site, farms, 6)
    stop = site.start(*CTL, "stop", site.path / "tasks_workdir")
    stop.succeed(60)
    assert "3 farmers are told to stop" in stop.stdout
    assert "all have ended" in stop.stdout
    for farm in farms:
        farm.succeed(30, code=75)
        assert "stopped early: taskfarmer-ctl stop" in farm.stdout
    assert accounted(site.path / "tasks_workdir", tasks).finished == []
    assert not (site.path / "tasks_workdir" / "stop").exists()
    again = site.farm("-n", "1", tasklist, "--timeout", "1.5")
    again.succeed(30, code=75)
    assert "stopped early: --timeout" in again.stdout


def test_drain_lets_running_tasks_end(site: Site) -> None:
    tasks = [f"sleep 3 # {i}" for i in range(20)]
    farm = site.farm("-n", "2", site.tasklist(tasks), ranks=2)
    _at_work(site, [farm], 4)
    stop = site.start(*CTL, "stop", "--drain", site.path / "tasks_workdir")
    stop.succeed(60)
    farm.succeed(30, code=75)
    lists = accounted(site.path / "tasks_workdir", tasks)
    assert 4 <= len(lists.finished) <= 8
    assert lists.failed == []
    assert "stopped early: taskfarmer-ctl stop --drain" in farm.stdout


def test_stop_waits_for_those_that_it_stops_and_looks_at_no_other_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    hands = [Hand(farm, name) for name in ("first", "second")]
    histories, _ = read_histories(farm.workdir)
    monkeypatch.setattr("taskfarmer_mpi.upkeep.stopping.read_histories", None)
    hands[0].die()
    assert [history.identity.farmer for history in wait_for_end(histories, 0.3)] == ["second"]
    hands[1].die()
    assert wait_for_end(histories, 60.0) == []


def test_stop_says_who_does_not_leave(site: Site) -> None:
    farm = site.farm("-n", "1", site.tasklist(["sleep 600"]))
    _at_work(site, [farm], 1)
    pid = farm.farmers()[0]
    os.kill(pid, signal.SIGSTOP)
    stop = site.start(*CTL, "stop", site.path / "tasks_workdir", "--wait", "0.5")
    stop.succeed(30, code=75)
    assert f"at work still: rank 0 · {os.uname().nodename.split('.')[0]} · pid {pid}" in stop.stdout
    assert is_alive(pid)
    os.kill(pid, signal.SIGCONT)
    farm.succeed(30, code=75)
