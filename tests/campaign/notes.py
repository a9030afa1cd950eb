"""Tasks that note what happens to them, in the form that `checker` reads."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

LABEL = "CAMPAIGN_LABEL"
"""The variable that says to which launch a task belongs."""
_SCRIPT = f"""\
#!/bin/bash
# note FOLDER ID SECONDS CODE
set -C
run=$1/$2.$HOSTNAME-$$-${{EPOCHREALTIME/./-}}
: >"$run.start.${{{LABEL}:-none}}" || exit 97
until=$((${{EPOCHREALTIME/./}} + 10#${{3/./}}000))
while left=$((until - ${{EPOCHREALTIME/./}})) && [ $left -gt 200000 ]; do
    sleep 0.1
    echo >>"$run.beat"
done
[ $left -le 0 ] || sleep "$(printf '0.%06d' $left)"
: >"$run.end.$4" || exit 98
exit $4
"""


class Notes:
    """The notes of one list."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder / "notes"
        self.folder.mkdir()
        self._script = folder / "note"
        self._script.write_text(_SCRIPT)
        self._script.chmod(0o755)

    def tasks(self, seconds: Sequence[float], codes: Sequence[int] = ()) -> list[str]:
        """Return the lines of tasks that last some time [s] and end with a code; any farmer can run them."""
        wanted = [*codes, *[0] * (len(seconds) - len(codes))]
        return [self.task(task_id, *what) for task_id, what in enumerate(zip(seconds, wanted, strict=True))]

    def task(self, task_id: int, seconds: float, code: int = 0) -> str:
        """Return the line of one task."""
        return f"{self._script} {self.folder} {task_id} {seconds:.3f} {code}"

    def excuse(self, label: str, reason: str) -> None:
        """Note that what ran in a launch may run again, and why."""
        self.write(f"excused.{label}.{reason.replace(' ', '-')}")

    def retried(self, task_id: int) -> None:
        """Note that a task was asked to run again, or that this came to its end: the time of the last note counts."""
        (self.folder / f"retried.{task_id}").touch()

    def unwanted(self, task_id: int) -> None:
        """Note that a task was asked not to run."""
        self.write(f"unwanted.{task_id}")

    def withdraw_excuse(self, label: str) -> None:
        """Take an excuse back: nothing happened to that launch."""
        for path in self.folder.glob(f"excused.{label}.*"):
            path.unlink()

    def write(self, name: str) -> None:
        """Make a note, unless it is there."""
        with suppress(FileExistsError):
            (self.folder / name).touch(exist_ok=False)

    def started(self) -> list[str]:
        """Return the notes of runs that began."""
        return [path.name for path in self.folder.glob("*.start.*")]

    def ended(self) -> int:
        """Count the runs that came to their end."""
        return sum(1 for _ in self.folder.glob("*.end.*"))

    def running(self, label: str) -> list[str]:
        """Return the runs of a launch that have begun and not ended."""
        ended = {path.name.partition(".end.")[0] for path in self.folder.glob("*.end.*")}
        return [
            name for name in self.started() if name.endswith(f".start.{label}") and name.partition(".start.")[0] not in ended
        ]
