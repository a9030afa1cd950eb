"""An executor over a farm: futures of commands, by key also over the death of the process that submitted them."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import as_completed

import pytest
from helpers import Site, Witness, settled, wait_for

from taskfarmer_mpi import FarmerError, FarmExecutor, KeyConflictError, UserError
from taskfarmer_mpi.common.causes import Cause

_LIMIT = 60
"""How long a future may take [s]."""

_OWN = """\
import sys
from concurrent.futures import as_completed
from taskfarmer_mpi import FarmExecutor
with FarmExecutor("farm", proc=2) as executor:
    commands = open("commands").read().splitlines()
    futures = [executor.submit(command, key=f"task {number}") for number, command in enumerate(commands)]
    for future in as_completed(futures):
        print(future.result().id, future.result().state, flush=True)
"""


@pytest.fixture
def executor(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[FarmExecutor]:
    environ = site.environ()
    for name in os.environ.keys() - environ.keys():
        monkeypatch.delenv(name)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(site.path)
    executor = FarmExecutor("farm", proc=2)
    yield executor
    executor.shutdown()


def test_futures_tell_how_commands_ended(executor: FarmExecutor) -> None:
    futures = {executor.submit(f"exit {code}"): code for code in range(4)}
    for future in as_completed(futures, _LIMIT):
        assert future.result().exit_code == futures[future]
    assert executor.submit("echo later").result(_LIMIT).read_output() == "later\n"
    assert [outcome.read_output() for outcome in executor.map(["echo 1", "echo 2"], timeout=_LIMIT)] == ["1\n", "2\n"]


def test_a_key_is_one_task(executor: FarmExecutor) -> None:
    first = executor.submit("echo a", key="a").result(_LIMIT)
    again = executor.submit("echo a", key="a").result(_LIMIT)
    assert first == again
    with FarmExecutor("farm") as other:
        assert other.submit("echo a", key="a").result(_LIMIT) == first
        with pytest.raises(KeyConflictError):
            other.submit("echo b", key="a").result(_LIMIT)
    assert executor.farm.status().tasks.total == 1


def test_a_key_that_another_process_had_done_meanwhile_is_known(executor: FarmExecutor) -> None:
    executor.submit("true").result(_LIMIT)
    with FarmExecutor("farm") as other:
        done = other.submit("echo a", key="a").result(_LIMIT)
    executor.submit("true").result(_LIMIT)
    assert executor.submit("echo a", key="a").result(_LIMIT) == done


def test_a_killed_process_goes_on_by_its_keys(site: Site, witness: Witness) -> None:
    commands = witness.tasks(40, 0.1)
    site.tasklist(commands, "commands")
    first = site.start(sys.executable, "-c", _OWN)
    wait_for(lambda: first.stdout.count("finished") >= 5, deadline=60, what="5 outcomes")
    first.kill(signal.SIGKILL)
    second = site.start(sys.executable, "-c", _OWN)
    second.succeed(120)
    assert sorted(int(line.split()[0]) for line in second.stdout.splitlines()) == list(range(40))
    assert len(settled(site.path / "farm", commands).finished) == 40
    assert witness.overlaps() == []


def test_a_killed_farmer_is_replaced(executor: FarmExecutor, witness: Witness) -> None:
    futures = [executor.submit(command) for command in witness.tasks(30, 0.1)]
    futures[0].result(_LIMIT)
    farmer = next(farmer for farmer in executor.farm.status().farmers if farmer.state == "alive")
    os.kill(farmer.pid, signal.SIGKILL)
    assert all(future.result(_LIMIT).is_finished for future in futures)
    assert len(executor.farm.status().farmers) == 2


def test_a_running_task_cannot_be_cancelled_by_its_future(executor: FarmExecutor) -> None:
    future = executor.submit("sleep 1")
    wait_for(future.running, deadline=30, what="the task is on the list")
    assert not future.cancel()
    assert future.result(_LIMIT).is_finished


def test_a_stop_by_somebody_is_an_error_of_the_futures(executor: FarmExecutor) -> None:
    future = executor.submit("sleep 1000")
    config = executor.farm.workdir / "farm.ini"
    wait_for(lambda: config.exists() and executor.farm.status().tasks.running, deadline=30, what="the task runs")
    executor.farm.stop()
    with pytest.raises(FarmerError, match="the farmer was stopped"):
        future.result(_LIMIT)
    assert executor.farm.status().tasks.to_do == 1


def test_a_task_that_is_taken_off_the_list_is_an_outcome(site: Site, executor: FarmExecutor) -> None:
    future = executor.submit("sleep 1000")
    config = executor.farm.workdir / "farm.ini"
    wait_for(lambda: config.exists() and executor.farm.status().tasks.running, deadline=30, what="the task runs")
    site.start(sys.executable, "-m", "taskfarmer_mpi.ctl", "cancel", executor.farm.workdir, "0").succeed(60)
    outcome = future.result(_LIMIT)
    assert (outcome.is_finished, outcome.kind) == (False, Cause.CANCELLED)


def test_a_farmer_that_cannot_begin_is_an_error_of_the_futures(site: Site, executor: FarmExecutor) -> None:
    with FarmExecutor(site.path / "other", proc="many") as other, pytest.raises(FarmerError, match="number of slots"):
        other.submit("true").result(_LIMIT)
    assert executor.submit("true").result(_LIMIT).is_finished


def test_a_wrong_command_is_an_error_of_its_future_alone(executor: FarmExecutor) -> None:
    good, bad, better = executor.submit("true"), executor.submit("a\nb"), executor.submit("true")
    with pytest.raises(UserError, match="one line of text"):
        bad.result(_LIMIT)
    assert good.result(_LIMIT).is_finished
    assert better.result(_LIMIT).is_finished
    with pytest.raises(UserError, match="a farm runs commands"):
        executor.submit(print)  # type: ignore[arg-type]


def test_nothing_is_taken_after_shutdown(executor: FarmExecutor) -> None:
    future = executor.submit("sleep 0.5")
    executor.shutdown()
    assert future.result(0).is_finished
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit("true")
