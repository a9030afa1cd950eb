"""Each rule of the protocol is held by a test: where it is broken on purpose, that test says what was lost or doubled."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers import ROOT

_EACH_CALL = "tests/properties/test_each_call.py::test_the_list_comes_to_its_right_end_whatever_happens_at_any_call[{}-{}]"
_REMOTE = "tests/visits/test_remote_visits.py::test_{}"
_RECOVERY = "tests/upkeep/test_recovery.py::test_{}"


def _at_each_call(operation: str, fault: str) -> str:
    """Return the test by which an operation meets a fault at each of its calls."""
    return _EACH_CALL.format(operation, fault)


@dataclass(frozen=True)
class Breakage:
    """A rule that is broken, and by which words of which test that is seen."""

    name: str
    module: str
    """Where, in the package."""
    old: str
    """What is there, once."""
    new: str
    """What is put there."""
    test: str
    seen_as: str
    """What the test says, as a pattern."""


_BREAKAGES = [
    Breakage(
        "the list is cut before the journal is on the disk",
        "visits/visit.py",
        "                    self._journal.sync()\n                    stack.cut(top)\n",
        "                    self._journal.flush()\n                    stack.cut(top)\n",
        _at_each_call("visit", "POWER-0.2"),
        "in nobody's hands",
    ),
    Breakage(
        "what is appended to a list is not synced",
        "workdir/lists.py",
        "                os.fdatasync(fd)\n",
        "",
        _at_each_call("visit", "POWER-0.3"),
        "outcomes were lost|in nobody's hands",
    ),
    Breakage(
        "a list that is replaced is not synced",
        "workdir/files.py",
        "        os.fsync(fd)\n        confirm()\n",
        '        if path.name == "farm.ini":\n            os.fsync(fd)\n        confirm()\n',
        _at_each_call("retry", "POWER-0.0"),
        "outcomes were lost",
    ),
    Breakage(
        "the list is cut before the journal says what is taken",
        "visits/visit.py",
        """                    self._journal.note("taken", ids=[task.id for task in taken])
                    self._journal.sync()
                    stack.cut(top)
""",
        """                    stack.cut(top)
                    self._journal.note("taken", ids=[task.id for task in taken])
                    self._journal.sync()
""",
        _at_each_call("visit", "KILLED-0.0"),
        "in nobody's hands",
    ),
    Breakage(
        "the journal says that outcomes are recorded before they are",
        "visits/visit.py",
        "        failed = [run for run in tasks.outcomes if not run.is_finished]\n",
        """        self._journal.note("recorded")
        self._journal.flush()
        failed = [run for run in tasks.outcomes if not run.is_finished]
""",
        _at_each_call("visit", "KILLED-0.0"),
        "in nobody's hands",
    ),
    Breakage(
        "the journal says that tasks are given back before they are",
        "visits/visit.py",
        """                give_back_tasks(self._farm, part)
                self._journal.note("given", ids=ids)
""",
        """                self._journal.note("given", ids=ids)
                self._journal.flush()
                give_back_tasks(self._farm, part)
""",
        _at_each_call("give_back", "KILLED-0.0"),
        "in nobody's hands",
    ),
    Breakage(
        "tasks are given back before the journal on the disk says so",
        "visits/visit.py",
        "                self._journal.sync()  # or after",
        "                self._journal.flush()  # or after",
        _at_each_call("give_back_what_waits", "POWER-0.2"),
        "in nobody's hands",
    ),
    Breakage(
        "a retry puts tasks on the list before its journal on the disk says so",
        "upkeep/retry.py",
        """    journal.note("giving", ids=ids)  # so that recovery does not ask whether `taken` was completed
    journal.sync()
""",
        """    journal.sync()
    journal.note("giving", ids=ids)
    journal.flush()
""",
        _at_each_call("retry_for_both_stacks", "POWER-0.2"),
        "in nobody's hands",
    ),
    Breakage(
        "a torn line that a dead writer left is not cut off",
        "workdir/lists.py",
        "    if size == 0 or os.pread(fd, 1, size - 1) == b",
        "    if True or os.pread(fd, 1, size - 1) == b",
        _at_each_call("visit", "KILLED-0.1"),
        "in nobody's hands",
    ),
    Breakage(
        "a farmer that was declared dead goes on",
        "visits/visit.py",
        "        if not self._is_its_own():\n",
        "        if False:\n",
        _at_each_call("visit_after_a_cut", "CUT_OFF-0.0"),
        "recorded twice",
    ),
    Breakage(
        "lists are written through descriptors without a lock",
        "workdir/lists.py",
        "        yield fd, lock_for_writing(fd)\n",
        "        yield fd, True\n",
        _at_each_call("visit", "CUT_OFF-0.0"),
        "in nobody's hands",
    ),
    Breakage(
        "the work lock is not asked for before what depends on it",
        "workdir/lists.py",
        "        confirm()\n        if flags",
        "        if flags",
        _at_each_call("visit", "CUT_OFF-0.0"),
        "recorded twice",
    ),
    Breakage(
        "the list of tasks to do is not locked when the work lock is asked for once for both lists",
        "visits/visit.py",
        "            fd, is_locked = opened.enter_context(locked_list(self._farm.workdir.toprocess, os.O_RDWR))\n",
        "            fd, is_locked = os.open(self._farm.workdir.toprocess, os.O_RDWR), True\n",
        _at_each_call("visit", "CUT_OFF-0.0"),
        "in nobody's hands|recorded twice",
    ),
    Breakage(
        "the list of tasks to do is locked after the work lock was asked for",
        "visits/visit.py",
        """            ready = self._lock_early(opened) if recorded and not back else None
            if recorded:
                self._record(tasks)
""",
        """            if recorded:
                self._record(tasks)
            ready = self._lock_early(opened) if recorded and not back else None
""",
        _REMOTE.format("all_that_is_written_is_locked_before_the_work_lock_is_confirmed"),
        "assert",
    ),
    Breakage(
        "a life lock counts as held although a write to its file was refused",
        "lives/life_locks.py",
        "        except OSError:\n            return False\n        return True\n",
        "        except OSError:\n            pass\n        return True\n",
        _REMOTE.format("a_farmer_whose_life_lock_others_have_is_fenced_although_its_journal_is_in_place"),
        "DID NOT RAISE FencedError",
    ),
    Breakage(
        "a lock file that stayed open counts although another one has its name",
        "workdir/lock_files.py",
        "        return not self.was_kept or is_at(self.path, self._inode)\n",
        "        return True\n",
        "tests/workdir/test_work_lock.py::test_a_lock_file_that_stayed_open_and_was_replaced_is_not_held",
        "assert not True",
    ),
    Breakage(
        "a failed append is undone through another descriptor",
        "workdir/lists.py",
        "        os.ftruncate(fd, end)  # the",
        "        os.truncate(path, end)  # the",
        _at_each_call("visit", "CUT_OFF-0.0"),
        "in nobody's hands",
    ),
    Breakage(
        "a retry puts tasks on the list before it takes them off the others",
        "upkeep/retry.py",
        "    for path, kept in lists:\n",
        "    put_on_stacks(workdir, listed, found.values(), lock.confirm)\n    for path, kept in lists:\n",
        _at_each_call("retry", "KILLED-0.0"),
        "task 0 is run again by actor0, although its end was noted",
    ),
    Breakage(
        "recovery takes what a farmer has that lives",
        "upkeep/recovery.py",
        "            locks = None if path in own or is_at_work(farm, path) else _seize(farm, path, waiting)\n",
        "            locks = None if path in own else []\n",
        _RECOVERY.format("a_living_farmer_is_left_alone"),
        r"assert Recovery\(farmers=1",
    ),
    Breakage(
        "recovery asks for one life lock only, and not for that of the tasks",
        "upkeep/recovery.py",
        "    if tasks is not None and not survivors:\n        return [life, tasks]\n",
        "    if not survivors:\n        return [life]\n",
        _RECOVERY.format("tasks_that_still_run_are_not_given_back"),
        r"assert \(1, 4\) == \(0, 0\)",
    ),
    Breakage(
        "recovery believes what it read before it had the lock",
        "upkeep/recovery.py",
        "        recorded.advance()\n        others.advance()\n",
        "",
        _RECOVERY.format("a_farmer_born_during_recovery_keeps_what_it_took"),
        "assert 3 == 0",
    ),
    Breakage(
        "a retry believes what it read before it had the lock",
        "upkeep/retry.py",
        "        scan = _scan(before.path, wanted, before)\n",
        "        scan = before\n",
        "tests/upkeep/test_retry.py::test_what_is_recorded_while_a_retry_waits_for_the_lock_stays_recorded",
        r"assert \(\[4\], \[1, 2\]\) == \(\[4, 5\], \[1, 2, 6\]\)",
    ),
    Breakage(
        "a list is replaced without asking for the work lock",
        "workdir/files.py",
        "        confirm()\n        temporary.replace(path)\n",
        "        temporary.replace(path)\n",
        "tests/workdir/test_files.py::test_a_file_is_not_replaced_once_the_lock_was_lost",
        "DID NOT RAISE FencedError",
    ),
    Breakage(
        "a task that ended stays on the list",
        "upkeep/recovery.py",
        "        strike_out(farm, {",
        "        (farm, {",
        _at_each_call("visit", "POWER-1.0"),
        "recorded twice",
    ),
    Breakage(
        "tasks run on without a proof of their lock",
        "lives/lease.py",
        "        return SILENCE if is_silent else None\n",
        "        return None\n",
        "tests/lives/test_lease.py::test_without_a_proof_tasks_are_killed_before_the_lease_is_over",
        "assert None == 0",
    ),
    Breakage(
        "a task starts before the guardian sees to its lease",
        "farmer/guard.py",
        "            self._await_watch(self._sheet)\n",
        "",
        "tests/farmer/test_guard.py::test_no_task_starts_beside_a_guardian_that_hangs",
        "DID NOT RAISE",
    ),
    Breakage(
        "a farmer leaves the end of the lease to a guardian that hangs",
        "farmer/guard.py",
        "        if is_unseen and self._is_overdue(self._sheet):\n",
        "        if is_unseen and not self.pid and self._is_overdue(self._sheet):\n",
        "tests/farmer/test_guard.py::test_where_the_next_guardian_hangs_the_farmer_itself_sees_the_end_of_the_lease",
        "assert None is not None",
    ),
]


class Copy:
    """A copy of the package and its tests, of which one module at a time is another one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("taskfarmer_mpi", "tests"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "setup.cfg", folder)

    def run(self, *tests: str) -> subprocess.CompletedProcess[str]:
        """Run some tests."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYTHONPATH"))}
        environ |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "COLUMNS": "300"}  # without plugins it starts in half the time
        command = [sys.executable, "-m", "pytest", "-q", "-rf", "-x", "--tb=short", "-p", "no:cacheprovider", *tests]
        return subprocess.run(
            command, cwd=self.folder, env=environ, capture_output=True, text=True, check=False, timeout=120
        )

    def run_broken(self, breakage: Breakage) -> subprocess.CompletedProcess[str]:
        """Run the test of a breakage where its rule is broken."""
        module = self.folder / "taskfarmer_mpi" / breakage.module
        whole = module.read_text()
        assert whole.count(breakage.old) == 1, f"{breakage.module} has changed: say anew how to break this rule"
        module.write_text(whole.replace(breakage.old, breakage.new))
        try:
            return self.run(breakage.test)
        finally:
            module.write_text(whole)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """Make the copy."""
    return Copy(tmp_path_factory.mktemp("breakages"))


def test_where_no_rule_is_broken_nothing_is_seen(copy: Copy) -> None:
    result = copy.run(*sorted({breakage.test for breakage in _BREAKAGES}))
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("breakage", _BREAKAGES, ids=lambda breakage: breakage.name)
def test_a_broken_rule_is_seen(breakage: Breakage, copy: Copy) -> None:
    result = copy.run_broken(breakage)
    assert result.returncode == pytest.ExitCode.TESTS_FAILED, result.stdout
    reasons = re.findall(r"^FAILED \S+ - (.*)", result.stdout, re.MULTILINE)
    assert len(reasons) == 1
    assert re.search(breakage.seen_as, reasons[0])
