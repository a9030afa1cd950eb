"""A long list of tasks that fail, hang and eat memory, with retries and limits: each ends as it should, and one sees why."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cgroups import real_group
from helpers import MPIEXEC, Process, Site, settled, slices
from past import runs_of

from taskfarmer_mpi.common.causes import Cause
from taskfarmer_mpi.history.runs import Outcome

CTL = (sys.executable, "-m", "taskfarmer_mpi.ctl")
TASKS = 2000
FIRST = "[ $TASKFARMER_ATTEMPT != 1 ] || "
HANG = "exec sleep 600"
EAT = f"exec {sys.executable} -c 'x = bytearray(b\"x\") * (700 << 20)'"
LIMITS = {"memory.max": "500M", "memory.limit_in_bytes": "500M", "memory.swap.max": "0"}


@dataclass(frozen=True)
class Kind:
    """Tasks of one kind."""

    line: str
    count: int
    ends: tuple[Cause | None, ...]
    """Why each of its attempts ended; None if it finished."""
    setting: str = ""
    """What a `#TF` line says of them."""


KINDS = {
    "good": Kind("true", 0, (None,)),
    "flaky": Kind(f"{FIRST}exit 3", TASKS // 10, (Cause.EXIT, None)),
    "flaky twice": Kind("[ $TASKFARMER_ATTEMPT = 3 ]", 10, (Cause.EXIT, Cause.EXIT, None), "retries=2"),
    "wrong": Kind("exit 7", 20, (Cause.EXIT, Cause.EXIT)),
    "hopeless": Kind("exit 8", 5, (Cause.EXIT,), "retries=0"),
    "killed": Kind("kill -USR2 $$", 3, (Cause.SIGNAL, Cause.SIGNAL)),
    "no program": Kind("/nowhere/program", 3, (Cause.EXIT, Cause.EXIT)),
    "hangs once": Kind(f"{FIRST}{HANG}", 4, (Cause.TIME_LIMIT, None), "timeout=5"),
    "hangs": Kind(HANG, 4, (Cause.TIME_LIMIT, Cause.TIME_LIMIT), "timeout=2 name=endless"),
    "heeds nothing": Kind("trap '' TERM; while :; do sleep 1; done", 2, (Cause.TIME_LIMIT, Cause.TIME_LIMIT), "timeout=1"),
    "eats once": Kind(f"{FIRST}{EAT}", 3, (Cause.MEMORY, None)),
    "eats": Kind(EAT, 3, (Cause.MEMORY, Cause.MEMORY)),
}
"""All kinds; the rest of the tasks are good."""
FAILING = ("wrong", "hopeless", "killed", "no program", "hangs", "heeds nothing", "eats")


class Farm(NamedTuple):
    """The farm at its end."""

    site: Site
    workdir: Path
    kinds: dict[int, str]
    """The kind of each task."""
    farm: Process

    def of(self, *kinds: str) -> list[int]:
        """Return the tasks of some kinds."""
        return [task for task, kind in self.kinds.items() if kind in kinds]

    def ask(self, *words: str) -> str:
        """Return what a command says of it."""
        said = self.site.start(*CTL, words[0], self.workdir, *words[1:])
        said.succeed(60)
        return said.stdout


def _kinds_in_order() -> list[str]:
    """Return the kind of each task; those of one kind are together only where a line before them has to say something."""
    rest = [kind for kind in KINDS if not KINDS[kind].setting]
    plain = [kind for kind in rest for _ in range(KINDS[kind].count)]
    together = [kind for kind in KINDS if KINDS[kind].setting for _ in range(KINDS[kind].count)]
    good = TASKS - len(plain) - len(together)
    step = good // len(plain)
    mixed = [kind for one in plain for kind in (one, *["good"] * step)]
    return together + mixed + ["good"] * (TASKS - len(together) - len(mixed))


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """Run the list with two ranks in one memory group."""
    site = Site(tmp_path_factory.mktemp("bad"))
    kinds = _kinds_in_order()
    lines, setting = [], ""
    for kind in kinds:
        if KINDS[kind].setting != setting:
            setting = KINDS[kind].setting
            lines += ["#TF", f"#TF {setting}"] if setting else ["#TF"]
        lines.append(KINDS[kind].line)
    tasks = site.tasklist(lines)
    options = "--proc 4 --retries 1 --retry-delay 0.2 --task-timeout 60 --task-grace 1 --progress none"
    with real_group("memory", LIMITS) as group:
        words = f"{MPIEXEC} -n 2 {sys.executable} -m taskfarmer_mpi {options} {tasks}"
        farm = site.start("bash", "-c", f"echo $$ > {group}/cgroup.procs && exec {words}")
        farm.succeed(240, code=1)
    yield Farm(site, Path(f"{tasks}_workdir"), dict(enumerate(kinds)), farm)
    site.clear()


def test_every_task_ends_as_it_should(farm: Farm) -> None:
    lists = settled(farm.workdir, [KINDS[kind].line for kind in farm.kinds.values()])
    assert sorted(lists.failed) == farm.of(*FAILING)
    assert len(lists.finished) == TASKS - len(lists.failed)
    assert farm.site.leftovers() == []


def test_the_journals_say_why_each_attempt_ended(farm: Farm) -> None:
    runs = runs_of(farm.workdir)
    wrong = {
        task: (kind, [run.cause for run in runs[task]])
        for task, kind in farm.kinds.items()
        if tuple(run.cause for run in runs[task]) != KINDS[kind].ends
    }
    assert wrong == {}
    assert {run.outcome for found in runs.values() for run in found[:-1]} == {Outcome.FAILED}
    assert {run.returncode for task in farm.of("heeds nothing") for run in runs[task]} == {-9}
    assert {run.returncode for task in farm.of("hangs") for run in runs[task]} == {-15}
    for task in farm.of("eats", "eats once"):
        assert 100 << 10 < runs[task][0].max_rss < 500 << 10
    for task in farm.of("hangs", "hangs once"):
        end = runs[task][0].end
        assert end is not None
        assert 1.9 < end - runs[task][0].begin < 300


def test_status_counts_and_says_why(farm: Farm) -> None:
    status: dict[str, Any] = json.loads(farm.ask("status", "--json", "--failures", "100"))
    failed = farm.of(*FAILING)
    counts = status["tasks"]
    assert (counts["total"], counts["finished"], counts["failed"]) == (TASKS, TASKS - len(failed), len(failed))
    assert not any(counts[name] for name in ("running", "taken", "to_do", "nobody", "removed"))
    kinds = {failure["task"]: failure["kind"] for failure in status["failures"]}
    assert kinds == {task: KINDS[farm.kinds[task]].ends[-1] for task in failed}
    retried = sum(len(KINDS[kind].ends) - 1 for kind in farm.kinds.values())
    assert sum(one["retried"] for one in status["farmers"]) == retried
    assert sum(one["finished"] for one in status["farmers"]) == counts["finished"]


def _causes(page: str, section: str) -> dict[str, int]:
    """Return what a section of the report says of causes; how much memory something had at most is left out."""
    part = page.partition(f'<section id="{section}">')[2].partition("</section>")[0]
    return {cause.partition(" (peak ")[0]: int(number) for cause, number in re.findall(r"<li>([^<]*): ([\d,]+)</li>", part)}


def _words(kind: str) -> str:
    """Return how the end of an attempt of a kind is said."""
    return {
        "flaky": "exit code 3",
        "flaky twice": "exit code 1",
        "wrong": "exit code 7",
        "hopeless": "exit code 8",
        "killed": "killed by SIGUSR2",
        "no program": "exit code 127: command not found",
        "hangs once": "over its time limit: killed by SIGTERM",
        "hangs": "over its time limit: killed by SIGTERM",
        "heeds nothing": "over its time limit: killed by SIGKILL",
        "eats once": "out of memory: killed by SIGKILL",
        "eats": "out of memory: killed by SIGKILL",
    }[kind]


def test_the_report_groups_failures_and_earlier_attempts_by_cause(farm: Farm) -> None:
    farm.ask("report", "-o", f"{farm.site.path}/report.html")
    page = (farm.site.path / "report.html").read_text()
    last, earlier = Counter[str](), Counter[str]()
    for name, kind in KINDS.items():
        is_failing = kind.ends[-1] is not None
        if is_failing:
            last[_words(name)] += kind.count
        if len(kind.ends) > 1:
            earlier[_words(name)] += kind.count * (len(kind.ends) - 1)
    assert _causes(page, "failures") == last
    assert _causes(page, "repeats") == earlier
    assert "out of memory: killed by SIGKILL (peak 4" in page


def test_the_summary_names_the_largest_groups(farm: Farm) -> None:
    said = farm.farm.stdout
    assert f"{TASKS} tasks: {TASKS - len(farm.of(*FAILING))} finished, {len(farm.of(*FAILING))} failed, 0 left" in said
    assert f"  {KINDS['wrong'].count} on " in said or f"  {KINDS['wrong'].count}: exit code 7" in said, said
    assert "over its time limit: killed by SIGTERM" in said


def test_the_trace_shows_each_attempt_and_why_it_ended(farm: Farm) -> None:
    found = Counter((farm.kinds[one["args"]["task"]], one["args"]["attempt"], one["cat"]) for one in slices(farm.workdir))
    expected: Counter[tuple[str, int, str]] = Counter()
    for kind in farm.kinds.values():
        for number, cause in enumerate(KINDS[kind].ends, 1):
            expected[kind, number, "finished" if cause is None else "failed"] += 1
    assert found == expected
    said: dict[str, set[str]] = {}
    for one in slices(farm.workdir):
        said.setdefault(farm.kinds[one["args"]["task"]], set()).add(one["args"].get("cause", "").partition(" (")[0])
    assert said["flaky"] == {"exit code 3", ""}
    assert said["hangs once"] == {"over its time limit: killed by SIGTERM", ""}
    assert said["heeds nothing"] == {"over its time limit: killed by SIGKILL"}
    assert said["eats"] == {"out of memory: killed by SIGKILL"}
    assert said["good"] == {""}


def test_what_one_task_did_can_be_asked_for(farm: Farm) -> None:
    task = farm.of("hangs")[0]
    said = farm.ask("show", str(task))
    assert f"task {task}: failed" in said
    assert said.count("failed: over its time limit: killed by SIGTERM, after ") == 2
    memory = farm.of("eats")
    assert farm.ask("retry", "--cause", "out-of-memory").startswith(f"back on the list: {len(memory)} tasks: {memory[0]}, ")
