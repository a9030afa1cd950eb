"""A farm from Python: tasks are added, run and followed, whoever runs them and whatever is killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import ROOT, Process, Site, Witness, is_alive, settled, wait_for

from taskfarmer_mpi import Farm, FarmerError, KeyConflictError, TaskOutcome, UserError
from taskfarmer_mpi.api.outcome_reader import OutcomeReader
from taskfarmer_mpi.common.causes import Cause
from taskfarmer_mpi.workdir.files import Workdir

_OWN = """\
import os, sys
from taskfarmer_mpi import Farm
farm = Farm(sys.argv[1])
commands = open(sys.argv[2]).read().splitlines()
farm.add(commands, keys=[str(number) for number in range(len(commands))])
farmer = farm.start(proc=2)
print(farmer.pid, flush=True)
for outcome in farm:
    print(outcome.id, outcome.state, flush=True)
"""
"""What a notebook would do: run again after a death, it goes on."""


@pytest.fixture
def farm(site: Site, monkeypatch: pytest.MonkeyPatch) -> Farm:
    """Return a farm whose processes are cleared away at the end."""
    environ = site.environ()
    for name in os.environ.keys() - environ.keys():
        monkeypatch.delenv(name)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(site.path)
    return Farm("farm")


def _within(deadline: float, act: Callable[[], object]) -> object:
    """Return what a call returns; fail if it takes longer [s]."""
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(act()), daemon=True)
    thread.start()
    thread.join(deadline)
    assert found, f"not within {deadline:g} s"
    return found[0]


def _by_id(farm: Farm) -> dict[int, TaskOutcome]:
    outcomes = _within(60, lambda: list(farm))
    assert isinstance(outcomes, list)
    assert len({outcome.id for outcome in outcomes}) == len(outcomes)
    return {outcome.id: outcome for outcome in outcomes}


def test_importing_the_package_imports_nothing() -> None:
    code = "import sys, taskfarmer_mpi; print(*(name for name in sys.modules if name.startswith('taskfarmer')))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["taskfarmer_mpi"]


@pytest.mark.parametrize("form", ["packed", "packed-gzip", "none"])
def test_output_is_found_where_it_is_packed(form: str, farm: Farm) -> None:
    farm.add(["echo hello", "echo bad; exit 3"])
    farm.run(proc=1, options=["--logs", form])
    assert not list((farm.workdir / "logs").iterdir())
    expected = {0: "hello\n", 1: "bad\n"} if form != "none" else {0: "", 1: ""}
    assert {task: outcome.read_output() for task, outcome in _by_id(farm).items()} == expected


def test_tasks_are_run_and_their_outcomes_told(farm: Farm) -> None:
    assert farm.add(["echo hello", "sleep 0.1; exit 3", "kill -KILL $$"]) == [0, 1, 2]
    ended = farm.run(proc=2)
    assert (ended.code, ended.tasks.finished, ended.tasks.failed, ended.tasks.to_do) == (1, 1, 2, 0)
    assert ended.summary.startswith("3 tasks: 1 finished, 2 failed")
    hello, three, killed = (_by_id(farm)[task] for task in range(3))
    assert (hello.is_finished, hello.exit_code, hello.cause, hello.read_output()) == (True, 0, None, "hello\n")
    assert (three.state, three.exit_code, three.kind, three.cause) == ("failed", 3, Cause.EXIT, "exit code 3")
    assert (killed.exit_code, killed.signal, killed.kind) == (None, 9, Cause.SIGNAL)
    assert three.duration is not None
    assert three.duration >= 0.1
    assert three.log == Path("farm/logs/log_1").absolute()
    assert (hello.host is not None, hello.cpu is not None) == (True, True)


def test_outcomes_come_while_the_farmer_works(farm: Farm, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    farm.add(["true", f"until [ -e {gate} ]; do sleep 0.05; done"])
    with farm:
        farm.start(proc=2)
        outcomes = farm.outcomes()
        first = _within(30, lambda: next(outcomes))
        assert isinstance(first, TaskOutcome)
        assert first.id == 0
        assert farm.is_running()
        gate.touch()
        assert _within(30, lambda: [outcome.id for outcome in outcomes]) == [1]
    assert not farm.is_running()


def test_tasks_of_a_tasklist_and_added_ones_are_one_farm(site: Site, farm: Farm) -> None:
    site.tasklist(["echo 0", "echo 1"])
    listed = Farm("tasks")
    assert listed.add(["echo 2"]) == [2]
    assert listed.run().code == 0
    assert {task: outcome.command for task, outcome in _by_id(listed).items()} == {0: "echo 0", 1: "echo 1", 2: "echo 2"}
    assert listed.workdir == site.path / "tasks_workdir"
    assert not farm.workdir.exists()


def test_failed_tasks_are_retried_and_told_again(farm: Farm, tmp_path: Path) -> None:
    mended = tmp_path / "mended"
    farm.add(["true", f"[ -e {mended} ]", "exit 4"])
    farm.run()
    reader = OutcomeReader(Workdir(farm.workdir))
    assert {outcome.id: outcome.state for outcome in reader.look()} == {0: "finished", 1: "failed", 2: "failed"}
    assert farm.retry(exit_codes=[1]) == [1]
    assert (reader.look(), reader.count) == ([], 2)
    mended.touch()
    farm.run()
    assert [(outcome.id, outcome.state) for outcome in reader.look()] == [(1, "finished")]
    assert farm.retry() == [2]
    farm.run()
    assert [(outcome.id, outcome.state) for outcome in reader.look()] == [(2, "failed")]
    assert {task: outcome.state for task, outcome in _by_id(farm).items()} == {0: "finished", 1: "finished", 2: "failed"}


def test_a_task_of_a_key_is_added_once(farm: Farm) -> None:
    assert farm.add(["echo a", "echo b", "echo a"], keys=["a", None, "a"]) == [0, 1, 0]
    assert Farm(farm.workdir).add(["echo c", "echo a"], keys=["c", "a"]) == [2, 0]
    with pytest.raises(KeyConflictError, match=r"^key 'a' is that of task 0, 'echo a', not of 'echo z'$"):
        farm.add(["echo y", "echo z"], keys=["y", "a"])
    assert farm.status().tasks.total == 3


def test_a_key_whose_task_was_never_added_means_nothing(farm: Farm) -> None:
    farm.add(["true"])
    (farm.workdir / "tasks.keys").write_text('1 0123456789abcdef "a"\n2 01')
    assert farm.add(["echo other"]) == [1]
    assert farm.add(["echo a"], keys=["a"]) == [2]
    assert Farm(farm.workdir).add(["echo a"], keys=["a"]) == [2]


def test_a_killed_python_leaves_a_farm_that_goes_on(site: Site, witness: Witness) -> None:
    commands = witness.tasks(40, 0.1)
    site.tasklist(commands, "commands")
    words = (sys.executable, "-c", _OWN, "farm", "commands")
    first = site.start(*words)
    wait_for(lambda: first.stdout.count("finished") >= 5, deadline=60, what="5 outcomes")
    farmer = int(first.stdout.split()[0])
    first.kill(signal.SIGKILL)
    first.wait(10)
    wait_for(lambda: not is_alive(farmer), deadline=30, what=f"the end of farmer {farmer}")
    second = site.start(*words)
    second.succeed(120)
    lines = second.stdout.splitlines()[1:]
    assert sorted(int(line.split()[0]) for line in lines) == list(range(40))
    assert len(settled(site.path / "farm", [*commands]).finished) == 40
    assert witness.overlaps() == []
    assert all(sum(run.end is not None for run in runs) == 1 for runs in witness.runs().values())


def test_a_killed_farmer_is_an_error_and_the_next_one_goes_on(farm: Farm, witness: Witness) -> None:
    farm.add(witness.tasks(20, 0.1))
    farmer = farm.start(proc=2)
    outcomes = farm.outcomes()
    _within(30, lambda: next(outcomes))
    os.kill(farmer.pid, signal.SIGKILL)
    with pytest.raises(FarmerError, match="killed by SIGKILL") as caught:
        farm.wait()
    assert caught.value.code == -signal.SIGKILL
    assert farm.run(proc=2).code == 0
    settled(farm.workdir, witness.tasks(20, 0.1))


def test_two_farms_and_a_farmer_of_the_command_line_share_a_list(site: Site, farm: Farm, witness: Witness) -> None:
    commands = witness.tasks(60, 0.05)
    other = Farm(farm.workdir)
    assert farm.add(commands[:30]) + other.add(commands[30:]) == list(range(60))
    with farm, other:
        farm.start(proc=1)
        other.start(proc=1)
        process: Process = site.farm("--workdir", farm.workdir, "--proc", "1")
        assert sorted(_by_id(farm)) == list(range(60))
        process.succeed(60)
    assert sorted(_by_id(other)) == list(range(60))
    assert len({run.farmer for run in witness.once_each(60).values()}) == 3
    settled(farm.workdir, commands)


def test_an_exception_in_the_block_stops_the_farmer(farm: Farm) -> None:
    farm.add(["sleep 1000"])
    farm.start()
    with pytest.raises(ZeroDivisionError), farm:
        _ = 1 // 0
    assert not farm.is_running()
    assert farm.status().tasks.to_do == 1


def test_stop_reaches_every_farmer_of_the_work_directory(site: Site, farm: Farm) -> None:
    farm.add(["sleep 1000", "sleep 1000"])
    process = site.farm("--workdir", farm.workdir, "--proc", "1")
    farm.start(proc=1)
    wait_for(lambda: farm.status().tasks.running == 2, deadline=30, what="two running tasks")
    assert farm.stop() == []
    process.succeed(30, code=75)
    assert farm.wait().code == 75
    assert farm.status().tasks.to_do == 2


def test_a_launcher_starts_several_farmers(farm: Farm) -> None:
    mpiexec = shutil.which("mpiexec")
    assert mpiexec
    farm.add(["true"] * 4)
    ended = farm.run(proc=1, launcher=[mpiexec, "-n", "2"])
    assert ended.code == 0
    assert "2 farmers" in ended.summary


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda farm: farm.run(), "not a work directory: no such directory"),
        (lambda farm: farm.status(), "not a work directory"),
        (lambda farm: list(farm), "not a work directory"),
        (lambda farm: farm.wait(), "no farmer was started here"),
        (lambda farm: farm.add("true"), "one command; add takes several"),
        (lambda farm: farm.add(["true"], keys=["a", "b"]), "2 keys for 1 commands"),
        (lambda farm: farm.add(["a\nb"]), "a task is one line of text"),
    ],
)
def test_a_mistake_is_one_line(farm: Farm, act: Callable[[Farm], object], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        act(farm)
    assert "\n" not in str(caught.value)


def test_a_directory_of_something_else_is_left_alone(farm: Farm) -> None:
    farm.workdir.mkdir()
    (farm.workdir / "thesis.tex").touch()
    with pytest.raises(UserError, match="not a work directory, and not empty"):
        farm.add(["true"])
    assert [path.name for path in farm.workdir.iterdir()] == ["thesis.tex"]


def test_a_farmer_that_cannot_begin_says_why(farm: Farm) -> None:
    farm.add(["true"])
    with pytest.raises(FarmerError, match="is not a number of slots") as caught:
        farm.run(proc="many")
    assert caught.value.code == 2
    with pytest.raises(FarmerError, match="no-such-launcher: cannot start: No such file") as caught:
        farm.run(launcher=["no-such-launcher"])


def test_what_a_plain_farmer_did_is_told_without_details(site: Site, farm: Farm, pytaskfarmer: Path) -> None:
    site.tasklist(["true", "false"])
    listed = Farm("tasks")
    process = site.plain_0_1_0(pytaskfarmer, "--proc", "1", "--workdir", "tasks_workdir", "tasks")
    process.succeed(60)
    assert not farm.workdir.exists()
    outcomes = _by_id(listed)
    assert (outcomes[0].state, outcomes[0].exit_code, outcomes[0].begin) == ("finished", None, None)
    assert (outcomes[1].state, outcomes[1].cause) == ("failed", "not known")


def test_an_empty_name_is_not_the_current_directory() -> None:
    with pytest.raises(UserError, match="an empty name of a work directory"):
        Farm("")
