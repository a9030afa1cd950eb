"""What a user can get wrong: each time one line that says where and why, exit code 2, and nothing touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from helpers import Process, Site, Witness, contents, settled, slices, wait_for

_FEW_RIGHTS = "setpriv --bounding-set -dac_override,-dac_read_search,-sys_admin" if os.geteuid() == 0 else ""
"""Makes permissions count for root, too."""


def _only_line(process: Process) -> str:
    """Return what a command complained: one line and no traceback."""
    lines = process.stderr.splitlines()
    assert len(lines) == 1, process.said()
    assert lines[0].startswith("taskfarmer-mpi: "), process.said()
    return lines[0]


def _lists(workdir: Path) -> dict[str, bytes]:
    """Return every file of a work directory but the lock and which one it is: they come before all checks of lists."""
    files = {name: data for name, (_, _, data) in contents(workdir).items() if (workdir / name).is_file()}
    return {name: data for name, data in files.items() if name not in ("lock", "agreement")}


@dataclass(frozen=True)
class _Bad:
    """Something that a user got wrong."""

    name: str
    arrange: Callable[[Path], None]
    """Puts it into the test's directory."""
    said: tuple[str, ...]
    """What the message has to contain; `{0}` is the test's directory."""
    options: tuple[str, ...] = ()
    is_workdir_there: bool = False
    prefix: str = ""
    tasklist: tuple[str, ...] = field(default=("tasks",))


def _write(name: str, data: bytes | str) -> Callable[[Path], None]:
    def arrange(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)

    return arrange


def _all(*steps: Callable[[Path], None]) -> Callable[[Path], None]:
    def arrange(folder: Path) -> None:
        for step in steps:
            step(folder)

    return arrange


def _mode(name: str, mode: int) -> Callable[[Path], None]:
    return lambda folder: (folder / name).chmod(mode)


def _folder(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).mkdir()


def _nothing(_folder: Path) -> None:
    """Leave everything missing."""


THREE = "true 0\ntrue 1\ntrue 2\n"
_three = _write("tasks", THREE)


def _listed(name: str, data: str) -> Callable[[Path], None]:
    """Return a step that makes a tasklist of three tasks and one file of its work directory."""
    return _all(_three, _write(f"tasks_workdir/{name}", data))


def _listed_before(tasks: str) -> Callable[[Path], None]:
    """Return a step that makes a work directory for three tasks, as PyTaskFarmer does, and then another tasklist."""
    return _all(
        _write("tasks_workdir/toprocess", "0 true 0\n2 true 2\n"),
        _write("tasks_workdir/finished", "1 true 1\n"),
        _write("tasks", tasks),
    )


BAD = [
    _Bad("tasklist_missing", _nothing, ("{0}/tasks", "No such file")),
    _Bad("tasklist_is_a_directory", _folder("tasks"), ("{0}/tasks", "Is a directory")),
    _Bad("tasklist_unreadable", _all(_three, _mode("tasks", 0)), ("{0}/tasks", "Permission denied"), prefix=_FEW_RIGHTS),
    _Bad("tasklist_in_utf_16", _write("tasks", "true\n".encode("utf-16")), ("{0}/tasks", "UTF-16", "UTF-8")),
    _Bad("tasklist_in_utf_32", _write("tasks", "true\n".encode("utf-32")), ("{0}/tasks", "UTF-32", "UTF-8")),
    _Bad("nul_byte", _write("tasks", "true\n\n# x\r\nec\0ho\n"), ("{0}/tasks:4:", "NUL")),
    _Bad("nul_byte_in_a_comment", _write("tasks", "# \0\ntrue\n"), ("{0}/tasks:1:", "NUL")),
    _Bad("no_parent_of_workdir", _three, ("{0}/no/work", "{0}/no is missing"), options=("-w", "no/work")),
    _Bad(
        "workdir_is_a_file",
        _all(_three, _write("tasks_workdir", "x")),
        ("{0}/tasks_workdir", "irectory"),
        is_workdir_there=True,
    ),
    _Bad(
        "workdir_not_writable",
        _all(_three, _folder("tasks_workdir"), _mode("tasks_workdir", 0o555)),
        ("{0}/tasks_workdir", "Permission denied"),
        is_workdir_there=True,
        prefix=_FEW_RIGHTS,
    ),
    _Bad(
        "parent_of_workdir_not_writable",
        _all(_three, _folder("closed"), _mode("closed", 0o555)),
        ("{0}/closed/work", "Permission denied"),
        options=("-w", "closed/work"),
        prefix=_FEW_RIGHTS,
    ),
    _Bad("garbage_in_toprocess", _listed("toprocess", "0 true 0\nrubbish\n"), ("{0}/tasks_workdir/toprocess:2:", "rubbish")),
    _Bad("no_text_in_toprocess", _listed("toprocess", "0 true 0\n1\n"), ("{0}/tasks_workdir/toprocess:2:",)),
    _Bad("negative_id_in_toprocess", _listed("toprocess", "-1 true\n"), ("{0}/tasks_workdir/toprocess:1:",)),
    _Bad("odd_digits_in_toprocess", _listed("toprocess", "٣ true 0\n"), ("{0}/tasks_workdir/toprocess:1:",)),
    _Bad("blank_line_in_toprocess", _listed("toprocess", "0 true 0\n\n1 true 1\n"), ("{0}/tasks_workdir/toprocess:2:",)),
    _Bad("binary_toprocess", _listed("toprocess", "\x00\x01\x02\n"), ("{0}/tasks_workdir/toprocess:1:",)),
    _Bad("id_out_of_range", _listed("toprocess", "2 true 2\n3 true 3\n"), ("{0}/tasks_workdir/toprocess:2:", "3")),
    _Bad("huge_id", _listed("toprocess", f"{'9' * 5000} true\n"), ("{0}/tasks_workdir/toprocess:1:",)),
    _Bad("garbage_in_finished", _listed("finished", "rubbish\n"), ("{0}/tasks_workdir/finished:1:", "rubbish")),
    _Bad("id_out_of_range_in_failed", _listed("failed", "1 true 1\n7 true\n"), ("{0}/tasks_workdir/failed:2:", "7")),
    _Bad("a_line_was_changed", _listed_before("true 0\ntrue 1\nfalse 2\n"), ("{0}/tasks", "task 2", "true 2", "false 2")),
    _Bad(
        "a_done_line_was_changed", _listed_before("true 0\nfalse 1\ntrue 2\n"), ("{0}/tasks", "task 1", "true 1", "false 1")
    ),
    _Bad("a_line_was_inserted", _listed_before(f"first\n{THREE}"), ("{0}/tasks", "task ", "true")),
    _Bad("a_line_was_removed", _listed_before("true 0\ntrue 1\n"), ("2", "{0}/tasks")),
    _Bad("damaged_configuration", _listed("farm.ini", "rubbish\n"), ("{0}/tasks_workdir/farm.ini",)),
    _Bad("incomplete_configuration", _listed("farm.ini", "[tasklist]\npath = x\n"), ("{0}/tasks_workdir/farm.ini",)),
    _Bad("unknown_runner", _three, ("shifter", "default", "exec"), options=("--runner", "shifter")),
    _Bad("unknown_handler", _three, ("dask", "default"), options=("--tasklist", "dask")),
    _Bad(
        "workdir_without_configuration",
        _folder("work"),
        ("{0}/work", "farm.ini"),
        options=("--workdir", "{0}/work"),
        tasklist=(),
    ),
]


def _start(site: Site, bad: _Bad, ranks: int) -> Process:
    options = [option.format(site.path) for option in bad.options]
    tasklist = [site.path / name for name in bad.tasklist]
    return site.farm(*options, *tasklist, ranks=ranks, prefix=bad.prefix)


@pytest.mark.parametrize("bad", BAD, ids=[bad.name for bad in BAD])
def test_bad_input_is_refused_in_one_line_and_nothing_is_touched(bad: _Bad, site: Site) -> None:
    bad.arrange(site.path)
    workdir = site.path / "tasks_workdir"
    is_there, before = workdir.exists(), _lists(workdir) if workdir.is_dir() else {}
    process = _start(site, bad, 0)
    process.succeed(30, code=2)
    line = _only_line(process)
    missing = [part for part in bad.said if part.format(site.path) not in line]
    assert not missing, line
    assert process.stdout == ""
    assert workdir.exists() == is_there
    assert (_lists(workdir) if workdir.is_dir() else {}) == before
    assert not (site.path / "no").exists()


@pytest.mark.parametrize(
    "bad",
    [
        bad
        for bad in BAD
        if bad.name in ("tasklist_missing", "nul_byte", "garbage_in_toprocess", "unknown_runner", "a_line_was_changed")
    ],
    ids=lambda bad: bad.name,
)
def test_bad_input_is_refused_by_both_ranks_with_one_complaint(bad: _Bad, site: Site) -> None:
    bad.arrange(site.path)
    process = _start(site, bad, 2)
    process.succeed(60, code=2)
    complaints = [line for line in process.stderr.splitlines() if line.startswith("taskfarmer-mpi: ")]
    assert "Traceback" not in process.stderr
    assert len(set(complaints)) == 1, process.said()
    assert all(part.format(site.path) in complaints[0] for part in bad.said)


USAGE = [
    ("--proc", "0"),
    ("--proc", "x"),
    ("--proc", "-1"),
    ("--proc", "1.5"),
    ("--timeout", "-1"),
    ("--timeout", "soon"),
    ("--timeout", "nan"),
    ("--timeout", "inf"),
    ("--lock-timeout", "-3"),
    ("--lease", "-1"),
    ("--lease", "1"),
    ("--lease", "nan"),
    ("--mpi", "maybe"),
    ("--no-such-option", "1"),
]


@pytest.mark.parametrize(
    "options", USAGE, ids=[f"{option[2:]}_{value}".replace("mpi", "message_passing") for option, value in USAGE]
)
def test_bad_options_are_named_in_the_first_of_two_lines(options: tuple[str, str], site: Site) -> None:
    process = site.farm(f"{options[0]}={options[1]}", site.tasklist(["true"]))
    process.succeed(30, code=2)
    complaint, _hint = process.stderr.splitlines()
    assert complaint.startswith("taskfarmer-mpi: ")
    assert options[0] in complaint
    assert not (site.path / "tasks_workdir").exists()


def test_no_tasklist_is_one_line_and_a_hint(site: Site) -> None:
    process = site.farm()
    process.succeed(30, code=2)
    complaint, hint = process.stderr.splitlines()
    assert "a tasklist is needed" in complaint
    assert "--help" in hint


@pytest.mark.parametrize("data", ["", "\n", "# only\n#comments\n\n  \n"], ids=["nothing", "newline", "comments"])
@pytest.mark.parametrize("ranks", [0, 2], ids=["plain", "two_ranks"])
def test_an_empty_list_is_done_at_once(ranks: int, data: str, site: Site) -> None:
    (site.path / "tasks").write_text(data)
    farmer = site.farm(site.path / "tasks", ranks=ranks)
    farmer.succeed(30)
    assert "0 tasks" in farmer.stdout
    assert "Traceback" not in farmer.stderr
    assert isinstance(json.loads((site.path / "tasks_workdir" / "timeline.json").read_text()), list)
    assert slices(site.path / "tasks_workdir") == []


def test_undecodable_bytes_in_a_command_are_no_bad_input(site: Site) -> None:
    tasks = [b"printf %s '\xe4\xff\xc3'", b"/bin/echo \xf6"]
    (site.path / "tasks").write_bytes(b"\n".join(tasks))
    site.farm(site.path / "tasks").succeed(30)
    assert settled(site.path / "tasks_workdir", tasks).failed == []
    logs = site.path / "tasks_workdir" / "logs"
    assert [(logs / f"log_{i}").read_bytes() for i in range(2)] == [b"\xe4\xff\xc3", b"\xf6\n"]


def test_a_changed_line_is_found_when_everything_is_done(site: Site) -> None:
    tasklist = site.tasklist(["true 0", "true 1"])
    site.farm(tasklist).succeed(30)
    before = _lists(site.path / "tasks_workdir")
    site.tasklist(["true 0", "true one"])
    process = site.farm(tasklist)
    process.succeed(30, code=2)
    assert "task 1" in _only_line(process)
    assert _lists(site.path / "tasks_workdir") == before


@pytest.mark.parametrize(
    "garbage", ["rubbish\n", "99 true\n", "1 another task\n"], ids=["rubbish", "unknown_id", "other_text"]
)
def test_garbage_that_comes_during_work_stops_the_farm_and_is_left_alone(garbage: str, site: Site, witness: Witness) -> None:
    tasks = witness.tasks(60, 0.2)
    tasklist = site.tasklist(tasks)
    farmer = site.farm("-n", "2", tasklist)
    toprocess = site.path / "tasks_workdir" / "toprocess"
    wait_for(lambda: len(witness.runs()) >= 2, deadline=30, what="both slots are busy")
    with toprocess.open("a") as file:
        file.write(garbage)
    farmer.succeed(30, code=75)
    assert "Traceback" not in farmer.stderr
    assert str(toprocess) in farmer.stderr
    data = toprocess.read_text()
    assert garbage in data
    toprocess.write_text(data.replace(garbage, "", 1))
    site.farm("-n", "40", tasklist).succeed(60)
    assert settled(site.path / "tasks_workdir", tasks).failed == []
    assert witness.overlaps() == []


# -- a full disk ------------------------------------------------------------------------------------


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    """Mount a file system of 2 MiB, or skip."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False, timeout=30).returncode != 0:
        pytest.skip("a small file system can be mounted by root only")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, timeout=30)


def _fill(folder: Path, leave: int) -> Path:
    """Fill a file system up to some space [bytes]; return the file that does so."""
    ballast = folder / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    os.truncate(ballast, ballast.stat().st_size // 4096 * 4096 - leave)
    return ballast


@pytest.mark.parametrize("leave", [0, 4096, 8192, 16384])
def test_a_disk_that_is_full_at_the_start_is_reported_in_one_line(leave: int, site: Site, witness: Witness) -> None:
    tasks = witness.tasks(300, 0.01)
    tasklist = site.tasklist(tasks)
    with _small_disk(site.path / "disk") as disk:
        ballast = _fill(disk, leave)
        farmer = site.farm("-n", "2", "-w", disk / "work", tasklist)
        farmer.succeed(30, code=2)
        assert "No space left on device" in _only_line(farmer)
        assert witness.runs() == {}
        ballast.unlink()
        site.farm("-n", "2", "-w", disk / "work", tasklist).succeed(60)
        assert settled(disk / "work", tasks).failed == []
    witness.once_each(300)


def test_a_disk_that_fills_up_during_work_stops_the_farm_and_loses_nothing(site: Site, witness: Witness) -> None:
    tasks = witness.tasks(600, 0.02)
    tasklist = site.tasklist(tasks)
    with _small_disk(site.path / "disk") as disk:
        farmer = site.farm("-n", "2", "-w", disk / "work", tasklist)
        wait_for(lambda: len(witness.runs()) > 30, deadline=30, what="some tasks have run")
        ballast = _fill(disk, 0)
        farmer.succeed(60, code=75)
        assert "No space left on device" in farmer.stderr
        assert "Traceback" not in farmer.stderr
        before = len(witness.runs())
        assert before < 600
        again = site.farm("-n", "2", "-w", disk / "work", tasklist)
        assert again.wait(60) in (2, 75), again.said()
        assert "Traceback" not in again.stderr
        ballast.unlink()
        site.farm("-n", "8", "-w", disk / "work", tasklist).succeed(60)
        assert settled(disk / "work", tasks).failed == []
    assert witness.overlaps() == []
    assert sorted(witness.runs()) == list(range(600))


@pytest.mark.parametrize("call", ["fdatasync", "ftruncate"])
@pytest.mark.parametrize("number", [2, 3, 4, 5, 6])
def test_an_error_of_the_disk_stops_the_farm_and_loses_nothing(
    call: str, number: int, site: Site, witness: Witness, strace: str
) -> None:
    tasks = witness.tasks(200, 0.01)
    tasklist = site.tasklist(tasks)
    prefix = f"{strace} -o /dev/null -e trace={call} -e inject={call}:error=EIO:when={number}"
    farmer = site.farm("-n", "2", tasklist, prefix=prefix)
    code = farmer.wait(60)
    assert "Traceback" not in farmer.stderr, farmer.said()
    assert code in (0, 2, 75), farmer.said()
    site.farm("-n", "4", tasklist).succeed(60)
    assert settled(site.path / "tasks_workdir", tasks).failed == []
    assert witness.overlaps() == []


@pytest.mark.parametrize(
    "words",
    [("-w", "", "tasks"), ("",), ("--chdir", "", "tasks"), ("--config", "", "tasks")],
    ids=lambda words: " ".join(words),
)
def test_an_empty_name_of_a_file_is_refused(words: tuple[str, ...], site: Site) -> None:
    site.tasklist(["true"])
    farm = site.farm(*words)
    farm.succeed(60, code=2)
    line, _ = farm.stderr.splitlines()  # the other one says where help is
    assert "an empty name: is a variable not set?" in line
    assert not list(site.path.rglob("toprocess"))


@pytest.mark.parametrize("command", ["status", "retry", "report", "stop", "check"])
def test_an_empty_name_of_a_work_directory_is_refused(command: str, site: Site) -> None:
    process = site.start(sys.executable, "-m", "taskfarmer_mpi.ctl", command, "")
    process.succeed(60, code=2)
    line, _ = process.stderr.splitlines()
    assert "an empty name: is a variable not set?" in line


def test_a_list_of_nothing_is_not_kept(site: Site) -> None:
    for words in (["-w", "work", "-"], ["-w", "work", ":::"]):  # nothing is behind it: standard input is empty
        farm = site.farm(*words)
        farm.succeed(60, code=2)
        assert "there is nothing to do" in farm.stderr.splitlines()[0]
        assert not (site.path / "work").exists()


def test_the_log_of_a_task_that_is_not_there_is_named_so(site: Site) -> None:
    site.farm(site.tasklist(["true"])).succeed(60)
    process = site.start(sys.executable, "-m", "taskfarmer_mpi.ctl", "log", "tasks", "99")
    process.succeed(60, code=2)
    assert "there is no task 99; it has 1 tasks, from 0 on" in process.stderr
