"""What a user reads at the end, and what a by-product may change of it."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from fakes import Hand, make_farm
from helpers import Site, Witness, is_alive, settled, wait_for

from taskfarmer_mpi.farmer.tally import Tally
from taskfarmer_mpi.history.failed_runs import FailureGroup, group_failures, read_failed_runs
from taskfarmer_mpi.report.contents import make_report
from taskfarmer_mpi.run import ending
from taskfarmer_mpi.run.ending import offered_time
from taskfarmer_mpi.run.summary import TraceState, Work, say_resumed, summarize
from taskfarmer_mpi.upkeep.census import Census
from taskfarmer_mpi.upkeep.recovery import Recovery
from taskfarmer_mpi.workdir.files import Workdir
from taskfarmer_mpi.workdir.journal_records import encode_record

WORKDIR = Workdir("/somewhere/work")
NO_SPACE = 'exit code 1, "No space left on device"'


def lines(census: Census, *, ran: int = 1, groups: list[FailureGroup] | None = None, **more: object) -> list[str]:
    about = {"stop_reason": None, "trace": TraceState.WRITTEN, **more}
    work = Work([Tally(2, finished=ran, busy=5.0)], 10.0, 20.0)
    return summarize(census=census, groups=groups or [], work=work, workdir=WORKDIR, **about)  # type: ignore[arg-type]


def test_the_second_run_of_a_done_list_says_so_and_how_to_begin_anew() -> None:
    said = lines(Census(5, 5, [], 0, 0), ran=0)
    assert said[1] == "all was done before, so nothing was run; to begin anew: rm -r /somewhere/work"
    assert not any("done before" in line for line in lines(Census(5, 5, [], 0, 0)))
    assert not any("done before" in line for line in lines(Census(5, 4, [], 1, 0), ran=0))


def test_a_stop_says_that_the_same_command_goes_on_if_something_is_left() -> None:
    assert lines(Census(5, 3, [], 2, 0), stop_reason="SIGUSR1")[0] == "stopped early: SIGUSR1; the same command goes on"
    assert lines(Census(5, 5, [], 0, 0), stop_reason="SIGUSR1")[0] == "stopped early: SIGUSR1"


@pytest.mark.parametrize(
    ("held", "words"),
    [(1, "1 task is in the hands of other farmers"), (3, "3 tasks are in the hands of other farmers")],
)
def test_one_task_is_and_more_are_in_the_hands_of_others(held: int, words: str) -> None:
    assert words in lines(Census(5, 1, [], 0, held))


def test_failures_are_told_by_cause_and_node_the_most_frequent_first() -> None:
    ids = list(range(96))
    groups = [
        FailureGroup(NO_SPACE, ids[:95], ["node7"]),
        FailureGroup("killed by SIGKILL (out of memory?)", ids[95:], ["n1", "n2", "n3", "n4"]),
    ]
    said = lines(Census(100, 4, ids, 0, 0), groups=groups)
    assert said[1] == "failed: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 86 more"
    assert said[2] == f"  95 on node7: {NO_SPACE}; see /somewhere/work/logs/log_0"
    assert said[3].startswith("  1 on 4 nodes, most on n1: killed by SIGKILL (out of memory?); see ")
    assert said[4] == "  to run them again: taskfarmer-ctl retry /somewhere/work, then this command"


@pytest.mark.parametrize(
    ("finished", "codes", "is_hinted"),
    [
        (0, [127], True),
        (0, [127, 127], True),
        (1, [127], False),
        (0, [127, 1], False),
        (0, [None], False),
        (0, [126], False),
    ],
)
def test_a_list_of_which_no_command_was_found_gets_one_hint(finished: int, codes: list[int | None], is_hinted: bool) -> None:
    groups = [FailureGroup("a cause", [number], ["n1"], code) for number, code in enumerate(codes)]
    census = Census(finished + len(codes), finished, list(range(len(codes))), 0, 0)
    hints = [line for line in lines(census, groups=groups) if "for another tool" in line]
    assert len(hints) == is_hinted
    assert all("taskfarmer-ctl check -w /somewhere/work" in hint for hint in hints)


@pytest.mark.parametrize(
    "text",
    [
        "#DISBATCH PREFIX no-such-program ; \nno-such-program 1\nno-such-program 2\n",
        "no-such-program $LAUNCHER_JID\n",
        "no-such-program --a ::: 1 2 3\n",
        "no-such-program \\\n  no-such-option\n",
    ],
)
def test_a_list_for_another_tool_is_told_after_a_run_and_by_check(text: str, site: Site) -> None:
    (site.path / "tasks").write_text(text)
    farm = site.farm("tasks")
    farm.succeed(60, code=1)
    assert farm.stdout.count("is the list for another tool") == 1
    check = site.start(sys.executable, "-m", "taskfarmer_mpi.ctl", "check", "-w", "tasks_workdir")
    check.succeed(60)
    assert "look at this: " in check.stdout


def test_a_trace_that_was_not_written_is_not_announced() -> None:
    assert not any(line.startswith("timeline") for line in lines(Census(5, 5, [], 0, 0), trace=TraceState.MISSING))


def test_the_last_of_several_farmers_writes_the_trace_and_the_others_say_so(site: Site, witness: Witness) -> None:
    tasklist = site.tasklist([witness.task(0, 0.05), "until [ -e done ]; do sleep 0.02; done", witness.task(1, 0.05)])
    workdir = site.path / "tasks_workdir"
    first = site.farm("-n", "1", tasklist)
    wait_for(lambda: (workdir / "finished").exists(), deadline=30, what="a task ends")
    wait_for(lambda: (workdir / "logs" / "log_1").exists(), deadline=30, what="the long task begins")
    second = site.farm("-n", "1", tasklist)
    second.succeed(60)
    assert f"timeline: the last farmer writes it; to have it now: taskfarmer-ctl trace {workdir}" in second.stdout
    assert not (workdir / "timeline.json").exists()
    (site.path / "done").touch()
    first.succeed(60)
    assert f"timeline: {workdir}/timeline.json" in first.stdout
    events = json.loads((workdir / "timeline.json").read_text())
    assert len({event["pid"] for event in events if event["ph"] == "M" and event["name"] == "process_name"}) >= 2


def test_failures_are_grouped_by_code_and_last_line_whatever_their_numbers(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["false"] * 8)
    hands = [Hand(farm, "one"), Hand(farm, "two")]
    logs = ["x\ncannot read 17.root\n", "cannot read 4.root\n\n", "boom\n", "", "cannot read 5.root\n"]
    for task, (text, code) in enumerate(zip(logs, [1, 1, 1, -9, 2], strict=True)):
        farm.workdir.log(task).write_text(text)
        hands[task % 2].end(task, code)
    hands[0].end(3, -11)
    runs = read_failed_runs(farm.workdir, range(5))
    groups = group_failures(farm.workdir, range(6), runs)
    assert [(group.cause, group.tasks) for group in groups] == [
        ('exit code 1, "cannot read 17.root"', [0, 1]),
        ('exit code 1, "boom"', [2]),
        (f"killed by SIG{'SEGV' if runs[3].returncode == -11 else 'KILL (out of memory? peak 1 MiB)'}", [3]),
        ('exit code 2, "cannot read 5.root"', [4]),
        ("not known", [5]),
    ]
    assert [group.hosts for group in groups] == [["here"]] * 4 + [[]]


@pytest.mark.parametrize(
    ("done", "recovery", "words"),
    [
        (0, Recovery(), None),
        (5, Recovery(), None),
        (3, Recovery(), "going on: 3 done, 2 left"),
        (0, Recovery(1, 2), "going on: 0 done, 5 left, 2 taken back from 1 dead farmer"),
        (2, Recovery(2, 1), "going on: 2 done, 3 left, 1 taken back from 2 dead farmers"),
    ],
)
def test_a_farm_that_goes_on_says_where(tmp_path: Path, done: int, recovery: Recovery, words: str | None) -> None:
    farm = make_farm(tmp_path, ["true"] * 5)
    farm.workdir.finished.write_text("".join(f"{task} true\n" for task in range(done)))
    assert say_resumed(farm, recovery) == words


# -- whole farms ----------------------------------------------------------------------------------


def _fails_once(site: Site) -> Path:
    tasklist = site.tasklist([*["true"] * 100, "echo wrong; exit 3"])
    site.farm("-n", "2", tasklist).succeed(60, code=1)
    return tasklist


@pytest.mark.parametrize("number", ["ENOSPC", "EDQUOT", "EROFS"])
def test_a_trace_that_cannot_be_written_changes_neither_code_nor_summary(number: str, site: Site, strace: str) -> None:
    tasklist = _fails_once(site)
    inject = f"{strace} -qq -o /dev/null -e trace=fsync -e inject=fsync:error={number}"
    again = site.farm("-n", "2", tasklist, prefix=inject)
    _says_once_that_there_is_no_trace(again.wait(60), again.stdout, again.stderr)


def test_a_trace_beyond_the_limit_of_file_sizes_changes_neither_code_nor_summary(site: Site) -> None:
    tasklist = _fails_once(site)
    again = site.farm("-n", "2", tasklist, prefix="prlimit --fsize=8192")
    _says_once_that_there_is_no_trace(again.wait(60), again.stdout, again.stderr)


def _says_once_that_there_is_no_trace(code: int, stdout: str, stderr: str) -> None:
    assert code == 1
    assert "101 tasks: 100 finished, 1 failed, 0 left" in stdout
    assert "timeline:" not in stdout
    (warning,) = (line for line in stderr.splitlines() if "trace cannot be written" in line)
    assert re.search(r"/tasks_workdir/\S*timeline\.json\S*: [A-Z]", warning)
    assert "[Errno" not in stderr


def test_a_farm_says_which_tasks_failed_why_and_where(site: Site) -> None:
    tasklist = site.tasklist([*["true"] * 3, *[f"echo no space for {i} >&2; exit 1" for i in range(12)], "kill -9 $$"])
    farm = site.farm("-n", "4", tasklist, environ=site.environ(SLURMD_NODENAME="node7"))
    farm.succeed(60, code=1)
    assert re.search(r'^  12 on node7: exit code 1, "no space for \d+"; see ', farm.stdout, re.MULTILINE)
    assert re.search(r"^  1 on node7: killed by SIGKILL \(out of memory\?.*\); see ", farm.stdout, re.MULTILINE)


def test_a_killed_farmer_is_told_of_when_the_farm_goes_on(site: Site, witness: Witness) -> None:
    tasks = witness.tasks(20, 0.3)
    tasklist = site.tasklist(tasks)
    farm = site.farm("-n", "2", tasklist)
    wait_for(lambda: (site.path / "tasks_workdir" / "finished").exists(), deadline=30, what="a task is done")
    farm.kill()
    farm.wait(30)
    wait_for(lambda: not [pid for pid in farm.farmers() if is_alive(pid)], deadline=30, what="the farmer is dead")
    wait_for(lambda: not site.leftovers(), deadline=30, what="its guardian has ended its tasks")
    again = site.farm("-n", "8", tasklist)
    again.succeed(60)
    assert re.search(r"going on: \d+ done, \d+ left, \d+ taken back from 1 dead farmer$", again.stderr, re.MULTILINE)
    assert settled(site.path / "tasks_workdir", tasks).failed == []


def test_summary_and_report_agree_on_how_busy_the_slots_were(site: Site) -> None:
    farm = site.farm("-n", "2", site.tasklist(["sleep 0.2", "sleep 4"]), ranks=2)
    farm.succeed(60)
    share = re.search(r"slots busy (\d+) %", farm.stdout)
    assert share is not None
    report = make_report(Workdir(site.path / "tasks_workdir"))
    assert abs(100 * report.busy_share - int(share[1])) < 5


def test_a_rank_that_left_before_the_end_offered_its_slots_only_until_then(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["true"])
    now = time.time()
    ends = {"f-stays": None, "f-left": now - 90, "f-of-another-job": None}
    for name, left in ends.items():
        path = farm.workdir.farmers / f"{name}.{'journal' if left is None else 'closed'}"
        data = encode_record("farmer", now - 100, {"slots": 4})
        path.write_bytes(data if left is None else data + encode_record("leave", left, {}))
    offered = offered_time(farm, ["lock.f-stays", "x_lock.f-left"])
    assert offered == pytest.approx(4 * 100 + 4 * 10, abs=20)


def test_the_leader_leaves_after_its_ranks_and_looks_for_others_when_it_has_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else two jobs that end together could each see the other at work, and none would write the trace."""
    farm = make_farm(tmp_path, ["true"])
    steps: list[str] = []
    farmer = SimpleNamespace(
        trouble=None,
        stop_reason=None,
        drain_reason=None,
        journal=Hand(farm, "own").journal,
        leave=lambda: steps.append("leave"),
    )
    ranks = SimpleNamespace(life_paths={}, wait_for_departures=lambda _patience: steps.append("ranks are gone"))
    recovery = SimpleNamespace(waiting=[], unknown=0)
    coordinator = SimpleNamespace(ranks=ranks, recovery=recovery, spread=lambda kind, _content: steps.append(kind))

    def look(_farm: object, _own: object) -> bool:
        steps.append("look for others")
        return True

    monkeypatch.setattr(ending, "is_anyone_at_work", look)
    monkeypatch.setattr(ending, "summarize", lambda **_: [])
    monkeypatch.setattr(ending, "_work", lambda *_: None)
    ending.end_job(farm, farmer, coordinator, 5.0, 0.0)  # type: ignore[arg-type]
    assert steps == ["end", "ranks are gone", "leave", "look for others"]
