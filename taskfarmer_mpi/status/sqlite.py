"""The tasks as an SQLite database. The only importer of sqlite3.

SQLite's own locks cannot be trusted on network file systems, so the file is written under another name, which nobody
opens, and without locks.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from urllib.parse import quote

from taskfarmer_mpi.errors import FarmError
from taskfarmer_mpi.history.last_runs import LastRuns
from taskfarmer_mpi.status.tables import Row, make_rows
from taskfarmer_mpi.workdir.files import Workdir

VERSION = 1
"""The database's `user_version`: it grows if a column changes its meaning."""

_TABLES = """
CREATE TABLE tasks (
    id INTEGER PRIMARY KEY, state TEXT NOT NULL, farmer TEXT, host TEXT, rank INTEGER, slot INTEGER,
    attempts INTEGER NOT NULL, begin REAL, end REAL, duration REAL, exit_code INTEGER, signal INTEGER, cause TEXT,
    log TEXT NOT NULL, command TEXT NOT NULL, kind TEXT, cpu REAL, max_rss INTEGER,
    name TEXT
);
CREATE TABLE farmers (
    farmer TEXT PRIMARY KEY, host TEXT, pid INTEGER, rank INTEGER, ranks INTEGER, job TEXT, slots INTEGER, born REAL,
    state TEXT
);
"""


def write_sqlite(path: Path, last_runs: LastRuns, workdir: Workdir) -> None:
    """Write all tasks and farmers into an empty file that nobody else opens.

    Raises
    ------
    FarmError
        If SQLite cannot write it.
    """
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?vfs=unix-none", uri=True, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute("PRAGMA synchronous = OFF")
            connection.executescript(f"PRAGMA user_version = {VERSION}; {_TABLES}")
            _fill(connection, last_runs, workdir)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise FarmError(f"{path}: cannot write the database: {error}") from error


def _fill(connection: sqlite3.Connection, last_runs: LastRuns, workdir: Workdir) -> None:
    connection.execute("BEGIN")
    marks = ", ".join("?" * len(Row._fields))
    rows = (row._replace(log=_decodable(row.log), command=_decodable(row.command)) for row in make_rows(last_runs, workdir))
    connection.executemany(f"INSERT INTO tasks VALUES ({marks})", rows)  # noqa: S608  question marks only
    for history in last_runs.histories:
        who = history.identity
        values = (
            who.farmer,
            who.host,
            who.pid,
            who.rank,
            who.ranks,
            who.job,
            who.slots,
            history.born,
            history.describe_state(),
        )
        connection.execute("INSERT OR REPLACE INTO farmers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
    connection.execute("CREATE INDEX tasks_by_state ON tasks (state)")
    connection.execute("COMMIT")


def _decodable(text: str) -> str:
    """Return text that is valid UTF-8: SQLite takes no other."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
