"""What a run says of its progress, and when: counts, rate, time left, and the moments for plain lines.

Nothing here reads a file or a clock, or prints.
"""

from __future__ import annotations

from collections import deque

from taskfarmer_mpi.common.values import Value

FIRST = 5.0
"""When the first line is due, so that one sees that all is well [s]; a run that is shorter shows none."""
QUIET = 30.0
"""Before this time there is no other one [s]."""
TENTH_GAP = 15.0
"""Two lines are at least this far apart [s]."""
LINE_GAP = 60.0
"""A line is due after this time [s] even if little was done."""
GROWTH = 0.1
"""The time between lines is at least this part of the age of the run, so that long runs do not fill their logs."""
RATE_MEMORY = 60.0
"""The rate is that of the last so many seconds, or of the last half of the run if that is longer."""


class Count(Value):
    """Where the tasks of a work directory are at one moment."""

    total: int
    finished: int
    failed: int
    running: int
    """As far as the journals of farmers tell: plain farmers have none."""

    @property
    def done(self) -> int:
        """How many tasks have an outcome."""
        return self.finished + self.failed

    @property
    def share(self) -> float:
        """The part of the tasks that is done, from 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else 1.0


class RateMeter:
    """How fast tasks get done, over a stretch that grows with the age of the run."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()
        self._born: float | None = None

    def see(self, moment: float, done: int) -> None:
        """Take in how many tasks were done at a moment [s]; fewer than before means that some are to do again."""
        if self._born is None:
            self._born = moment
        age = moment - self._born
        if self._samples and done < self._samples[-1][1]:
            self._samples.clear()
        if len(self._samples) > 1 and moment - self._samples[-2][0] < 0.01 * age:
            self._samples.pop()  # about a hundred samples are enough, however long the run
        self._samples.append((moment, done))
        while len(self._samples) > 2 and self._samples[1][0] <= moment - max(RATE_MEMORY, age / 2):
            self._samples.popleft()

    @property
    def rate(self) -> float:
        """Tasks per second; 0 if nothing is known yet."""
        if len(self._samples) < 2:
            return 0.0
        (start, before), (end, after) = self._samples[0], self._samples[-1]
        return (after - before) / (end - start) if end > start else 0.0


class LineSchedule:
    """When a plain line is due: each tenth of the list, each minute, and more rarely as time goes on."""

    def __init__(self, moment: float, share: float) -> None:
        """Begin with what is done already.

        Parameters
        ----------
        moment
            The start of the run [s].
        share
            The part of the tasks that is done, from 0 to 1.
        """
        self._born = self._last = moment
        self._is_quiet = True
        self._tenth = int(10 * share)

    def is_due(self, moment: float, share: float) -> bool:
        """Whether a line is to be shown at this moment; the next one is then counted from here."""
        age = moment - self._born
        if self._is_quiet and age >= FIRST:
            self._is_quiet = False
            return True
        gap = moment - self._last
        is_due = gap >= max(LINE_GAP, GROWTH * age) or (int(10 * share) > self._tenth and gap >= TENTH_GAP)
        if age < QUIET or not is_due:
            return False
        self._last = moment
        self._tenth = int(10 * share)
        return True


def format_span(seconds: float) -> str:
    """Return a time as hours, minutes and seconds: `1:02:03`; days come first where there are any: `2d 1:02:03`."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return f"{f'{days}d ' if days else ''}{hour}:{minute:02}:{second:02}"


def format_rate(rate: float) -> str:
    """Return tasks per second, or per minute or hour where they are few, in three digits."""
    if rate <= 0:
        return "0/s"
    for factor, unit in ((1, "s"), (60, "min"), (3600, "h")):
        if rate * factor >= 1 or unit == "h":
            break
    value = rate * factor
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{digits}f}/{unit}"


def format_left(count: Count, rate: float) -> str:
    """Return how long the rest will take at this rate; `-:--:--` if that cannot be said."""
    return format_span(max(count.total - count.done, 0) / rate) if rate > 0 else "-:--:--"


def format_line(count: Count, rate: float, age: float) -> str:
    """Return one plain line.

    Parameters
    ----------
    count
        Where the tasks are.
    rate
        Tasks done per second.
    age
        How long this run has lasted [s].
    """
    return (
        f"{count.done} of {count.total} tasks done ({100 * count.share:.0f} %), {count.failed} failed,"
        f" {count.running} running, {format_rate(rate)}, {format_span(age)} elapsed, about {format_left(count, rate)} left"
    )
