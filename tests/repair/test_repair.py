"""Lists that another program damaged are mended from the journals, and then worked through to the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import Hand, ids_in
from halfway_farm import COUNT, CTL, edit, make
from helpers import Site, Witness, contents, settled

from taskfarmer_mpi.errors import FarmError, UserError
from taskfarmer_mpi.repair.mending import find_damage, mend
from taskfarmer_mpi.workdir.files import Workdir


def put_zeros(workdir: Workdir) -> None:
    data = bytearray(workdir.finished.read_bytes())
    data[len(data) // 3 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 3)
    workdir.finished.write_bytes(data)


def write_over(workdir: Workdir) -> None:
    """As a delayed write at an old offset does."""
    data = bytearray(workdir.finished.read_bytes())
    line = workdir.failed.read_bytes().splitlines(keepends=True)[0]
    data[25 : 25 + len(line)] = line
    workdir.finished.write_bytes(data)


DAMAGE: dict[str, Callable[[Workdir], object]] = {
    "NUL bytes": put_zeros,
    "a line over others": write_over,
    "a torn end": lambda workdir: workdir.toprocess.write_bytes(workdir.toprocess.read_bytes()[:-7]),
    "an unknown task": lambda workdir: edit(workdir.toprocess, lambda lines: [*lines, b"99 echo 99\n"]),
    "a doubled line": lambda workdir: edit(workdir.finished, lambda lines: [*lines, lines[2], lines[2]]),
    "lost outcomes": lambda workdir: edit(workdir.finished, lambda lines: lines[:3]),
    "lost tasks": lambda workdir: edit(workdir.toprocess, lambda lines: [*lines[:2], *lines[5:]]),
    "another text": lambda workdir: edit(workdir.toprocess, lambda lines: [b"19 rm -r x\n", *lines[1:]]),
    "no task at all": lambda workdir: edit(workdir.failed, lambda lines: [b"Segmentation fault\n", *lines]),
    "a finished task to do": lambda workdir: edit(workdir.toprocess, lambda lines: [*lines, b"4" + lines[0][2:]]),
    "a list that is gone": lambda workdir: workdir.failed.unlink(),
    "an empty list": lambda workdir: workdir.toprocess.write_bytes(b""),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_found_and_mended_and_the_list_is_worked_through(damage: str, site: Site, witness: Witness) -> None:
    tasks = witness.tasks(COUNT, 0.01)
    farm = make(site.path, tasks)
    assert find_damage(farm, 5.0).faults == []
    DAMAGE[damage](farm.workdir)
    before = contents(farm.workdir.path)
    found = find_damage(farm, 5.0)
    assert found.faults
    assert contents(farm.workdir.path) == before | {"lock": contents(farm.workdir.path)["lock"]}
    kept = mend(farm, found, 5.0)
    assert all(path.read_bytes() == before[path.name.partition(".damaged")[0]][2] for path in kept)
    assert len(kept) == (0 if "gone" in damage else 1)
    assert find_damage(farm, 5.0).faults == []
    site.farm("-n", "8", "-w", farm.workdir.path, site.path / "tasks").succeed(60, code=1)
    lists = settled(farm.workdir.path, tasks)
    assert sorted(lists.failed) == [8, 9]
    assert sorted(witness.runs()) == list(range(11, COUNT))
    assert all(len(runs) == 1 for runs in witness.runs().values())


def test_a_task_with_two_outcomes_keeps_that_of_its_journal(tmp_path: Path) -> None:
    farm = make(tmp_path, [f"echo {number}" for number in range(COUNT)])
    edit(farm.workdir.failed, lambda lines: [*lines, b"3 echo 3\n"])
    found = find_damage(farm, 5.0)
    assert list(map(str, found.faults)) == [f"{farm.workdir.failed}:3: task 3 is in finished already: the line is taken out"]
    mend(farm, found, 5.0)
    assert ids_in(farm.workdir.failed) == [8, 9]


def test_what_a_dead_farmer_took_and_did_not_cut_off_is_put_back_whole(tmp_path: Path) -> None:
    """Else recovery would take the task that is missing for one that another farmer has taken since."""
    farm = make(tmp_path, [f"echo {number}" for number in range(COUNT)])
    late = Hand(farm, "late")
    late.note("taken", ids=[12, 13])
    late.die()
    assert find_damage(farm, 5.0).faults == []
    edit(farm.workdir.toprocess, lambda lines: [line for line in lines if not line.startswith(b"12 ")])
    assert [fault.where for fault in find_damage(farm, 5.0).faults] == [str(farm.workdir.toprocess)]


def test_a_task_that_was_put_back_by_a_retry_is_to_do(tmp_path: Path) -> None:
    farm = make(tmp_path, [f"echo {number}" for number in range(COUNT)])
    farm.workdir.logs.mkdir(exist_ok=True)
    (farm.workdir.logs / "log_8.1").touch()
    edit(farm.workdir.failed, lambda lines: lines[1:])
    (fault,) = find_damage(farm, 5.0).faults
    assert str(fault) == f"{farm.workdir.toprocess}: task 8 is on no list, and by the journals it is to do: a line is added"


def test_nothing_is_mended_while_a_farmer_lives(tmp_path: Path) -> None:
    farm = make(tmp_path, [f"echo {number}" for number in range(COUNT)])
    Hand(farm, "alive")
    with pytest.raises(UserError, match="a farmer is at work"):
        find_damage(farm, 5.0)


def test_lists_that_change_between_look_and_mend_are_left_alone(tmp_path: Path) -> None:
    farm = make(tmp_path, [f"echo {number}" for number in range(COUNT)])
    put_zeros(farm.workdir)
    found = find_damage(farm, 5.0)
    edit(farm.workdir.toprocess, lambda lines: lines[:-1])
    with pytest.raises(FarmError, match="have changed meanwhile"):
        mend(farm, found, 5.0)


def test_a_lost_task_that_a_pytaskfarmer_may_have_had_is_for_reclaim(tmp_path: Path) -> None:
    farm = make(tmp_path, [f"echo {number}" for number in range(COUNT)])
    farm.workdir.logs.mkdir(exist_ok=True)
    (farm.workdir.logs / "log_15").write_text("begun by a PyTaskFarmer\n")
    edit(farm.workdir.toprocess, lambda lines: [line for line in lines if not line.startswith(b"15 ")])
    with pytest.raises(UserError, match="task 15 is on no list, and a PyTaskFarmer may have had it"):
        find_damage(farm, 5.0)


def test_the_command_says_each_fault_in_one_line_and_changes_nothing_unless_told(site: Site) -> None:
    farm = make(site.path, [f"echo {number}" for number in range(COUNT)])
    repair = (*CTL, "repair", farm.workdir.path)
    clean = site.start(*repair)
    clean.succeed(30)
    assert clean.stdout == "nothing is wrong\n"
    edit(farm.workdir.finished, lambda lines: [*lines[:3], bytes(9) + b"\n", *lines[4:]])
    dry = site.start(*repair)
    dry.succeed(30, code=1)
    assert dry.stdout.splitlines() == [
        f"{farm.workdir.finished}:4: NUL bytes (9 of 10): the line is taken out",
        f"{farm.workdir.finished}: task 3 is on no list, and by the journals it is finished: a line is added",
        "2 faults; nothing was changed: --apply mends them",
    ]
    wet = site.start(*repair, "--apply")
    wet.succeed(30)
    assert wet.stdout.splitlines()[-1] == f"2 faults mended; as they were: {farm.workdir.finished}.damaged.1"
    assert ids_in(farm.workdir.finished) == [0, 1, 2, 4, 5, 6, 7, 3]
    Hand(farm, "alive")
    refused = site.start(*repair)
    refused.succeed(30, code=2)
    assert refused.stderr.count("\n") == 1
    assert "a farmer is at work" in refused.stderr
