"""The trace that Perfetto opens."""

import json
from pathlib import Path
from typing import Any

import pytest
from fakes import Hand, make_farm

from taskfarmer_mpi import timeline
from taskfarmer_mpi.farm import Farm
from taskfarmer_mpi.journal import all_journals, close_journal
from taskfarmer_mpi.timeline import merge_timeline

PLAIN = {"cat": "task", "name": "x", "pid": 7, "tid": 8, "ts": 1.5e15, "dur": 2.5, "ph": "X", "args": {}}


def merge(farm: Farm) -> list[dict[str, Any]]:
    merge_timeline(farm.workdir, farm.lock, farm.book, 5.0)
    events = json.loads(farm.workdir.timeline.read_text())
    assert isinstance(events, list)
    return events


def slices(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if event["ph"] == "X"]


@pytest.fixture
def farm(tmp_path: Path) -> Farm:
    farm = make_farm(tmp_path, ['echo "a\tb" é', "false", "x" * 500, "caf"])
    first, second = Hand(farm, "1-a"), Hand(farm, "2-b")
    first.end(0, 0)
    first.end(1, 3)
    first.journal.close()
    close_journal(first.journal.path)
    second.end(2, -9)
    return farm


def test_every_run_is_a_slice_in_a_lane_of_its_farmer_and_slot(farm: Farm) -> None:
    events = merge(farm)
    runs = slices(events)
    assert [event["args"]["task"] for event in runs] == [0, 1, 2]
    assert [event["args"]["outcome"] for event in runs] == ["finished", "failed", "failed"]
    assert [event["args"]["code"] for event in runs] == [0, 3, -9]
    assert [(event["ts"], event["dur"]) for event in runs] == [(1_000_000_000, 1_000_000)] * 3
    assert runs[0]["name"] == 'echo "a\tb" é'
    assert runs[1]["name"] == "FAILED false"
    assert len(runs[2]["name"]) == timeline.NAME_LENGTH
    lanes = {(event["pid"], event["tid"]) for event in runs}
    assert len(lanes) == 2
    assert not {pid for pid, _ in lanes} & {tid for _, tid in lanes}
    named = {(event["pid"], event["tid"]) for event in events if event["name"] == "thread_name"}
    assert lanes <= named


def test_merging_again_changes_nothing(farm: Farm) -> None:
    merge(farm)
    before = farm.workdir.timeline.read_bytes()
    merge(farm)
    assert farm.workdir.timeline.read_bytes() == before


def test_events_of_plain_farmers_stay_also_where_they_rewrote_ours(farm: Farm) -> None:
    farm.workdir.timeline.write_text(json.dumps([PLAIN]))
    assert len(slices(merge(farm))) == 4
    rewritten = [*json.loads(farm.workdir.timeline.read_text()), PLAIN | {"ts": 1.6e15}]
    farm.workdir.timeline.write_text(json.dumps(rewritten))
    plain = [event for event in slices(merge(farm)) if event["pid"] == 7]
    assert [event["ts"] for event in plain] == [1.5e15, 1.6e15]


@pytest.mark.parametrize("before", [[], [PLAIN], [PLAIN, PLAIN]])
def test_what_a_plain_farmer_appends_during_the_merge_is_kept(
    farm: Farm, monkeypatch: pytest.MonkeyPatch, before: list[dict[str, Any]]
) -> None:
    farm.workdir.timeline.write_text(json.dumps(before))
    original = timeline._all_events

    def interrupted(*args: Any) -> Any:
        farm.workdir.timeline.write_text(json.dumps([*before, PLAIN | {"name": "late"}]))
        return original(*args)

    monkeypatch.setattr(timeline, "_all_events", interrupted)
    events = merge(farm)
    assert [event["name"] for event in events if event["pid"] == 7] == ["x"] * len(before) + ["late"]
    assert len(slices(events)) == len(before) + 4


def test_an_unreadable_timeline_is_replaced(farm: Farm) -> None:
    farm.workdir.timeline.write_text('[{"cat": "ta')
    assert len(slices(merge(farm))) == 3


def test_a_farm_without_runs_has_a_valid_timeline(tmp_path: Path) -> None:
    assert merge(make_farm(tmp_path, [])) == []


def test_times_are_those_of_rank_0s_clock(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["true"])
    hand = Hand(farm, "1-a")
    line = hand.journal.path.read_text().replace('"clock_offset":0.0', '"clock_offset":-2.5')
    hand.journal.path.write_text(line)
    hand.end(0, 0)
    assert slices(merge(farm))[0]["ts"] == 997_500_000


def test_a_journal_that_is_closed_during_the_merge_is_read_under_its_new_name(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def close_after_listing(folder: Path) -> list[Path]:
        paths = all_journals(folder)
        for path in paths:
            if path.suffix == ".journal":
                close_journal(path)
        return paths

    monkeypatch.setattr(timeline, "all_journals", close_after_listing)
    assert len(slices(merge(farm))) == 3
