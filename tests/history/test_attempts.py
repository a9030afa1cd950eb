"""How often tasks were tried, from the file that farmers share."""

from __future__ import annotations

from pathlib import Path

from taskfarmer_mpi.history.attempts import CRASHED, FAILED, RESET, Attempt, Attempts, encode_attempts, parse_attempt


def test_lines_survive_a_round_trip_and_others_are_none() -> None:
    for attempt in (Attempt(7, 2, FAILED, "f-1"), Attempt(0, 1, CRASHED, "é")):
        assert parse_attempt(encode_attempts([attempt])[:-1]) == attempt
    for line in (b"", b"1 2 failed", b"x 2 failed f", b"1 -2 failed f", b"1 2 other f", b"1 2 failed f g", b"\xff"):
        assert parse_attempt(line) is None


def test_budgets_are_counted_once_and_begin_anew_with_a_retry(tmp_path: Path) -> None:
    path = tmp_path / "attempts"
    attempts = Attempts(path)
    attempts.advance()
    assert (attempts.count(4), attempts.failures(4), attempts.crashes(4)) == (0, 0, 0)
    lines = [
        Attempt(4, 1, FAILED, "a"),
        Attempt(4, 2, CRASHED, "b"),
        Attempt(4, 3, CRASHED, "b"),
        Attempt(4, 1, FAILED, "a"),
    ]
    path.write_bytes(encode_attempts(lines[:2]))
    attempts.advance()
    with path.open("ab") as file:
        file.write(encode_attempts(lines[2:]) + b"4 5 fai")
    attempts.advance()
    assert (attempts.count(4), attempts.failures(4), attempts.crashes(4)) == (2, 1, 1)
    with path.open("ab") as file:
        file.write(b"led c\n" + encode_attempts([Attempt(4, 6, RESET, "ctl")]))
    attempts.advance()
    assert (attempts.count(4), attempts.failures(4), attempts.crashes(4)) == (6, 0, 0)
