"""A farmer's tasks die with it, whatever they did to get away, and nothing else does."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import Hand, make_farm, run
from helpers import command_of, wait_for

from taskfarmer_mpi.lives import guardian
from taskfarmer_mpi.lives import owner as owners
from taskfarmer_mpi.lives.life_locks import LifeLock
from taskfarmer_mpi.lives.owner import FAMILY, JOBS, Owner, find_processes, kill_processes

ESCAPES = {
    "child": "sleep 300 & wait",
    "session": "setsid sleep 300 & wait",
    "daemon": "(setsid sh -c 'sleep 300 & ' &) ; sleep 300",
    "no-environment": "env -i sleep 300 & wait",
    "stubborn": "trap '' TERM INT HUP; while :; do sleep 300; done",
}


class Scene:
    """A farmer's lock, journal and logs, without the farmer."""

    def __init__(self, folder: Path) -> None:
        self.farmer = f"farmer-{os.getpid()}-{time.monotonic_ns()}"
        self.workdir = folder / "work"
        for name in ("logs", "farmers"):
            (self.workdir / name).mkdir(parents=True)
        self.lock = LifeLock.create(folder / "tasks", 0o600)
        self.owner = self.seen_by({"SLURM_JOB_ID": ""})
        self.processes: list[subprocess.Popen[bytes]] = []

    def seen_by(self, jobs: dict[str, str], cgroup_job: bytes | None = None) -> Owner:
        """Return the farmer as one that runs in a job of a scheduler."""
        return Owner(self.farmer, str(self.lock.path), str(self.workdir), jobs, cgroup_job)

    def start(
        self, script: str, *, log: int | None = None, is_locked: bool = True, environ: dict[str, str] | None = None
    ) -> "subprocess.Popen[bytes]":
        """Start a process as a task's: with the name of its farmer unless `environ` names another one."""
        named = {FAMILY: f"outer:{self.farmer}"} | (environ or {})
        with open(os.devnull if log is None else self.workdir / "logs" / f"log_{log}", "wb") as output:
            process = subprocess.Popen(
                ["/bin/sh", "-c", script],
                env=os.environ | named,
                pass_fds=[self.lock.fd] if is_locked else [],
                start_new_session=True,
                stdout=output,
            )
        self.processes.append(process)
        return process

    def start_guardian(self) -> tuple["subprocess.Popen[bytes]", int]:
        """Start the guardian; return it and the end of the pipe that its farmer holds."""
        read_end, write_end = os.pipe()
        owner = self.owner
        words = guardian.command(owner, 0)
        os.set_inheritable(self.lock.fd, True)
        process = subprocess.Popen(
            ["/bin/bash", "-c", f'exec "$@" 3<&{self.lock.fd} {self.lock.fd}<&-', "bash", *words],
            stdin=read_end,
            pass_fds=[self.lock.fd],
        )
        self.processes.append(process)
        os.close(read_end)
        return process, write_end

    def begin(self, *tasks: int, ended: tuple[int, ...] = ()) -> None:
        """Write the journal of the farmer."""
        lines = [f'{{"ev":"begin","t":1.000000,"id":{task},"slot":0}}\n' for task in tasks]
        lines += [f'{{"ev":"end","t":2.000000,"id":{task},"slot":0,"rc":0}}\n' for task in ended]
        (self.workdir / "farmers" / f"{self.farmer}.journal").write_text("".join(lines))

    def is_found(self, process: "subprocess.Popen[bytes]", owner: Owner | None = None) -> bool:
        """Whether a process counts as the farmer's."""
        wait_for(lambda: command_of(process.pid)[:1] == ["sleep"], deadline=10, what="the program begins")
        return process.pid in find_processes(owner or self.owner)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    for process in scene.processes:
        process.kill()
        process.wait(10)


@pytest.mark.parametrize("script", ESCAPES.values(), ids=ESCAPES.keys())
def test_every_process_of_a_task_is_found_and_killed(script: str, scene: Scene) -> None:
    process = scene.start(script)
    wait_for(lambda: len(find_processes(scene.owner)) >= 2, deadline=10, what="all processes of the task")
    assert kill_processes(scene.owner, 5.0)
    assert process.wait(5) == -9
    assert find_processes(scene.owner) == []


def test_processes_of_another_farmer_are_left_alone(scene: Scene) -> None:
    process = scene.start("exec sleep 300", is_locked=False, environ={FAMILY: "another-farmer"})
    assert not scene.is_found(process)
    assert kill_processes(scene.owner, 5.0)
    assert process.poll() is None


def test_a_process_that_is_spared_is_not_killed(scene: Scene) -> None:
    process = scene.start("exec sleep 300")
    assert kill_processes(scene.owner, 5.0, (process.pid,))
    assert process.poll() is None


@pytest.mark.parametrize("job", ["18", "17_1"])
def test_a_job_that_a_task_submitted_is_not_its_farmers(job: str, scene: Scene) -> None:
    process = scene.start("exec sleep 300", is_locked=False, environ={"SLURM_JOB_ID": job})
    assert not scene.is_found(process, scene.seen_by({"SLURM_JOB_ID": "17"}))
    assert not scene.is_found(process, scene.seen_by({"SLURM_JOB_ID": ""}))
    assert scene.is_found(process, scene.seen_by({"SLURM_JOB_ID": job}))


@pytest.mark.parametrize("name", JOBS)
def test_jobs_of_all_schedulers_are_told_apart(name: str, scene: Scene) -> None:
    process = scene.start("exec sleep 300", is_locked=False, environ={name: "18"})
    assert not scene.is_found(process, scene.seen_by({name: "17"}))
    assert scene.is_found(process, scene.seen_by({name: "18"}))


def test_a_process_that_holds_the_lock_is_the_farmers_whatever_its_job(scene: Scene) -> None:
    process = scene.start("exec sleep 300", environ={"SLURM_JOB_ID": "18"})
    assert scene.is_found(process, scene.seen_by({"SLURM_JOB_ID": "17"}))


def test_a_process_without_a_job_in_its_environment_is_the_farmers(scene: Scene) -> None:
    process = scene.start("unset SLURM_JOB_ID; exec sleep 300", is_locked=False, environ={"SLURM_JOB_ID": "17"})
    assert scene.is_found(process, scene.seen_by({"SLURM_JOB_ID": "17"}))


@pytest.mark.parametrize(
    ("theirs", "own", "is_other"),
    [
        (b"18", b"17", True),
        (b"17", b"17", False),
        (b"18", b"", True),
        (b"", b"17", False),
        (b"18", None, False),
    ],
)
def test_the_control_group_says_the_job_where_it_can(
    theirs: bytes, own: bytes | None, is_other: bool, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owners, "cgroup_job", lambda _process: theirs)
    owner = scene.seen_by({"SLURM_JOB_ID": "17"}, own)
    assert owner.is_of_other_job("1", [b"SLURM_JOB_ID=17"]) == is_other


def test_a_control_group_of_the_same_job_counts_more_than_the_environment(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owners, "cgroup_job", lambda _process: b"17")
    assert not scene.seen_by({"SLURM_JOB_ID": "17"}, b"17").is_of_other_job("1", [b"SLURM_JOB_ID=made up"])


HIDING = "exec env -i sleep 300"
"""Clears the environment; what has no lock either can only be known by its log."""


def test_what_writes_to_the_log_of_a_running_task_is_the_farmers(scene: Scene) -> None:
    scene.begin(4, 5, ended=(4,))
    running = scene.start(HIDING, log=5, is_locked=False)
    ended = scene.start(HIDING, log=4, is_locked=False)
    never = scene.start(HIDING, log=6, is_locked=False)
    assert [scene.is_found(process) for process in (running, ended, never)] == [True, False, False]


def test_a_log_that_is_only_read_makes_nobody_the_farmers(scene: Scene) -> None:
    scene.begin(5)
    (scene.workdir / "logs" / "log_5").touch()
    reader = scene.start(f"exec env -i sleep 300 <{scene.workdir}/logs/log_5", is_locked=False)
    assert not scene.is_found(reader)


def test_a_farmer_that_makes_the_log_of_the_next_run_is_not_the_farmers(scene: Scene) -> None:
    scene.begin(5)
    code = "import sys; log = open(sys.argv[1], 'w'); print('open', flush=True); sys.stdin.read()"
    words = [sys.executable, "-I", "-c", code, f"{scene.workdir}/logs/log_5"]
    with subprocess.Popen(words, env={}, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as maker:
        assert maker.stdout is not None
        assert maker.stdout.readline() == b"open\n"
        assert maker.pid not in find_processes(scene.owner)


def test_a_log_says_nothing_of_a_process_with_another_farmers_name(scene: Scene) -> None:
    scene.begin(5)
    process = scene.start("exec sleep 300", log=5, is_locked=False, environ={FAMILY: "another-farmer"})
    assert not scene.is_found(process)


def test_lock_and_log_are_known_through_a_link(scene: Scene, tmp_path: Path) -> None:
    scene.begin(5)
    (tmp_path / "alias").symlink_to(tmp_path)
    owner = Owner(scene.farmer, f"{tmp_path}/alias/tasks", f"{tmp_path}/alias/work", {})
    by_log = scene.start(HIDING, log=5, is_locked=False)
    by_lock = scene.start(HIDING)
    assert scene.is_found(by_log, owner)
    assert scene.is_found(by_lock, owner)


@pytest.mark.parametrize("is_locked", [True, False], ids=["with the lock", "by its log"])
def test_the_guardian_kills_what_a_dead_farmer_left(is_locked: bool, scene: Scene) -> None:
    scene.begin(5)
    process = scene.start(ESCAPES["daemon"] if is_locked else HIDING, log=5, is_locked=is_locked)
    watcher, pipe = scene.start_guardian()
    scene.lock.release()
    os.close(pipe)  # the farmer's death
    assert watcher.wait(10) == 0
    assert process.wait(5) == -9
    assert find_processes(scene.owner) == []


def test_nobody_takes_the_tasks_for_dead_before_the_guardian_has_killed_them(scene: Scene) -> None:
    watcher, pipe = scene.start_guardian()
    wait_for(lambda: find_processes(scene.owner) == [], deadline=10, what="the guardian hides the lock")
    scene.lock.release()
    assert LifeLock.seize(scene.lock.path) is None
    os.write(pipe, guardian.LET_GO)
    wait_for(lambda: not LifeLock.is_taken(scene.lock.path), deadline=10, what="the guardian lets go")
    assert watcher.poll() is None
    os.close(pipe)
    assert watcher.wait(10) == 0


def test_the_guardian_goes_home_when_the_farmer_left_in_order(scene: Scene) -> None:
    process = scene.start("exec sleep 300")
    watcher, pipe = scene.start_guardian()
    os.write(pipe, guardian.FAREWELL)
    os.close(pipe)
    assert watcher.wait(10) == 0
    assert process.poll() is None


def test_the_begins_and_ends_that_the_guardian_reads_are_those_that_a_journal_has(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["a", "b", "c"])
    hand = Hand(farm, "hand")
    for task_id in range(3):
        hand.journal.note_begin(task_id, 0)
    hand.end(0, 0)
    hand.journal.note_run("killed", run(farm, 1, -9))
    hand.journal.flush()
    owner = Owner("hand", str(hand.task_lock.path), str(farm.workdir.path), {})
    assert owner.running_tasks() == {2}


def test_a_link_or_a_pipe_in_the_place_of_the_journal_is_not_read(scene: Scene) -> None:
    journal = scene.workdir / "farmers" / f"{scene.farmer}.journal"
    other = scene.workdir / "other"
    other.write_text('{"ev":"begin","t":1.0,"id":7,"slot":0}\n')
    journal.symlink_to(other)
    assert scene.owner.running_tasks() == set()
    journal.unlink()
    os.mkfifo(journal)
    assert scene.owner.running_tasks() == set()
