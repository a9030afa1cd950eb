"""The trace that Perfetto opens: made of journals, beside plain farmers that write to the same file."""

import io
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fakes import Hand, make_farm, run
from helpers import read_timeline, slices

from taskfarmer_mpi.common.values import replace
from taskfarmer_mpi.history import runs
from taskfarmer_mpi.history.pytaskfarmer_events import DamagedError, Snapshot, read_list
from taskfarmer_mpi.trace import timeline
from taskfarmer_mpi.trace.timeline import Merged, merge_timeline
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.journal import close_journal
from taskfarmer_mpi.workdir.journal_reading import all_journals

PLAIN = {"cat": "task", "name": "x", "pid": 7, "tid": 8, "ts": 1.5e15, "dur": 2.5, "ph": "X", "args": {}}
Events = list[dict[str, Any]]


def merge(farm: Farm) -> Events:
    assert merged(farm).troubles == []
    return read_timeline(farm.workdir.path)


def merged(farm: Farm) -> Merged:
    return merge_timeline(farm.workdir, farm.lock, farm.catalog, 5.0)


def runs_in(events: Events) -> Events:
    return [event for event in events if event["ph"] in "XB" and event["cat"] != "farmer"]


def of_farmer(events: Events) -> list[tuple[str, int, int]]:
    return [(event["name"], event["ts"], event["dur"]) for event in events if event.get("cat") == "farmer"]


def counts(events: Events, series: str) -> list[tuple[int, float]]:
    return [(event["ts"], event["args"][series]) for event in events if event["ph"] == "C" and series in event["args"]]


def note_run(hand: Hand, task: int, slot: int, begin: float, end: float, *, kind: str = "end", code: int = 0) -> None:
    hand.note("begin", id=task, slot=slot)
    hand.note(kind, id=task, slot=slot, begin=begin, end=end, rc=code, cpu=0.25, rss=2048)


@pytest.fixture
def farm(tmp_path: Path) -> Farm:
    farm = make_farm(tmp_path, ['echo "a\tb" é', "false", "x" * 1500, "caf"])
    first, second = Hand(farm, "1-a"), Hand(farm, "2-b")
    first.end(0, 0)
    first.end(1, 3)
    first.journal.close()
    close_journal(first.journal.path)
    second.end(2, -9)
    return farm


# -- runs -----------------------------------------------------------------------------------------


def test_every_run_is_a_slice_in_a_lane_of_its_farmer_and_slot(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ['echo "a\tb" é', "false", "x" * 1500])
    first, second = Hand(farm, "1-a"), Hand(farm, "2-b")
    note_run(first, 0, 0, 1000.0, 1001.0)
    note_run(first, 1, 1, 1000.0, 1001.0, code=3)
    note_run(second, 2, 0, 1000.0, 1001.0, code=-9)
    events = merge(farm)
    runs = runs_in(events)
    assert [event["args"]["task"] for event in runs] == [0, 1, 2]
    assert [event["cat"] for event in runs] == ["finished", "failed", "failed"]
    assert [event["args"].get("cause") for event in runs] == [
        None,
        "exit code 3",
        "killed by SIGKILL (out of memory? peak 2 MiB)",
    ]
    assert [(event["ts"], event["dur"]) for event in runs] == [(1_000_000_000, 1_000_000)] * 3
    assert [event["name"] for event in runs[:2]] == ['echo "a\tb" é', "! FAILED task 1"]
    assert [runs[2]["name"], len(runs[2]["args"]["command"])] == ["! FAILED task 2", 1000]
    details = {"command": "false", "attempt": 1, "code": 3, "cpu_s": 0.25, "max_rss_kib": 2048, "log": "logs/log_1"}
    assert runs[1]["args"].items() >= details.items()
    lanes = {(event["pid"], event["tid"]) for event in runs}
    assert len(lanes) == 3
    assert len({tid for _, tid in lanes} | {pid for pid, _ in lanes}) == 5
    assert lanes <= {(event["pid"], event["tid"]) for event in events if event["name"] == "thread_name"}
    assert all(isinstance(event["ts"], int) for event in events if "ts" in event)


def test_processes_are_farmers_sorted_by_rank(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, [])
    for name, rank in (("1-a", 2), ("2-b", 0), ("3-c", 1)):
        hand = Hand(farm, name)
        line = hand.journal.path.read_text().replace('"rank":0', f'"rank":{rank}').replace('"pid":', '"pid":7')
        hand.journal.path.write_text(line)
    events = merge(farm)
    names = {event["pid"]: event["args"]["name"] for event in events if event["name"] == "process_name"}
    order = {event["pid"]: event["args"]["sort_index"] for event in events if event["name"] == "process_sort_index"}
    in_order = [names[pid] for pid in sorted(names, key=lambda pid: order[pid])]
    assert in_order == ["all tasks · work", *(f"rank {rank} · here · pid 7{os.getpid()}" for rank in range(3))]


def test_an_arrow_leads_from_a_failed_killed_or_lost_run_to_the_next_one(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["a", "b", "c", "d"])
    hands = [Hand(farm, f"{number}-x") for number in range(3)]
    for task, kind, code in ((0, "end", 1), (1, "killed", -9), (3, "end", 0)):
        note_run(hands[0], task, 0, 10.0 + task, 10.5 + task, kind=kind, code=code)
    hands[0].note("begin", id=2, slot=1)
    hands[0].die()
    for task in range(4):
        note_run(hands[1], task, 0, 4e9 + task, 4e9 + task + 0.5, code=0)
    events = merge(farm)
    assert [event["args"]["attempt"] for event in runs_in(events)] == [1, 1, 1, 1, 2, 2, 2, 2]
    lanes = {(event["pid"], event["tid"]): event for event in runs_in(events)}
    starts, ends = ([event for event in events if event["ph"] == phase] for phase in "sf")
    assert [event["id"] for event in starts] == [event["id"] for event in ends]
    assert len({event["id"] for event in starts}) == 3
    for event in (*starts, *ends):
        assert (event["pid"], event["tid"]) in lanes
    spans = [(run["ts"], run["ts"] + run["dur"]) for run in runs_in(events)]
    assert all(any(begin <= event["ts"] < end for begin, end in spans) for event in (*starts, *ends))


def test_a_run_whose_farmer_died_ends_with_the_last_sign_of_life(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["a", "b"])
    hand = Hand(farm, "1-a")
    hand.note("begin", id=0, slot=0)
    hand.note("visit", begin=0.0, wait=0.0, recorded=0, back=0, taken=1)
    last = json.loads(hand.journal.path.read_text().splitlines()[-1])["t"]
    hand.note("given", ids=[1])  # as recovery notes it
    (running,) = runs_in(merge(farm))
    assert [running["ph"], running["name"]] == ["B", "RUNNING a"]
    hand.die()
    (lost,) = runs_in(merge(farm))
    assert [lost["name"], lost["ts"] + lost["dur"]] == ["LOST 0", round(last * 1e6)]


def test_runs_of_a_slot_never_overlap_although_a_clock_was_set_back(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["a", "b", "c", "d"])
    hand = Hand(farm, "1-a")
    note_run(hand, 1, 0, 20.0, 21.0)  # its verdict came before that of the run before
    note_run(hand, 0, 0, 10.0, 15.0, code=-15)
    note_run(hand, 2, 0, 14.0, 22.0)
    note_run(hand, 3, 0, 14.0, 14.0)
    spans = sorted((event["ts"], event["ts"] + event["dur"]) for event in runs_in(merge(farm)))
    assert len(spans) == 4
    assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))
    assert all(end > begin for begin, end in spans)


def test_times_are_those_of_rank_0s_clock(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["true"])
    hand = Hand(farm, "1-a")
    line = hand.journal.path.read_text().replace('"clock_offset":0.0', '"clock_offset":-2.5')
    hand.journal.path.write_text(line)
    hand.end(0, 0)
    hand.note("visit", begin=1001.0, wait=0.0, recorded=1, back=0, taken=0)
    events = merge(farm)
    assert runs_in(events)[0]["ts"] == 997_500_000
    assert of_farmer(events)[0][:2] == ("visit", 998_500_000)


# -- the farmer's own lane, counters ---------------------------------------------------------------


def test_a_farmer_has_a_lane_of_its_own_for_start_waiting_visits_recovery_and_shutdown(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["true"])
    hand = Hand(farm, "1-a")
    notes: list[tuple[str, float, dict[str, Any]]] = [
        ("recovery", 11.0, {"begin": 10.2, "end": 10.8, "farmers": 1, "tasks": 2}),
        ("start", 11.0, {"begin": 10.0}),
        ("visit", 12.0, {"begin": 11.9, "wait": 0.5, "recorded": 0, "back": 0, "taken": 4}),
        ("stop", 13.0, {"reason": "SIGUSR1"}),
        ("visit", 13.2, {"begin": 13.1, "wait": 0.4, "recorded": 1, "back": 3, "taken": 0}),
        ("leave", 99.0, {}),
    ]
    with hand.journal.path.open("a") as journal:
        for kind, moment, fields in notes:
            journal.write(json.dumps({"ev": kind, "t": moment, **fields}) + "\n")
    assert of_farmer(merge(farm)) == [
        ("recovery", 10_200_000, 600_000),
        ("start", 10_000_000, 1_000_000),
        ("waiting for the lock", 11_400_000, 500_000),
        ("visit", 11_900_000, 100_000),
        ("waiting for the lock", 13_000_000, 100_000),
        ("visit", 13_100_000, 100_000),
        ("shutdown: SIGUSR1", 13_000_000, 200_000),
    ]


def test_counters_tell_busy_slots_and_tasks_left_finished_and_failed(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["a", "b", "c"])
    hand = Hand(farm, "1-a")
    note_run(hand, 0, 0, 4e9, 4e9 + 2)
    note_run(hand, 1, 1, 4e9 + 1, 4e9 + 3, code=1)
    note_run(hand, 1, 0, 4e9 + 4, 4e9 + 5)
    farm.workdir.finished.write_text("0 a\n1 b\n2 c\n")
    farm.workdir.timeline.write_text(json.dumps([PLAIN | {"name": "c", "ts": 4e15, "dur": 2.5e6}]))
    events = merge(farm)
    start = 4_000_000_000_000_000
    seconds = [(round((moment - start) / 1e6, 1), value) for moment, value in counts(events, "busy")]
    assert seconds == [(0, 1), (1, 2), (2, 1), (3, 0), (4, 1), (5, 0)]
    (born, total), *left = counts(events, "left")
    assert born < start
    assert total == 3
    assert [((moment - start) / 1e6, value) for moment, value in left] == [(2, 2), (2.5, 1), (3, 0), (4, 1), (5, 0)]
    assert [value for _, value in counts(events, "finished")] == [0, 1, 2, 3]
    assert [value for _, value in counts(events, "failed")] == [0, 1, 0]


def test_a_farm_without_runs_has_a_list_of_names_only(tmp_path: Path) -> None:
    assert {event["ph"] for event in merge(make_farm(tmp_path, []))} == {"M"}


# -- merging --------------------------------------------------------------------------------------


def test_merging_again_changes_nothing_also_when_the_farmers_have_left(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["a"])
    hand = Hand(farm, "1-a")
    hand.end(0, 0)
    farm.workdir.timeline.write_text(json.dumps([PLAIN]))
    merge(farm)
    before = farm.workdir.timeline.read_bytes()
    merge(farm)
    assert farm.workdir.timeline.read_bytes() == before
    hand.note("leave")
    close_journal(hand.journal.path)
    merge(farm)
    assert farm.workdir.timeline.read_bytes() == before


def test_events_of_plain_farmers_stay_also_where_they_rewrote_ours(farm: Farm) -> None:
    farm.workdir.timeline.write_text(json.dumps([PLAIN]))
    assert len(runs_in(merge(farm))) == 4
    rewritten = [*read_timeline(farm.workdir.path), PLAIN | {"ts": 1.6e15}]
    farm.workdir.timeline.write_text(json.dumps(rewritten))
    plain = [event for event in runs_in(merge(farm)) if event["pid"] == 7]
    assert plain == [PLAIN, PLAIN | {"ts": 1.6e15}]


@pytest.mark.parametrize("before", [None, [], [PLAIN], [PLAIN, PLAIN]])
def test_what_a_plain_farmer_appends_during_the_merge_is_kept(
    farm: Farm, monkeypatch: pytest.MonkeyPatch, before: Events | None
) -> None:
    if before is not None:
        farm.workdir.timeline.write_text(json.dumps(before))
    looked = write_between(monkeypatch, lambda: farm.workdir.timeline.write_text(json.dumps([*(before or []), late])))
    late = PLAIN | {"name": "late"}
    events = merge(farm)
    assert looked
    assert [event["name"] for event in events if event["pid"] == 7 and event["ph"] == "X"] == ["x"] * len(before or []) + [
        "late"
    ]
    assert len(runs_in(events)) == len(before or []) + 4
    after = farm.workdir.timeline.read_bytes()
    merge(farm)
    assert farm.workdir.timeline.read_bytes() == after


def write_between(monkeypatch: pytest.MonkeyPatch, write: Callable[[], object]) -> list[int]:
    """Have somebody write to the timeline after it was read first."""
    original = Snapshot.changes
    looks: list[int] = []

    def changes(self: Snapshot) -> Events | None:
        if not looks:
            write()
        looks.append(1)
        return original(self)

    monkeypatch.setattr(Snapshot, "changes", changes)
    return looks


def test_a_plain_farmer_that_rewrites_our_timeline_during_the_merge_loses_nothing(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm.workdir.timeline.write_text(json.dumps([PLAIN]))
    events = merge(farm)
    looks = write_between(
        monkeypatch, lambda: farm.workdir.timeline.write_text(json.dumps([*events, PLAIN | {"name": "late"}]))
    )
    assert [event["name"] for event in runs_in(merge(farm)) if event["pid"] == 7] == ["x", "late"]
    assert len(looks) == 2


def test_plain_farmers_with_the_same_numbers_on_two_nodes_get_lanes_of_their_own(farm: Farm) -> None:
    times = [(0, 10), (5, 10), (11, 4), (12, 20), (15, 1)]
    farm.workdir.timeline.write_text(json.dumps([PLAIN | {"ts": begin, "dur": length} for begin, length in times]))
    events = merge(farm)
    plain = [event for event in runs_in(events) if event["pid"] == 7]
    assert [(event["ts"], event["dur"]) for event in plain] == times
    lanes = [event["tid"] for event in plain]
    assert [lanes[0], lanes[2], lanes[4]] == [8, 8, 8]
    assert lanes[1] != 8
    assert lanes[3] not in (8, lanes[1])
    assert {event["tid"] for event in events if event["name"] == "thread_name" and event["pid"] == 7} == set(lanes)
    before = farm.workdir.timeline.read_bytes()
    merge(farm)
    assert farm.workdir.timeline.read_bytes() == before


def test_many_events_of_plain_farmers_survive(farm: Farm) -> None:
    many = [PLAIN | {"ts": 1.5e15 + 4 * number, "name": f"é {number}", "args": {"n": [number]}} for number in range(30_000)]
    farm.workdir.timeline.write_text(json.dumps(many))
    for _ in range(2):
        assert [event for event in runs_in(merge(farm)) if event["pid"] == 7] == many
    farm.workdir.timeline.write_text(json.dumps(read_timeline(farm.workdir.path)))
    assert [event for event in runs_in(merge(farm)) if event["pid"] == 7] == many


def test_a_large_trace_is_kept_from_a_plain_farmer_that_would_choke_on_it(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeline, "PLAIN_LIMIT", 100)
    data = json.dumps([PLAIN])
    farm.workdir.timeline.write_text(data)
    result = merged(farm)
    assert result.path.name == "timeline.merged.json"
    assert "timeline.merged.json" in result.troubles[0]
    assert farm.workdir.timeline.read_text() == data
    assert len(runs_in(json.loads(result.path.read_text()))) == 4
    forced = merge_timeline(farm.workdir, farm.lock, farm.catalog, 5.0, is_forced=True)
    assert forced.path == farm.workdir.timeline
    assert farm.workdir.timeline.read_bytes() == result.path.read_bytes()


def test_a_journal_that_is_closed_during_the_merge_is_read_under_its_new_name(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def close_after_listing(folder: Path) -> list[Path]:
        paths = all_journals(folder)
        for path in paths:
            if path.suffix == ".journal":
                close_journal(path)
        return paths

    monkeypatch.setattr(runs, "all_journals", close_after_listing)
    assert len(runs_in(merge(farm))) == 3


# -- what is damaged ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "readable", "problem"),
    [
        ('[{"cat": "ta', 0, "damaged behind"),
        ('{"traceEvents": []}', 0, "not a JSON list"),
        ("good morning", 0, "not a JSON list"),
        (json.dumps([PLAIN, PLAIN])[:-5], 1, "damaged behind"),
        (json.dumps([PLAIN]) + "}}", 1, None),
        (f"[\n{json.dumps(PLAIN)},\n{json.dumps(PLAIN)[:30]}\n]\n", 1, "no event"),
        (f"[\n{json.dumps(PLAIN)}", 1, "end is missing"),
        ('[{"name": NaN}, 5, null, "x"]', 1, None),
        ('[{"cat": "x", "ph": "X", "name": 1e999}]', 0, None),
        (json.dumps([PLAIN | {"ts": 10**400}]), 1, None),
        ("", 0, None),
        ("[" * 100_000, 0, "damaged behind"),
    ],
)
def test_a_damaged_timeline_is_read_as_far_as_it_goes_and_kept(
    farm: Farm, data: str, readable: int, problem: str | None
) -> None:
    farm.workdir.timeline.write_text(data)
    result = merged(farm)
    events = read_timeline(farm.workdir.path)
    assert len(runs_in([event for event in events if "cat" in event])) == 3 + (readable if "cat" in data else 0)
    kept = list(farm.workdir.path.glob("timeline.json.damaged*"))
    if problem is None:
        assert [result.troubles, kept] == [[], []]
    else:
        assert problem in result.troubles[0]
        assert [path.read_text() for path in kept] == [data]


@pytest.mark.parametrize("kind", ["a link", "a folder"])
def test_what_stands_in_the_place_of_a_timeline_is_kept_under_another_name(farm: Farm, tmp_path: Path, kind: str) -> None:
    other = tmp_path / "other"
    other.write_text("mine")
    if kind == "a link":
        farm.workdir.timeline.symlink_to(other)
    else:
        farm.workdir.timeline.mkdir()
    result = merged(farm)
    assert "cannot read" in result.troubles[0]
    assert len(runs_in(read_timeline(farm.workdir.path))) == 3
    assert other.read_text() == "mine"
    kept = farm.workdir.path / "timeline.json.damaged"
    assert kept.is_symlink() if kind == "a link" else kept.is_dir()
    assert merged(farm).troubles == []


def test_damaged_timelines_are_kept_under_different_names(farm: Farm) -> None:
    for data in ("one", "two"):
        farm.workdir.timeline.write_text(data)
        merged(farm)
    assert sorted(path.read_text() for path in farm.workdir.path.glob("timeline.json.damaged*")) == ["one", "two"]


def test_a_journal_that_cannot_be_read_does_not_hide_the_others(farm: Farm) -> None:
    (farm.workdir.farmers / "0-new.closed").write_text('{"ev":"farmer","t":1,"format":99}\n')
    for name, line in (
        ("3-x", '{"ev":"end","id":3}'),
        ("4-y", '{"ev":"end","t":2,"id":-3}'),
        ("5-z", '{"ev":"begin","t":1e999'),
    ):
        hand = Hand(farm, name)
        hand.end(3, 0)
        with hand.journal.path.open("a") as journal:
            journal.write(f"{line}\n")
    impossible: dict[str, object] = {"id": 3, "slot": 0, "begin": 1.0, "end": 2.0, "rc": 0, "cpu": 0.0, "rss": 0}
    wrong: list[dict[str, object]] = [
        {"id": 10**15},
        {"slot": 99},
        {"cpu": float("nan")},
        {"end": float("inf")},
        {"rc": "x"},
    ]
    for number, fields in enumerate(wrong):
        Hand(farm, f"6-{number}").note("end", **(impossible | fields))
    troubles = merged(farm).troubles
    assert len(runs_in(read_timeline(farm.workdir.path))) == 6
    places = sorted(trouble.partition(":")[0].rpartition("/")[2] for trouble in troubles)
    assert places == ["0-new.closed", "3-x.journal", "4-y.journal", *(f"6-{number}.journal" for number in range(5))]


def test_a_list_is_read_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [{"text": "é" * number, "list": [1, [2]]} for number in range(60)]
    data = json.dumps(values, ensure_ascii=False).encode()
    for size in (1, 7, 1000):
        monkeypatch.setattr("taskfarmer_mpi.history.pytaskfarmer_events._BLOCK", size)
        monkeypatch.setattr("taskfarmer_mpi.history.pytaskfarmer_events._LONGEST", 10_000)
        assert list(read_list(io.BytesIO(data))) == values
    with pytest.raises(DamagedError):
        list(read_list(io.BytesIO(data[:-1])))


# -- size -----------------------------------------------------------------------------------------

_MERGE = """\
import resource, sys
from taskfarmer_mpi.workdir.locks import WorkLock
from taskfarmer_mpi.history.task_texts import TaskTexts
from taskfarmer_mpi.trace.timeline import merge_timeline
from taskfarmer_mpi.workdir.files import Workdir
workdir = Workdir(sys.argv[1])
merge_timeline(workdir, WorkLock(workdir, [workdir.path / "lock"], "a test"), TaskTexts(workdir, None), 60.0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_grows_by_few_bytes_for_each_run(tmp_path: Path) -> None:
    peaks = []
    for name, count in (("few", 100), ("many", 40_000)):
        (tmp_path / name).mkdir()
        farm = make_farm(tmp_path / name, [f"job {number}" for number in range(count)])
        hand = Hand(farm, "1-a")
        for number in range(count):
            hand.journal.note_begin(number, 0)
            hand.journal.note_run(
                "end", replace(run(farm, number, number % 2), started=1000.0 + number, ended=1000.5 + number)
            )
        hand.journal.flush()
        result = subprocess.run([sys.executable, "-c", _MERGE, farm.workdir.path], stdout=subprocess.PIPE, check=True)
        assert len(slices(farm.workdir.path)) == count
        peaks.append(int(result.stdout) * 1024)
    assert peaks[1] - peaks[0] < 40_000 * 250, f"peaks: {peaks} bytes; this process: {resource.getrusage(0).ru_maxrss} KiB"
