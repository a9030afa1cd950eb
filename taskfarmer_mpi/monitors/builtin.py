"""Monitors: what is told of a farmer's life as it happens.

A monitor is a class whose keyword arguments are its options, all given as text, with a method ``handle(event)``. It lives in
a process of its own for each farmer. If it has a method ``tick()``, that is called about once a second, too. One that fails
is switched off.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from taskfarmer_mpi.errors import OptionError
from taskfarmer_mpi.monitors.events import KINDS, Event, is_wanted, parse_kinds
from taskfarmer_mpi.workdir.files import open_file, replace_file, write_all

LONGEST_COMMAND = 30.0
"""The time limit of a command can be this long at most [s]."""

_PLACES = ("farmer", "host", "rank", "job", "pid")


def parse_path(text: str) -> str:
    """Return the path of a file that each farmer has for itself, with places for what tells farmers apart.

    Raises
    ------
    OptionError
        If it has another place, or braces that do not match.
    """
    try:
        path = text.format(**dict.fromkeys(_PLACES, ""))
    except (KeyError, IndexError, ValueError) as error:
        known = ", ".join(f"{{{place}}}" for place in _PLACES)
        raise OptionError("path", f"{text!r} has a place that is not known ({error}); there are {known}") from error
    if not path.strip() or text.endswith("/"):
        raise OptionError("path", f"{text!r} is not the path of a file")
    if any(f"{{{place}}}" in text for place in _PLACES):
        return text
    folder, name = os.path.split(text)
    stem, suffix = os.path.splitext(name)
    return os.path.join(folder, f"{stem}.{{farmer}}{suffix}")


def own_path(template: str, event: Event) -> Path:
    """Return the path of the file of an event's farmer."""
    return Path(template.format(**{place: getattr(event, place) for place in _PLACES}))


class CommandMonitor:
    """Runs a command for each of some events, one after the other."""

    def __init__(
        self, *, command: str, events: str = "farmer_start farmer_end shutdown recovery", timeout: str = "10"
    ) -> None:
        """Choose command and events.

        Parameters
        ----------
        command
            What the shell runs; the event is in its environment: ``TASKFARMER_EVENT`` is its kind, and each field that has a
            meaning for it is there, ``reason`` for example as ``TASKFARMER_REASON``.
        events
            For which ones, with blanks between them; ``task_failed`` stands for the ends of tasks that failed.
        timeout
            How long the command may run [s].
        """
        self._command = command
        self._events = parse_kinds(events)
        self._timeout = _parse_timeout(timeout)

    def handle(self, event: Event) -> None:
        """Run the command, if the event is one of those chosen.

        Raises
        ------
        RuntimeError
            If it fails or takes too long.
        """
        if not is_wanted(event, self._events):
            return
        environ = os.environ | {f"TASKFARMER_{name.upper()}": str(value) for name, value in event.known().items()}
        environ["TASKFARMER_EVENT"] = environ.pop("TASKFARMER_KIND")
        process = subprocess.Popen(["/bin/sh", "-c", self._command], stdin=subprocess.DEVNULL, env=environ)
        try:
            code = process.wait(self._timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise RuntimeError(f"{self._command[:200]}: still running after {self._timeout:g} s") from None
        if code:
            how = f"ended by signal {-code}" if code < 0 else f"exit code {code}"
            raise RuntimeError(f"{self._command[:200]}: {how}")


def _parse_timeout(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= LONGEST_COMMAND:
        raise OptionError("timeout", f"{text!r} is not a time in seconds: more than 0, and {LONGEST_COMMAND:g} at most")
    return seconds


class JSONLinesMonitor:
    """Appends each event to a file, as a JSON object a line."""

    def __init__(self, *, path: str, events: str = " ".join(KINDS)) -> None:
        """Choose file and events.

        Parameters
        ----------
        path
            The file; ``{farmer}``, ``{host}``, ``{rank}``, ``{job}`` and ``{pid}`` are replaced. If it has none of them, the
            farmer's name is put before its suffix, since no two farmers may write to one file.
        events
            Which ones, with blanks between them.
        """
        self._path = parse_path(path)
        self._events = parse_kinds(events)
        self._fd: int | None = None

    def handle(self, event: Event) -> None:
        """Append the event, if it is one of those chosen."""
        if not is_wanted(event, self._events):
            return
        if self._fd is None:
            self._fd = open_file(own_path(self._path, event), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        write_all(self._fd, json.dumps(event.known()).encode() + b"\n")


Sample = tuple[str, dict[str, str], float]
"""Suffix of the name, labels, value."""
Family = tuple[str, str, str, list[Sample]]
"""Name, type, help, samples."""


class OpenMetricsMonitor:
    """Keeps a file of metrics that node_exporter's textfile collector reads."""

    def __init__(self, *, path: str, keep: str = "yes") -> None:
        """Choose the file.

        Parameters
        ----------
        path
            The file, as with `JSONLinesMonitor`; the collector wants the suffix ``.prom``.
        keep
            ``yes`` if it stays when the farmer has ended, ``no`` if it is removed then.
        """
        self._path = parse_path(path)
        if keep not in ("yes", "no"):
            raise OptionError("keep", f"{keep!r} is neither yes nor no")
        self._keep = keep == "yes"
        self._farmer: Event | None = None
        self._is_new = False
        self._ended: float | None = None
        self._busy = 0
        self._recovered = 0
        self._runs = dict.fromkeys(("finished", "failed", "killed"), 0)
        self._seconds = dict.fromkeys(self._runs, 0.0)
        self._cpu = dict.fromkeys(self._runs, 0.0)

    def handle(self, event: Event) -> None:
        """Count the event; the file is written at the next tick."""
        if event.kind == "farmer_start":
            self._farmer = event
        elif event.kind == "task_start":
            self._busy += 1
        elif event.kind == "task_end" and event.outcome in self._runs:
            self._busy -= 1
            self._runs[event.outcome] += 1
            self._seconds[event.outcome] += event.seconds or 0.0
            self._cpu[event.outcome] += event.cpu or 0.0
        elif event.kind == "recovery":
            self._recovered += event.tasks or 0
        elif event.kind == "farmer_end":
            self._ended = event.time
            self._busy = 0
        self._is_new = True
        if event.kind == "farmer_end":
            self._end()

    def tick(self) -> None:
        """Write the file, if something happened."""
        if self._is_new and self._farmer is not None:
            replace_file(own_path(self._path, self._farmer), self._encode(self._farmer))
            self._is_new = False

    def _end(self) -> None:
        if self._keep:
            self.tick()
        elif self._farmer is not None:
            own_path(self._path, self._farmer).unlink(missing_ok=True)
            self._is_new = False

    def _encode(self, farmer: Event) -> bytes:
        who = {"farmer": farmer.farmer}
        about = {name: str(getattr(farmer, name)) for name in (*_PLACES, "workdir")}
        outcomes = [(who | {"outcome": outcome}, outcome) for outcome in self._runs]
        families: list[Family] = [
            ("info", "gauge", "Who a farmer is.", [("", about, 1)]),
            ("slots", "gauge", "How many tasks a farmer runs at the same time.", [("", who, farmer.slots)]),
            ("slots_busy", "gauge", "How many tasks it runs now.", [("", who, self._busy)]),
            ("runs", "counter", "Runs of tasks that ended.", [("_total", by, self._runs[key]) for by, key in outcomes]),
            (
                "run_seconds",
                "counter",
                "How long they lasted.",
                [("_total", by, self._seconds[key]) for by, key in outcomes],
            ),
            ("cpu_seconds", "counter", "Their CPU time.", [("_total", by, self._cpu[key]) for by, key in outcomes]),
            ("recovered_tasks", "counter", "Tasks taken back from dead farmers.", [("_total", who, self._recovered)]),
            ("start_time_seconds", "gauge", "When the farmer started.", [("", who, farmer.time)]),
        ]
        if self._ended is not None:
            families.append(("end_time_seconds", "gauge", "When the farmer ended.", [("", who, self._ended)]))
        return encode_metrics(families)


def encode_metrics(families: list[Family]) -> bytes:
    """Encode families of metrics in the text format of OpenMetrics 1.0.

    Readers of the older text format of Prometheus understand it, too: they take a counter for a metric without a type.
    """
    lines = []
    for name, kind, text, samples in families:
        lines += [f"# HELP taskfarmer_{name} {text}", f"# TYPE taskfarmer_{name} {kind}"]
        for suffix, labels, value in samples:
            shown = ",".join(f'{label}="{_escape(content)}"' for label, content in labels.items())
            lines.append(f"taskfarmer_{name}{suffix}{{{shown}}} {value}")
    return "\n".join([*lines, "# EOF", ""]).encode("utf-8", "replace")


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
