"""Farmers that die, by themselves or with their nodes, as those who recover them tell it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from fakes import Hand, make_farm, take_tasks

from taskfarmer_mpi.common.causes import Cause
from taskfarmer_mpi.common.values import replace
from taskfarmer_mpi.history.failure_filter import FailureFilter
from taskfarmer_mpi.history.runs import Outcome, read_histories
from taskfarmer_mpi.lives import lost_nodes
from taskfarmer_mpi.lives.guardian import WORD
from taskfarmer_mpi.policies.rules import Rules
from taskfarmer_mpi.report.contents import make_report
from taskfarmer_mpi.status.observer import Observer
from taskfarmer_mpi.status.tables import make_rows
from taskfarmer_mpi.trace.builder import Trace
from taskfarmer_mpi.upkeep.recovery import Recovery, recover
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.files import node_name


def work(hand: Hand) -> None:
    """Take a task and begin to run it."""
    ids = [task.id for task in take_tasks(hand.farm.workdir.toprocess, 1)]
    hand.note("taken", ids=ids)
    hand.note("begin", id=ids[0], slot=0)


def recover_by(hand: Hand) -> Recovery:
    return recover(hand.farm, (hand.journal.path,), 5.0)


def lost_causes(farm: Farm) -> dict[str, Cause | None]:
    """Return, by farmer, why its run ended whose end nobody saw."""
    found = {}
    for history in read_histories(farm.workdir)[0]:
        for run in history.attempts():
            if run.outcome is Outcome.LOST:
                found[history.identity.farmer] = run.cause
    return found


def test_a_node_that_died_is_told_from_a_farmer_that_died(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["true"] * 6)
    leader = Hand(farm, "1-leader", host="n1", job="7")
    lost, killed, other, late = (Hand(farm, f"{name}", host=f"n{i}", job=job) for i, (name, job) in enumerate(DEAD, 2))
    for hand in (lost, killed, other, late):
        work(hand)
    os.pwrite(killed.task_lock.fd, WORD, 0)
    for hand in (lost, killed, other):
        hand.die()
    recovery = recover_by(leader)
    assert (recovery.farmers, recovery.tasks, recovery.nodes) == (3, 3, ["n2"])
    assert lost_causes(farm) == {"2-lost": Cause.NODE_LOST, "3-killed": Cause.FARMER_DIED, "4-other": Cause.FARMER_DIED}
    late.die()
    younger = Hand(farm, "6-younger", host="n6", job="7")  # the job was begun anew: it did not see how the node ended
    assert recover_by(younger).nodes == []


DEAD = (("2-lost", "7"), ("3-killed", "7"), ("4-other", "8"), ("5-late", "7"))


def test_all_that_tells_of_a_farm_tells_of_the_node(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["true"])
    leader, lost = Hand(farm, "1-leader", host="n1", job="7"), Hand(farm, "2-lost", host="n2", job="7")
    work(lost)
    lost.die()
    recover_by(leader)
    states = {one.farmer: one.state for one in Observer(farm.workdir).look(0).farmers}
    assert states == {"1-leader": "alive", "2-lost": "lost"}
    report = make_report(farm.workdir)
    assert report.repeats == [("its node was lost, or all there was killed at once", 1)]
    assert {line.history.describe_state() for line in report.farmers} == {"alive", "lost"}
    (row,) = make_rows(report.last_runs, farm.workdir)
    assert (row.kind, row.cause) == (Cause.NODE_LOST, "its node was lost, or all there was killed at once")
    (piece,) = (json.loads(event) for event in Trace(farm.workdir, farm.catalog).events() if b'"LOST' in event)
    assert piece["args"]["cause"].startswith(
        "its node was lost, or all there was killed at once; when it ended is not known"
    )


def test_a_computer_that_was_started_anew_lost_its_farmers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    farm = make_farm(tmp_path, ["true"] * 2)
    for name, boot, cause in (("1-dead", 1e9, Cause.FARMER_DIED), ("2-dead", 4e9, Cause.NODE_LOST)):
        monkeypatch.setattr(lost_nodes, "_boot_time", lambda boot=boot: boot)
        dead = Hand(farm, name, host=node_name())
        work(dead)
        dead.die()
        recover(farm, (), 5.0)
        assert lost_causes(farm)[name] is cause


def test_this_computer_was_started_in_the_past() -> None:
    assert 1e9 < lost_nodes._boot_time() < Path(__file__).stat().st_atime + 1e9


def test_a_lost_node_counts_for_the_crash_limit_and_can_be_chosen_for_a_retry(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["true"] * 2)
    farm = replace(farm, rules=Rules(crash_limit=1))
    leader, lost, killed = (Hand(farm, f"{i}-x", host=f"n{i}", job="7") for i in range(1, 4))
    for hand in (lost, killed):
        work(hand)
    os.pwrite(killed.task_lock.fd, WORD, 0)
    for hand in (lost, killed):
        hand.die()
    assert recover_by(leader).tasks == 0
    for cause, task in ((Cause.NODE_LOST, 0), (Cause.FARMER_DIED, 1)):
        assert FailureFilter(causes=frozenset([cause])).select(farm.workdir, [0, 1]) == [task]
    assert FailureFilter(causes=frozenset([Cause.CRASHES])).select(farm.workdir, [0, 1]) == [0, 1]
