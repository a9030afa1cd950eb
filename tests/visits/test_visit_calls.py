"""What a visit costs: its system calls are counted, as each that names a file is a remote call on a network file system."""

import re
from collections import Counter
from pathlib import Path

from helpers import Site

_MOST = {"openat": 8, "close": 8, "flock": 6, "ftruncate": 1, "fdatasync": 2, "fsync": 0, "newfstatat": 9}
"""System calls of a visit that records and takes tasks, by kind."""


def _visits(trace: Path, lock: Path) -> list[Counter[str]]:
    """Return the calls of each visit that took tasks off the list, from the work lock to its end."""
    visits: list[Counter[str]] = []
    calls: Counter[str] | None = None
    for line in trace.read_text().splitlines():
        name = line.partition("(")[0].split()[-1]
        if name == "flock" and f"<{lock}>" in line and "LOCK_EX" in line and line.endswith("= 0"):
            calls = Counter()
        elif calls is not None and not ("/proc/" in line or "O_PATH" in line):  # which ask no server
            calls[name] += 1
            if name == "flock" and f"<{lock}>" in line and "LOCK_UN" in line:
                visits += [calls] if calls["ftruncate"] and calls["fdatasync"] > 1 else []
                calls = None
    return visits


def test_what_a_visit_asks_of_the_file_system_is_bounded(site: Site, strace: str) -> None:
    tasklist = site.tasklist([f"sleep 0.{i % 3}1" for i in range(40)])
    trace, workdir = site.path / "trace", site.path / "tasks_workdir"
    kinds = ",".join([*_MOST, "read", "write", "pread64", "pwrite64", "lseek"])
    site.farm("-n", "2", tasklist, prefix=f"{strace} -qq -y -o {trace} -e trace={kinds}").succeed(60)
    visits = _visits(trace, workdir / "lock")
    assert visits, re.sub(r"[^\n]{200,}", "", trace.read_text()[-2000:])
    for calls in visits:
        assert {kind: calls[kind] for kind, most in _MOST.items() if calls[kind] > most} == {}
        assert calls.total() <= 48, calls
