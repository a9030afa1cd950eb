"""The order of a work directory under real farmers."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from helpers import Site, Witness, settled, wait_for


def begun(witness: Witness) -> list[int]:
    """Return the tasks that were run, in the order in which they began."""
    runs = [(run.start, task) for task, all_runs in witness.runs().items() for run in all_runs]
    return [task for _, task in sorted(runs)]


def test_a_second_list_runs_longest_first_by_a_first_run_of_it(site: Site, witness: Witness) -> None:
    seconds = [0.02, 0.3, 0.1, 0.2]
    lines = witness.tasks(4, lambda task: seconds[task])
    first = site.tasklist(lines, "first")
    site.farm("-n", "1", first).succeed(30)
    second = site.tasklist([*lines, "true"], "second")
    farm = site.farm("-n", "1", "--order", "longest", "--durations", f"{first}_workdir", second)
    farm.succeed(30)
    assert begun(witness)[4:] == [1, 3, 2, 0]
    assert "durations of 5 tasks: 4 by an earlier run, 1 by the mean of all" in farm.stderr
    again = site.farm("--order", "longest", "--durations", f"{first}_workdir", second)
    again.succeed(30)
    settled(Path(f"{second}_workdir"), [*lines, "true"])


def test_the_order_goes_on_after_a_kill_and_beside_a_plain_farmer(site: Site, witness: Witness, pytaskfarmer: Path) -> None:
    lines = witness.tasks(40, 0.05)
    tasklist = site.tasklist(lines)
    workdir = Path(f"{tasklist}_workdir")
    environ = site.environ(SCRATCH=str(site.path))
    farm = site.farm("-n", "2", "--order", "shuffle", tasklist, environ=environ)
    wait_for(lambda: len(witness.runs()) >= 4, deadline=30, what="some tasks")
    farm.kill(signal.SIGKILL)
    assert begun(witness)[:4] != [0, 1, 2, 3]
    order = (workdir / "order").read_text()
    plain = site.plain_0_1_0(pytaskfarmer, "-n", "1", tasklist, environ=environ)
    site.farm("-n", "2", tasklist, environ=environ).succeed(60)
    plain.succeed(60)
    assert (workdir / "order").read_text() == order
    assert settled(workdir, lines).failed == []


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--order", "longest"], "--order longest needs --durations"),
        (["--order", "fastest"], "--order: 'fastest' is not one of given, longest, shuffle"),
        (["--order", "longest", "--durations", "nowhere"], "--durations: "),
    ],
)
def test_an_order_that_cannot_be_made_is_refused_before_anything_is(words: list[str], reason: str, site: Site) -> None:
    tasklist = site.tasklist(["true"])
    farm = site.farm(*words, tasklist)
    assert farm.wait(30) == 2
    assert reason in farm.stderr
    assert farm.stderr.count("\n") == 1
    assert not Path(f"{tasklist}_workdir").exists()


def test_another_order_than_that_of_the_work_directory_is_refused(site: Site) -> None:
    tasklist = site.tasklist(["true"])
    site.farm(tasklist).succeed(30)
    farm = site.farm("--order", "shuffle", tasklist)
    assert farm.wait(30) == 2
    assert "the order is that with which a work directory is made" in farm.stderr
