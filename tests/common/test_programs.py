"""Other programs that are asked for something."""

from __future__ import annotations

import pytest

from taskfarmer_mpi.common import programs
from taskfarmer_mpi.common.programs import AskError, ask


def test_what_a_program_prints_is_the_answer() -> None:
    assert ask("sh", "-c", "echo yes; echo no >&2") == "yes\n"


@pytest.mark.parametrize(
    ("command", "said"),
    [("echo first; echo last >&2; exit 3", "sh: last"), ("exit 4", "sh: exit code 4")],
)
def test_a_program_that_fails_is_quoted(command: str, said: str) -> None:
    with pytest.raises(AskError, match=said):
        ask("sh", "-c", command)


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(AskError, match="no-such-program: No such file"):
        ask("no-such-program")


def test_a_long_wait_is_told_and_ends(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(programs, "_PATIENCE", 0.05)
    monkeypatch.setattr(programs, "ANSWER_LIMIT", 0.2)
    with pytest.raises(AskError, match="sleep: no answer within 0 s"):
        ask("sleep", "60")
    (record,) = caplog.records
    assert "waits for an answer of sleep" in record.getMessage()
