"""Parsers bear with arbitrary bytes: nothing is raised but what they say, and nothing hangs."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import Hand, make_farm, stored_as
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from properties import profiles
from taskfarmer_mpi.common.wording import last_lines, make_printable
from taskfarmer_mpi.directives.book import SettingsBook
from taskfarmer_mpi.errors import FarmError, UserError
from taskfarmer_mpi.history.failed_runs import group_failures, read_failed_runs
from taskfarmer_mpi.history.last_runs import read_last_runs
from taskfarmer_mpi.job.board import _farmers_of
from taskfarmer_mpi.job.messages import parse_name
from taskfarmer_mpi.job.schedulers.slurm import parse_end
from taskfarmer_mpi.repair.mending import find_damage, find_damaged_journals, mend, mend_journals
from taskfarmer_mpi.report.contents import make_report
from taskfarmer_mpi.report.page import load_template, render_page
from taskfarmer_mpi.runners.registry import HANDLER, RUNNER, find
from taskfarmer_mpi.status.observer import Observer
from taskfarmer_mpi.status.screen import draw_status, leave_plain
from taskfarmer_mpi.status.sqlite import write_sqlite
from taskfarmer_mpi.status.tables import write_csv, write_joblog
from taskfarmer_mpi.tasklists.lines import Handler, ListTaskList, read_task_lines
from taskfarmer_mpi.tasklists.oddities import describe_oddities
from taskfarmer_mpi.tasklists.table import TableTaskList
from taskfarmer_mpi.tasklists.template import TemplateTaskList
from taskfarmer_mpi.trace.inputs import read_texts
from taskfarmer_mpi.trace.timeline import merge_timeline
from taskfarmer_mpi.upkeep.added_tasks import add_tasks
from taskfarmer_mpi.upkeep.census import reclaim, take_census
from taskfarmer_mpi.upkeep.preparation import prepare
from taskfarmer_mpi.upkeep.recovery import recover
from taskfarmer_mpi.upkeep.reopening import hands
from taskfarmer_mpi.upkeep.retry import retry_tasks
from taskfarmer_mpi.workdir.agreement import parse_agreement, read_agreement
from taskfarmer_mpi.workdir.catalog import Origin, parse_added
from taskfarmer_mpi.workdir.configuration import encode_config, parse_config, read_config
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.journal_reading import held_tasks
from taskfarmer_mpi.workdir.journal_records import encode_record, parse_record
from taskfarmer_mpi.workdir.lists import Recorded, ids_in, parse_task
from taskfarmer_mpi.workdir.locks import WorkLock
from taskfarmer_mpi.workdir.stack import open_stack
from taskfarmer_mpi.workdir.stop_requests import parse_request

DOCUMENTED = (UserError, FarmError)
LONG = profiles.IS_LONG
HERE = Path("file")
few = settings(max_examples=1000 if LONG else 15, suppress_health_check=list(HealthCheck), deadline=None)
many = settings(max_examples=10_000 if LONG else 100, suppress_health_check=list(HealthCheck), deadline=None)

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
_DEEP = [b"[" * 100_000, b'{"a":' * 100_000, b'{"ev":' + b"[" * 5000 + b"]" * 5000 + b"}"]
_FIELDS = ("ids", "id", "slot", "begin", "end", "rc", "cpu", "rss", "reason", "t", "ev", "wait", "taken", "back", "farmers")
_KINDS = ("farmer", "taken", "begin", "end", "killed", "recorded", "giving", "given", "start", "visit", "recovery", "alive")
_SANE = {"id": 1, "slot": 0, "begin": 1000.0, "end": 1001.0, "rc": 0, "cpu": 0.5, "rss": 1024, "ids": [1]}


def _record(kind: str, fields: dict[str, Any]) -> bytes:
    return encode_record(kind, 1000.0, {**_SANE, **fields})


_RECORDS = st.builds(_record, st.sampled_from(_KINDS), st.dictionaries(st.sampled_from(_FIELDS), _JSON, max_size=2))
_EVENTS = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("ph", "cat", "name", "pid", "tid", "ts", "dur", "args"), _JSON)
).map(lambda event: {"ph": "X", "cat": "task", "pid": 7, "tid": 8, "ts": 1.0, "dur": 2.0, "name": "true 1"} | event)
_LINES = st.builds(
    b"%d %s\n".__mod__,
    st.tuples(st.integers(0, 9) | st.integers(), st.sampled_from([b"true 1", b"", b"line x", b"added y"])),
)


@st.composite
def _files(draw: st.DrawFn, valid: bytes) -> bytes:
    """Return the content of a file: anything, or what would be right with a part of it replaced."""
    blocks = [st.binary(max_size=40), st.sampled_from(_DEEP), st.just(b"\0" * 512), _RECORDS, _LINES]
    blocks += [_JSON.map(lambda value: json.dumps(value).encode()), _EVENTS.map(lambda event: json.dumps([event]).encode())]
    other = draw(st.lists(st.one_of(blocks), max_size=3).map(b"".join))
    if draw(st.booleans()):
        return other
    start = len(valid) * draw(st.integers(0, 100)) // 100  # times in it have more digits or less
    return valid[:start] + other + valid[start + draw(st.integers(0, 20)) :]


def _fill(farm: Farm, draw: Callable[[bytes], bytes], names: list[str]) -> None:
    """Put other bytes into some of the files of a work directory."""
    for name in names:
        path = farm.workdir.path / name
        path.write_bytes(draw(path.read_bytes() if path.exists() else b""))


def _lived_in(folder: Path) -> Farm:
    """Return a farm that was worked on."""
    farm = make_farm(folder, [f"true {number}" for number in range(5)])
    with farm.lock.held(1.0):
        add_tasks(farm, [b"true 5"], Origin.USER)
    hand = Hand(farm, "dead")
    hand.note("taken", ids=[1, 2])
    hand.note("begin", id=1, slot=0)
    hand.end(1, 3)
    hand.die()
    farm.workdir.failed.write_bytes(b"0 true 0\n")
    farm.workdir.finished.write_bytes(b"3 true 3\n")
    farm.workdir.timeline.write_bytes(b'[{"ph":"X","cat":"task","name":"true 3","pid":7,"tid":8,"ts":1,"dur":2}]')
    farm.workdir.log(0).write_bytes(b"no\n")
    return farm


_NAMES = [
    "toprocess", "toprocess.added", "tasks.added", "finished", "failed", "farm.ini", "agreement", "timeline.json",
    "farmers/dead.journal", "farmers/other.closed", "logs/log_0",
]  # fmt: skip


def _sqlite(path: Path, farm: Farm) -> None:
    write_sqlite(path, read_last_runs(farm.workdir)[0], farm.workdir)


_READERS: dict[str, Callable[[Farm, Path], object]] = {
    "status": lambda farm, _: list(draw_status(Observer(farm.workdir).look(5), leave_plain)),
    "report": lambda farm, _: render_page(load_template(), make_report(farm.workdir)),
    "trace": lambda farm, _: merge_timeline(farm.workdir, farm.lock, read_texts(farm.workdir)[0], 1.0),
    "joblog": lambda farm, out: write_joblog(out, read_last_runs(farm.workdir)[0], farm.workdir),
    "csv": lambda farm, out: write_csv(out, read_last_runs(farm.workdir)[0], farm.workdir),
    "sqlite": lambda farm, out: _sqlite(out, farm),
    "failures": lambda farm, _: group_failures(farm.workdir, [0, 1], read_failed_runs(farm.workdir, [0, 1])),
    "configuration": lambda farm, _: read_config(farm.workdir),
    "agreement": lambda farm, _: read_agreement(farm.workdir),
    "start": lambda farm, _: prepare(farm, stored_as(farm.handler.path), 1.0),
    "census": lambda farm, _: take_census(farm, 1.0),
    "reclaim": lambda farm, _: reclaim(farm, 1.0),
    "recovery": lambda farm, _: recover(farm, (), 1.0),
    "retry": lambda farm, _: _retry(farm),
    "repair": lambda farm, _: _repair(farm),
    "journals": lambda farm, _: held_tasks(farm.workdir.farmers),
    "recorded": lambda farm, _: Recorded(farm).advance(),
    "stack": lambda farm, _: _peek(farm),
}


def _retry(farm: Farm) -> None:
    with hands(farm.workdir, farm.lock) as journal:
        retry_tasks(farm.workdir, farm.lock, journal, farm.catalog.listed, None, 1.0)


def _repair(farm: Farm) -> None:
    mend_journals(farm, find_damaged_journals(farm, 1.0), 1.0)
    assert find_damaged_journals(farm, 1.0) == []
    held_tasks(farm.workdir.farmers)
    mend(farm, find_damage(farm, 1.0), 1.0)
    assert find_damage(farm, 1.0).faults == []


def _peek(farm: Farm) -> None:
    farm.catalog.advance()
    for path in (farm.workdir.toprocess, farm.workdir.added):
        with open_stack(path, lambda task: farm.catalog.has(task.id, task.text.encode()), lambda: None) as stack:
            stack.cut(stack.peek(lambda _: 2, lambda _: True))


@pytest.mark.parametrize("reader", _READERS)
@few
@given(data=st.data())
def test_whoever_reads_a_work_directory_bears_with_its_files(reader: str, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        farm = _lived_in(Path(folder))
        names = data.draw(st.lists(st.sampled_from(_NAMES), min_size=1, max_size=3, unique=True))
        _fill(farm, lambda valid: data.draw(_files(valid)), names)
        fresh = Farm.of(farm.workdir, WorkLock(farm.workdir, farm.lock.paths, "a test"), farm.handler)
        try:
            _READERS[reader](fresh, Path(folder) / "out")
        except DOCUMENTED:
            pass


_CONFIG = encode_config(stored_as("/data/tasks"))
_PURE: dict[str, tuple[Callable[[bytes], object], bytes, tuple[type[Exception], ...]]] = {
    "task": (parse_task, b"7 true", ()),
    "ids": (lambda data: list(ids_in(data)), b"7 true\n", ()),
    "record": (parse_record, _record("taken", {}), ()),
    "added": (parse_added, b"7 added true", ()),
    "stop": (parse_request, b'{"drain": true, "farmers": ["a"]}', ()),
    "configuration": (lambda data: parse_config(data, HERE), _CONFIG, (UserError,)),
    "agreement": (
        lambda data: parse_agreement(data, HERE), b'{"format": 1, "lock": "/a/lock", "workdir": "/a"}', (UserError,),
    ),
    "message": (lambda data: parse_name(os.fsdecode(data)), b"1.2.idle.[0]", ()),
    "last lines": (lambda data: last_lines(data, 3), b"a\rb\n", ()),
    "end of the job": (lambda data: parse_end(data.decode("latin-1")), b"2026-01-02T03:04:05", ()),
}  # fmt: skip


@pytest.mark.parametrize("parser", _PURE)
@many
@given(data=st.data())
def test_parsers_raise_only_what_they_say(parser: str, data: st.DataObject) -> None:
    parse, valid, allowed = _PURE[parser]
    try:
        parse(data.draw(_files(valid)))
    except allowed:
        pass


def _all(handler: Handler) -> list[str]:
    return [handler[index] for index in range(min(len(handler.tasks), 100))]


def _settings_of(path: Path) -> object:
    book = SettingsBook(path)
    book.advance()
    return [book.of(task) for task in range(5)]


_ON_FILES: dict[str, tuple[Callable[[Path], object], bytes]] = {
    "lines": (lambda path: list(read_task_lines(path)), b"# no\ntrue\n"),
    "directives": (lambda path: read_task_lines(path).directives, b"#TF retries=2 name=a\n#TF\ntrue\n"),
    "settings": (_settings_of, b"0 3 timeout=5 limit=a\n2 2 retries=1\n"),
    "oddities": (lambda path: describe_oddities(path, read_task_lines(path)), b"echo 'a\n"),
    "list": (lambda path: _all(ListTaskList(path, path.parent)), b"true\n"),
    "table": (lambda path: _all(TableTaskList(path, path.parent, command="sim {a}")), b"a,b\n1,2\n"),
    "template": (lambda path: _all(TemplateTaskList(path, path.parent)), b"sim {a}\n"),
    "board": (lambda path: _farmers_of(path.parent), b'["a"]'),
}


@pytest.mark.parametrize("reader", _ON_FILES)
@few
@given(data=st.data())
def test_readers_of_input_files_raise_only_what_they_say(reader: str, data: st.DataObject) -> None:
    read, valid = _ON_FILES[reader]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "farmers"
        path.write_bytes(data.draw(_files(valid)))
        try:
            read(path)
        except DOCUMENTED:
            pass


@few
@given(data=st.data())
def test_ini_files_are_refused_in_one_line(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HOME", folder)
        Path("x.ini").write_bytes(data.draw(_files(b"[mine]\nRunner = a.B\nimage = x\n")))
        said: list[str] = []
        for kind in (HANDLER, RUNNER):
            try:
                find(kind, "mine")
            except UserError as error:
                said.append(str(error))
        assert "\n" not in "".join(said)


@many
@given(st.text(st.characters()))
def test_no_text_has_anything_left_that_a_terminal_obeys(text: str) -> None:
    assert make_printable(text).isprintable()
