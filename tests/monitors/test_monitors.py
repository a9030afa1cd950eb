"""Monitors: what they are told, what the provided ones make of it, and that no monitor harms a farm."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import Hand, make_farm
from helpers import ROOT, Process, Site, accounted, command_of, is_alive, processes_with, settled, wait_for
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_prometheus

from taskfarmer_mpi.errors import OptionError
from taskfarmer_mpi.lives.owner import Owner, find_processes
from taskfarmer_mpi.monitors import dispatch, pipe, process
from taskfarmer_mpi.monitors.builtin import CommandMonitor, JSONLinesMonitor, OpenMetricsMonitor, own_path, parse_path
from taskfarmer_mpi.monitors.dispatch import Dispatcher
from taskfarmer_mpi.monitors.events import Event, parse_kinds
from taskfarmer_mpi.runners.registry import Definition
from taskfarmer_mpi.upkeep.recovery import Recovery

EVENT = Event(
    kind="farmer_start",
    time=1000.5,
    farmer="20261125T000000-n4-4711-abcdef",
    host="n4",
    pid=4711,
    rank=3,
    ranks=5,
    job="77",
    slots=2,
    workdir='/data/a "quoted" \\ name',
    tasks=10,
)
TASK_END = replace(
    EVENT, kind="task_end", tasks=None, task=5, command="run 5", slot=1, outcome="failed", returncode=3, seconds=1.5, cpu=0.5
)

_OWN = """\
import os, re, sys, time

class Own:
    def __init__(self, *, word="none"):
        self.word = word
    def handle(self, event):
        with open("own.txt", "a") as file:
            print(event.kind, event.rank, self.word, file=file)

class Raising:
    def handle(self, event):
        raise ValueError("this one\\nis broken")

class Unmakable:
    def __init__(self):
        raise ValueError("cannot be made")
    def handle(self, event):
        pass

class Hanging:
    def handle(self, event):
        open(f"late.{os.getpid()}", "w").close()
        while True:
            try:
                time.sleep(1000)
            except BaseException:
                pass

class Spinning:
    def handle(self, event):
        open(f"late.{os.getpid()}", "w").close()
        while True:
            pass

class Stuck:  # no other thread gets its turn
    def handle(self, event):
        re.match("(a|aa)+$", 1000 * "a" + "b")

class Suicidal:
    def handle(self, event):
        os.kill(os.getpid(), 9)

class Leaving:
    def handle(self, event):
        os._exit(0)

class Flooding:
    def handle(self, event):
        while True:
            print(1000 * "x")

class NoMonitor:
    pass
"""


def _define(site: Site, **sections: str) -> None:
    """Write monitors into an INI file and a module of classes beside it."""
    (site.path / "own.py").write_text(_OWN)
    text = "".join(f"[{name}]\n{lines}\n\n" for name, lines in sections.items())
    (site.path / "monitors.ini").write_text(text)


def _farm(site: Site, *arguments: str | Path, ranks: int = 0) -> Process:
    """Start farmers that can import what is in the directory of the test."""
    return site.farm(*arguments, ranks=ranks, environ=site.environ(PYTHONPATH=str(site.path)))


def _named(*names: str) -> list[str]:
    return [word for name in names for word in ("--monitor", name)]


def _warnings(process: Process) -> list[str]:
    return [line for line in process.stderr.splitlines() if "switched off" in line]


def _events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _watchers(site: Site) -> list[int]:
    """Return the processes of monitors."""
    return [pid for pid in processes_with(site.mark) if process.__file__ in command_of(pid) and is_alive(pid)]


# -- what monitors are told -----------------------------------------------------------------------


def test_a_farm_tells_of_its_whole_life(site: Site) -> None:
    _define(site, lines="Monitor = taskfarmer_mpi.monitors.JSONLinesMonitor\npath = events.jsonl")
    tasks = ["true", "exit 3", "echo ä", "kill -9 $$"]
    process = _farm(site, "-n", "2", *_named("lines"), site.tasklist(tasks))
    process.succeed(60, code=1)
    assert _warnings(process) == []
    (path,) = site.path.glob("events.*.jsonl")
    events = _events(path)
    assert path.name == f"events.{events[0]['farmer']}.jsonl"
    assert [event["kind"] for event in (events[0], events[-1])] == ["farmer_start", "farmer_end"]
    assert Counter(event["kind"] for event in events[1:-1]) == {"task_start": 4, "task_end": 4}
    assert events[0]["tasks"] == 4
    assert events[0]["workdir"] == str(site.path / "tasks_workdir")
    assert (events[-1]["returncode"], events[-1]["finished"], events[-1]["failed"]) == (1, 2, 2)
    ends = {event["task"]: event for event in events if event["kind"] == "task_end"}
    assert [ends[task]["returncode"] for task in range(4)] == [0, 3, 0, -9]
    assert [ends[task]["outcome"] for task in range(4)] == ["finished", "failed", "finished", "failed"]
    assert [ends[task]["command"] for task in range(4)] == tasks
    assert Path(ends[2]["log"]).read_text() == "ä\n"
    assert all(event["time"] >= events[0]["time"] for event in events)
    settled(site.path / "tasks_workdir", tasks)


def test_each_rank_has_its_own_file_and_tells_of_a_shutdown(site: Site) -> None:
    _define(site, lines="Monitor = taskfarmer_mpi.monitors.JSONLinesMonitor\npath = rank{rank}.jsonl")
    tasks = ["sleep 1000"] * 4
    process = _farm(site, "-n", "1", *_named("lines"), site.tasklist(tasks), ranks=2)
    paths = [site.path / f"rank{rank}.jsonl" for rank in range(2)]
    wait_for(
        lambda: all(path.exists() and "task_start" in path.read_text() for path in paths), deadline=60, what="running tasks"
    )
    os.kill(process.farmers()[0], signal.SIGUSR1)
    process.succeed(60, code=75)
    for rank, path in enumerate(paths):
        events = _events(path)
        assert {event["rank"] for event in events} == {rank}
        assert [event["kind"] for event in events] == ["farmer_start", "task_start", "shutdown", "task_end", "farmer_end"]
        assert "SIGUSR1" in events[2]["reason"]
        assert events[3]["outcome"] == "killed"
        assert events[4]["returncode"] == 75
    accounted(site.path / "tasks_workdir", tasks)


def test_a_recovery_is_told(site: Site) -> None:
    options = "path = {rank}.jsonl\nevents = recovery, farmer_end"
    _define(site, lines=f"Monitor = taskfarmer_mpi.monitors.JSONLinesMonitor\n{options}")
    released = site.path / "released"
    tasks = [f"[ -e {released} ] || sleep 1000"] * 2
    tasklist = site.tasklist(tasks)
    first = _farm(site, "-n", "2", tasklist)
    wait_for(lambda: (site.path / "tasks_workdir" / "logs" / "log_1").exists(), deadline=60, what="running tasks")
    first.kill()
    first.wait(30)
    released.touch()
    _farm(site, "-n", "2", *_named("lines"), tasklist).succeed(60)
    events = _events(site.path / "0.jsonl")
    assert [event["kind"] for event in events] == ["recovery", "farmer_end"]
    assert (events[0]["farmers"], events[0]["tasks"]) == (1, 2)


def test_nothing_is_started_that_was_not_named(site: Site) -> None:
    _define(site, own="Monitor = own.Own")
    process = _farm(site, "-n", "1", site.tasklist(["sleep 0.5"]))
    wait_for(process.farmers, deadline=60, what="a farmer")
    assert _watchers(site) == []
    process.succeed(60)
    assert not (site.path / "own.txt").exists()


def test_a_class_of_the_users_own_gets_its_options_and_the_events(site: Site) -> None:
    _define(site, own="Monitor = own.Own\nword = hello")
    process = _farm(site, "-n", "1", "-m", "own", site.tasklist(["true"]))
    process.succeed(60)
    said = (site.path / "own.txt").read_text().splitlines()
    assert said == [f"{kind} 0 hello" for kind in ("farmer_start", "task_start", "task_end", "farmer_end")]


def test_the_class_in_the_documentation_works(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "monitors.md").read_text()
    found = re.search(r"    class Tally:.*?(?=\n    \[tally\])", page, re.DOTALL)
    assert found is not None
    names: dict[str, Any] = {}
    exec(textwrap.dedent(found[0]), names)
    monitor = names["Tally"](path=str(tmp_path / "tally"))
    for event in (EVENT, TASK_END, TASK_END):
        monitor.handle(event)
    monitor.tick()
    assert (tmp_path / "tally").read_text() == "2\n"


# -- monitors that misbehave ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Raising", "ValueError: this one is broken"),
        ("Unmakable", "cannot make a Unmakable: ValueError: cannot be made"),
        ("Hanging", "it has not ended 2 s after the farmer"),
        ("Spinning", "it has not ended 2 s after the farmer"),
        ("Suicidal", "killed by signal 9"),
        ("Leaving", "it ended with exit code 0"),
        ("Flooding", "it prints more than 256 KiB a second"),
    ],
)
def test_a_bad_monitor_is_switched_off_with_one_warning(site: Site, name: str, reason: str) -> None:
    _define(site, bad=f"Monitor = own.{name}", good="Monitor = own.Own")
    released = site.path / "released"
    tasks = ["true", "false", f"until [ -e {released} ]; do sleep 0.05; done"]
    process = _farm(site, "-n", "2", *_named("bad", "good"), site.tasklist(tasks))
    is_late = name in ("Hanging", "Spinning")
    wait_for(lambda: list(site.path.glob("late.*")) if is_late else _warnings(process), deadline=60, what="the trouble")
    wait_for(lambda: (site.path / "own.txt").exists(), deadline=60, what="a good monitor")
    released.touch()
    process.succeed(60, code=1)
    (warning,) = _warnings(process)
    assert "monitor bad is switched off: " in warning
    assert reason in warning
    assert "Traceback" not in process.stderr
    assert _watchers(site) == []
    settled(site.path / "tasks_workdir", tasks)
    assert len((site.path / "own.txt").read_text().splitlines()) == 8  # the good one heard everything


def test_with_verbose_a_monitor_is_heard(site: Site) -> None:
    _define(
        site, bad="Monitor = own.Raising", shell="Monitor = taskfarmer_mpi.monitors.CommandMonitor\ncommand = echo I am here"
    )
    process = _farm(site, "-v", "-n", "1", *_named("bad", "shell"), site.tasklist(["true"]))
    process.succeed(60)
    assert "monitor shell: I am here" in process.stderr
    assert "monitor bad: Traceback" in process.stderr


def test_a_farmer_that_is_killed_takes_its_monitors_along(site: Site) -> None:
    _define(site, idle="Monitor = own.Own", hanging="Monitor = own.Hanging")
    process = _farm(site, "-n", "1", *_named("idle", "hanging"), site.tasklist(["sleep 1000"]))
    wait_for(lambda: list(site.path.glob("late.*")), deadline=60, what="a hanging monitor")
    assert len(_watchers(site)) == 2
    os.kill(process.pid, signal.SIGKILL)
    wait_for(lambda: not _watchers(site), deadline=30, what="the end of the monitors")


def test_a_monitor_is_no_task_and_holds_no_lock(site: Site) -> None:
    _define(site, idle="Monitor = own.Own")
    process = _farm(site, "-n", "1", *_named("idle"), site.tasklist(["sleep 1000"]))
    workdir = site.path / "tasks_workdir"
    wait_for(lambda: (workdir / "logs" / "log_0").exists(), deadline=60, what="a task")
    (farmer,) = (path.stem for path in (workdir / "farmers").glob("*.journal"))
    wait_for(lambda: (site.path / "own.txt").exists(), deadline=30, what="a monitor that is made")
    (monitor,) = _watchers(site)
    tasks = wait_for(
        lambda: find_processes(Owner.here(farmer, f"{workdir}/lock.{farmer}.tasks", str(workdir))),
        deadline=30,
        what="the processes of the task",
    )
    assert monitor not in tasks
    opened = [os.readlink(entry) for entry in Path(f"/proc/{monitor}/fd").iterdir()]
    assert not [target for target in opened if "lock" in target or "farmers" in target]
    process.kill(signal.SIGTERM)
    process.succeed(60, code=75)
    assert _watchers(site) == []


def _run_watcher(site: Site, name: str, program: list[str], path: list[str]) -> tuple[int, str]:
    """Run the process of a monitor, with one event; return its exit code and what it printed."""
    _define(site)
    definition = {"name": "one", "class_path": f"own.{name}"}
    who = {name: getattr(EVENT, name) for name in ("farmer", "host", "pid", "rank", "ranks", "job", "slots", "workdir")}
    opening = {"definition": definition, "path": [str(site.path), *path], "who": who}
    source, target = os.pipe()
    os.write(target, json.dumps(opening).encode() + b"\n" + json.dumps([["shutdown", 1.0, {}]]).encode() + b"\n")
    process = subprocess.Popen(
        [*program, str(source)],
        pass_fds=[source],
        stderr=subprocess.PIPE,
        cwd=site.path,
        env=site.environ(),
        start_new_session=True,
    )
    os.close(source)
    os.close(target)
    said = process.communicate(timeout=60)[1].decode()
    return process.returncode, said


@pytest.mark.parametrize("name", ["Hanging", "Spinning", "Stuck"])
def test_a_monitor_that_takes_too_long_over_one_event_ends_itself(site: Site, name: str) -> None:
    code = (
        "import sys\nfrom taskfarmer_mpi.monitors import process\nprocess.EVENT_LIMIT = 0.5\nprocess.main(int(sys.argv[1]))"
    )
    returncode, said = _run_watcher(site, name, [sys.executable, "-c", code], sys.path)
    assert returncode == 1
    assert "\nTimeout (" in said
    assert "in handle" in said


def test_a_monitor_finds_this_package_where_it_is_not_installed(site: Site) -> None:
    path = [entry for entry in sys.path if "site-packages" not in entry and not Path(entry, "taskfarmer_mpi").exists()]
    code, said = _run_watcher(site, "Own", [sys.executable, "-S", "-P", process.__file__], path)
    assert code == 0, said
    assert (site.path / "own.txt").read_text() == "shutdown 3 none\n"


# -- the farmer's side ----------------------------------------------------------------------------


class _Side:
    """A farmer's dispatcher without the farmer."""

    def __init__(self, folder: Path, name: str) -> None:
        (folder / "own.py").write_text(_OWN)
        self.farm = make_farm(folder, ["true"] * 10)
        hand = Hand(self.farm, "20261125T000000-here-1-abcdef")
        hand.die()
        self.recovery = Recovery()
        self.ended: dict[int, int] = {}
        definition = Definition("one", f"own.{name}")
        self.dispatcher = Dispatcher([definition], hand.identity, self.farm.workdir, dict(os.environ), self.ended)


@pytest.fixture
def side_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], _Side]]:
    """Return a maker of dispatcher with one monitor of a class."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dispatch, "SEND_INTERVAL", 0.0)
    sides = []

    def make(name: str) -> _Side:
        sides.append(_Side(tmp_path, name))
        return sides[-1]

    yield make
    for side in sides:
        side.dispatcher.close()


def test_a_monitor_that_does_not_keep_up_is_switched_off(
    side_of: Callable[[str], _Side], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipe, "BACKLOG", 10_000)
    side = side_of("Hanging")
    for _ in range(1000):
        side.dispatcher.tell("shutdown", reason=5000 * "x")
        began = time.monotonic()
        side.dispatcher.step(side)
        assert time.monotonic() - began < 5
        if caplog.messages:
            break
    assert caplog.messages == ["monitor one is switched off: it does not keep up with the events"]


def test_a_monitor_whose_end_another_one_saw_is_not_killed_again(
    side_of: Callable[[str], _Side], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    side = side_of("Leaving")
    side.dispatcher.tell("shutdown")
    side.dispatcher.step(side)
    pid = side.dispatcher._pipes["one"].pid
    side.ended[pid] = os.waitpid(pid, 0)[1]
    monkeypatch.setattr(os, "killpg", lambda *_: pytest.fail("its number may be that of another process now"))
    side.dispatcher.step(side)
    assert caplog.messages == ["monitor one is switched off: it ended with exit code 0"]


def test_a_recovery_is_told_once(side_of: Callable[[str], _Side], tmp_path: Path) -> None:
    side = side_of("Own")
    side.recovery = Recovery(farmers=1, tasks=3)
    side.dispatcher.step(side)
    side.dispatcher.step(side)
    side.recovery = Recovery()
    side.dispatcher.step(side)
    side.dispatcher.close()
    assert (tmp_path / "own.txt").read_text().splitlines() == ["recovery 0 none"]


def test_a_monitor_that_cannot_be_started_is_left_out(
    side_of: Callable[[str], _Side], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/python")
    side = side_of("Own")
    side.dispatcher.tell("shutdown")
    side.dispatcher.step(side)
    assert caplog.messages == ["monitor one cannot be started: No such file or directory"]


# -- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        ("Monitor = own.Own\nwrod = x", r"monitors\.ini: \[bad\] wrod: unknown option; Own takes word"),
        ("Monitor = own.NoMonitor", r"monitors\.ini: \[bad\] Monitor = own\.NoMonitor: not a monitor: it has no handle"),
        ("Monitor = own.Missing", r"monitors\.ini: \[bad\] Monitor = own\.Missing: module own has no class"),
        (
            "Monitor = missing.Own",
            r"monitors\.ini: \[bad\] Monitor = missing\.Own: cannot import missing: ModuleNotF",
        ),
        (
            "Monitor = taskfarmer_mpi.monitors.CommandMonitor",
            r"\[bad\] command: this option is missing; CommandMonitor",
        ),
        (
            "Monitor = taskfarmer_mpi.monitors.CommandMonitor\ncommand = true\ntimeout = soon",
            r"monitors\.ini: \[bad\] timeout: 'soon' is not a time in seconds: more than 0, and 30 at most",
        ),
        (
            "Monitor = taskfarmer_mpi.monitors.JSONLinesMonitor\npath = a\nevents = task_end, lunch",
            r"monitors\.ini: \[bad\] events: 'lunch' is not an event; there are farmer_start, .*, task_failed",
        ),
        (
            "Monitor = taskfarmer_mpi.monitors.OpenMetricsMonitor\npath = {node}.prom",
            r"monitors\.ini: \[bad\] path: '\{node\}\.prom' has a place that is not known .* there are \{farmer\}",
        ),
        ("Runner = own.Own", r"unknown monitor 'bad'; known: none; files that were read: .*monitors\.ini"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_run(site: Site, section: str, complaint: str) -> None:
    _define(site, bad=section)
    process = _farm(site, "-m", "bad", site.tasklist(["true"]))
    process.succeed(30, code=2)
    (line,) = process.stderr.splitlines()
    assert re.search(complaint, line), line
    assert not (site.path / "tasks_workdir").exists()


# -- the provided monitors ------------------------------------------------------------------------


def test_a_command_gets_the_event_in_its_environment(tmp_path: Path) -> None:
    monitor = CommandMonitor(command=f"env -0 >{tmp_path}/$TASKFARMER_EVENT", events="task_failed,shutdown")
    monitor.handle(EVENT)
    monitor.handle(replace(TASK_END, outcome="finished", returncode=0))
    assert list(tmp_path.iterdir()) == []
    monitor.handle(replace(TASK_END, command="run \udcff 5"))
    pairs = [pair.partition(b"=") for pair in (tmp_path / "task_end").read_bytes().split(b"\0")]
    environ = {name: value for name, _, value in pairs if name.startswith(b"TASKFARMER_")}
    assert environ[b"TASKFARMER_COMMAND"] == b"run \xff 5"
    assert environ[b"TASKFARMER_RETURNCODE"] == b"3"
    assert environ[b"TASKFARMER_RANK"] == b"3"
    assert b"TASKFARMER_REASON" not in environ
    assert b"TASKFARMER_KIND" not in environ


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("exit 3", "exit 3: exit code 3"),
        ("kill -TERM $$", "ended by signal 15"),
        ("exec sleep 1000", "exec sleep 1000: still running after 0.2 s"),
    ],
)
def test_a_command_that_fails_or_hangs_is_a_failure(command: str, complaint: str) -> None:
    monitor = CommandMonitor(command=command, events="farmer_start", timeout="0.2" if "sleep" in command else "10")
    with pytest.raises(RuntimeError, match=re.escape(complaint)):
        monitor.handle(EVENT)


def test_a_command_that_hangs_is_killed_with_what_it_started(site: Site) -> None:
    options = "command = sleep 1000 & sleep 1000\nevents = task_start\ntimeout = 0.2"
    _define(site, hanging=f"Monitor = taskfarmer_mpi.monitors.CommandMonitor\n{options}")
    released = site.path / "released"
    process = _farm(site, "-n", "1", "-m", "hanging", site.tasklist([f"until [ -e {released} ]; do sleep 0.05; done"]))
    wait_for(lambda: _warnings(process), deadline=60, what="a warning")
    released.touch()
    process.succeed(60)
    (warning,) = _warnings(process)
    assert warning.endswith("RuntimeError: sleep 1000 & sleep 1000: still running after 0.2 s")
    wait_for(lambda: site.leftovers() == [], deadline=10, what="the end of all processes")


def test_a_command_tells_of_failed_tasks_in_a_real_farm(site: Site) -> None:
    options = 'command = echo "$TASKFARMER_TASK: $TASKFARMER_RETURNCODE" >>failures\nevents = task_failed'
    _define(site, failures=f"Monitor = taskfarmer_mpi.monitors.CommandMonitor\n{options}")
    process = _farm(site, "-n", "2", "-m", "failures", site.tasklist(["true", "exit 3", "true", "exit 4"]))
    process.succeed(60, code=1)
    assert sorted((site.path / "failures").read_text().splitlines()) == ["1: 3", "3: 4"]


def _families(data: str) -> dict[str, Metric]:
    """Return the metrics of a file, which both forms of the format must allow."""
    old = {sample.name: sample.value for family in parse_prometheus(data) for sample in family.samples}
    families = {family.name: family for family in parse_openmetrics(data)}  # type: ignore[no-untyped-call]
    assert old.keys() == {sample.name for family in families.values() for sample in family.samples}
    return families


def _value(families: dict[str, Metric], name: str, **labels: str) -> float:
    samples = [sample for sample in families[name].samples if labels.items() <= sample.labels.items()]
    (sample,) = samples
    assert sample.timestamp is None  # the textfile collector refuses them
    return float(sample.value)


def test_metrics_of_a_real_farm_are_valid_and_right(site: Site) -> None:
    _define(site, metrics="Monitor = taskfarmer_mpi.monitors.OpenMetricsMonitor\npath = metrics/farm.prom")
    (site.path / "metrics").mkdir()
    process = _farm(site, "-n", "2", "-m", "metrics", site.tasklist(["sleep 0.2", "false", "true"]), ranks=2)
    process.succeed(60, code=1)
    assert _warnings(process) == []
    paths = list((site.path / "metrics").iterdir())
    assert len(paths) == 2
    assert all(path.suffix == ".prom" for path in paths)
    farms = [_families(path.read_text()) for path in paths]
    assert sum(_value(farm, "taskfarmer_runs", outcome="finished") for farm in farms) == 2
    assert sum(_value(farm, "taskfarmer_runs", outcome="failed") for farm in farms) == 1
    assert sum(_value(farm, "taskfarmer_run_seconds", outcome="finished") for farm in farms) > 0.2
    assert {_value(farm, "taskfarmer_slots") for farm in farms} == {2}
    assert {_value(farm, "taskfarmer_slots_busy") for farm in farms} == {0}
    assert all(_value(farm, "taskfarmer_end_time_seconds") > _value(farm, "taskfarmer_start_time_seconds") for farm in farms)
    assert {farm["taskfarmer_info"].samples[0].labels["rank"] for farm in farms} == {"0", "1"}


def test_metrics_follow_a_farmer_that_works(tmp_path: Path) -> None:
    monitor = OpenMetricsMonitor(path=f"{tmp_path}/{{host}}.prom", keep="no")
    path = tmp_path / "n4.prom"
    monitor.tick()
    assert not path.exists()
    start = replace(TASK_END, kind="task_start", outcome=None, returncode=None, seconds=None)
    for event in (EVENT, start, replace(start, task=6), TASK_END, replace(EVENT, kind="recovery", farmers=1, tasks=4)):
        monitor.handle(event)
    monitor.tick()
    families = _families(path.read_text())
    assert _value(families, "taskfarmer_slots_busy") == 1
    assert _value(families, "taskfarmer_runs", outcome="failed") == 1
    assert _value(families, "taskfarmer_cpu_seconds", outcome="failed") == 0.5
    assert _value(families, "taskfarmer_recovered_tasks") == 4
    assert families["taskfarmer_info"].samples[0].labels["workdir"] == EVENT.workdir
    status = path.stat()
    monitor.tick()
    assert path.stat().st_ino == status.st_ino  # nothing new, nothing written
    monitor.handle(replace(EVENT, kind="farmer_end"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "own"),
    [
        ("/a/farm.prom", f"/a/farm.{EVENT.farmer}.prom"),
        ("farm", f"farm.{EVENT.farmer}"),
        ("/a.b/{host}-{rank}.prom", "/a.b/n4-3.prom"),
        ("{job}/{pid}", "77/4711"),
    ],
)
def test_each_farmer_has_a_file_of_its_own(path: str, own: str) -> None:
    assert own_path(parse_path(path), EVENT) == Path(own)


@pytest.mark.parametrize("path", ["", " ", "a/", "{}", "{node}", "a{"])
def test_a_path_that_is_none_is_refused(path: str) -> None:
    with pytest.raises(OptionError, match="path: "):
        parse_path(path)


def test_kinds_of_events_are_checked() -> None:
    assert parse_kinds(" task_end,\n shutdown ") == {"task_end", "shutdown"}
    with pytest.raises(OptionError, match="events: '' is not an event"):
        parse_kinds("")


def test_a_file_that_cannot_be_written_switches_its_monitor_off(site: Site) -> None:
    _define(site, lines="Monitor = taskfarmer_mpi.monitors.JSONLinesMonitor\npath = missing/events.jsonl")
    process = _farm(site, "-n", "1", "-m", "lines", site.tasklist(["true"]))
    process.succeed(60)
    (warning,) = _warnings(process)
    assert "FileNotFoundError" in warning


def test_events_are_written_as_they_are(tmp_path: Path) -> None:
    monitor = JSONLinesMonitor(path=f"{tmp_path}/all.{{rank}}")
    monitor.handle(EVENT)
    monitor.handle(TASK_END)
    first, second = _events(tmp_path / "all.3")
    assert first["workdir"] == EVENT.workdir
    assert "task" not in first
    assert Event(**second) == TASK_END
