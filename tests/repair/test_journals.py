"""Journals that cannot be read in all parts: what is left counts, the farm goes on, and what is no damage is left alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import Hand, ids_in, make_farm
from halfway_farm import COUNT, CTL, edit, make
from helpers import Site, Witness, contents, settled

from taskfarmer_mpi.errors import FarmError, UserError
from taskfarmer_mpi.repair.mending import find_damage, find_damaged_journals, mend_journals
from taskfarmer_mpi.upkeep.recovery import recover
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.journal import append_record

Change = Callable[[list[bytes]], list[bytes]]

DAMAGE: dict[str, tuple[str, Change]] = {
    "zeros over the first line": ("dead.journal", lambda lines: [bytes(len(lines[0]) - 1) + b"\n", *lines[1:]]),
    "zeros from the first line into the next": ("dead.journal", lambda lines: [bytes(700) + lines[1][20:], *lines[2:]]),
    "a first line without a name": (
        "dead.journal",
        lambda lines: [lines[0].replace(b'"host":"here"', b'"host":7'), *lines[1:]],
    ),
    "no first line": ("dead.journal", lambda lines: lines[1:]),
    "nothing at all": ("dead.journal", lambda _: []),
    "torn in the middle": ("dead.journal", lambda lines: [lines[0], lines[1][:20] + lines[2]]),
    "a record that is none": ("dead.journal", lambda lines: [lines[0], lines[1].replace(b"[10,", b'["x",'), *lines[2:]]),
    "zeros in one that is closed": ("first.closed", lambda lines: [*lines[:3], bytes(40) + b"\n", *lines[4:]]),
}
BLOCKING = {"zeros over the first line", "a first line without a name", "no first line", "a record that is none"}
"""Nobody can say what such a farmer has in its hands."""
LOST_RECORDS = {"zeros from the first line into the next", "nothing at all", "torn in the middle", "a record that is none"}
"""With these the journal forgets that task 11 was taken."""


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_journal_is_mended_and_the_list_is_worked_through(damage: str, site: Site, witness: Witness) -> None:
    tasks = witness.tasks(COUNT, 0.01)
    farm = make(site.path, tasks)
    other = Hand(farm, "other")
    edit(farm.workdir.toprocess, lambda lines: lines[:-2])
    other.note("taken", ids=[12, 13])
    other.die()
    name, change = DAMAGE[damage]
    edit(farm.workdir.farmers / name, change)
    if damage in BLOCKING:
        refused = site.farm("-w", farm.workdir.path, site.path / "tasks")
        refused.succeed(60, code=2)
        assert "taskfarmer-ctl repair mends it" in refused.stderr.splitlines()[-1]
    before = contents(farm.workdir.path)
    dry = site.start(*CTL, "repair", farm.workdir.path)
    dry.succeed(30, code=1)
    after = contents(farm.workdir.path)
    assert {path: after[path][2] for path in before if path != "lock"} == {
        path: what[2] for path, what in before.items() if path != "lock"
    }
    assert f"{farm.workdir.farmers / name}:" in dry.stdout
    if damage in LOST_RECORDS:
        assert "task 11 is on no list, and no journal has it: a line is added" in dry.stdout
    site.start(*CTL, "repair", farm.workdir.path, "--apply").succeed(30)
    kept = farm.workdir.farmers / f"{name}.damaged.1"
    assert kept.read_bytes() == before[f"farmers/{name}"][2]
    assert find_damaged_journals(farm, 5.0) == []
    site.farm("-n", "8", "-w", farm.workdir.path, site.path / "tasks").succeed(60, code=1)
    lists = settled(farm.workdir.path, tasks)
    assert sorted(lists.failed) == [8, 9]
    lost = {10} if damage in ("nothing at all",) else set()  # its end was noted there and nowhere else
    assert sorted(witness.runs()) == sorted({*range(11, COUNT), *lost})
    assert all(len(runs) == 1 for runs in witness.runs().values())


def test_lines_with_which_a_journal_ends_are_where_its_farmer_died(tmp_path: Path) -> None:
    farm = make(tmp_path, [f"echo {number}" for number in range(COUNT)])
    journal = farm.workdir.farmers / "dead.journal"
    with journal.open("ab") as file:
        file.write(b'{"ev":"en')
    assert find_damaged_journals(farm, 5.0) == []
    append_record(journal, "given", ids=[])
    assert find_damaged_journals(farm, 5.0) == []
    with journal.open("ab") as file:
        file.write(bytes(512))
    assert find_damaged_journals(farm, 5.0) == []
    edit(farm.workdir.finished, lambda lines: lines[1:])
    assert len(find_damage(farm, 5.0).faults) == 1


def test_what_was_taken_before_a_line_that_is_lost_is_not_taken_for_uncut(tmp_path: Path) -> None:
    """Of two tasks one is on the list again, as that line said; the other one must not be taken for another farmer's."""
    farm = make(tmp_path, [f"echo {number}" for number in range(COUNT)])
    late = Hand(farm, "late")
    late.note("taken", ids=[12, 13])
    late.note("given", ids=[13])
    late.note("visit", begin=0.0)
    late.die()
    edit(farm.workdir.toprocess, lambda lines: lines[:-1])
    edit(late.journal.path, lambda lines: [*lines[:2], lines[2][:9] + b"\n", lines[3]])
    (damaged,) = find_damaged_journals(farm, 5.0)
    mend_journals(farm, [damaged], 5.0)
    assert recover(farm, (), 5.0).waiting == []
    assert sorted(ids_in(farm.workdir.toprocess)) == list(range(11, COUNT))


def test_a_journal_is_not_mended_while_its_farmer_or_its_tasks_live(tmp_path: Path) -> None:
    farm = make(tmp_path, [f"echo {number}" for number in range(COUNT)])
    alive = Hand(farm, "alive")
    edit(alive.journal.path, lambda _: [b"\0\n"])
    with pytest.raises(UserError, match=r"a farmer is at work \(alive\), and its journal is damaged: end it first"):
        find_damaged_journals(farm, 5.0)
    alive.life.release()
    with pytest.raises(UserError, match=r"processes of a dead farmer's tasks still run \(alive\)"):
        find_damaged_journals(farm, 5.0)
    alive.task_lock.release()
    (damaged,) = find_damaged_journals(farm, 5.0)
    alive.note("visit", begin=0.0)
    with pytest.raises(FarmError, match="the journals have changed meanwhile"):
        mend_journals(farm, [damaged], 5.0)


def test_the_name_of_a_file_says_who_wrote_a_journal(tmp_path: Path) -> None:
    farm: Farm = make_farm(tmp_path, ["true"])
    hand = Hand(farm, "20260102T030405-node-7-42-abcdef")
    hand.die()
    edit(hand.journal.path, lambda _: [])
    (damaged,) = find_damaged_journals(farm, 5.0)
    assert (damaged.identity.host, damaged.identity.pid) == ("node-7", 42)
    assert damaged.after.startswith(
        b'{"ev":"farmer","t":1767323045.0,"format":1,"farmer":"20260102T030405-node-7-42-abcdef"'
    )
    mend_journals(farm, [damaged], 5.0)
    assert recover(farm, (), 5.0).farmers == 1
