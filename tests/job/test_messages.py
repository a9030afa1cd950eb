"""Messages as names of files, and the reports in them."""

import string
from typing import Any

import pytest

from taskfarmer_mpi.farmer.tally import Tally
from taskfarmer_mpi.job.messages import Letter, encode_name, parse_name
from taskfarmer_mpi.job.reports import Report, Reports, encode_report, parse_report


@pytest.mark.parametrize(
    "content",
    [None, 75, "SIGUSR1", "a/b/../c", "", "two\nlines", "ä" * 20, [3, 8, 120, 0, 95.125, True], '"quoted" \\ back'],
)
def test_what_is_said_comes_out_of_the_name_as_it_was(content: Any) -> None:
    letter = Letter(3, 17, "stop", content)
    name = encode_name(letter)
    assert "/" not in name
    assert len(name) < 255
    assert parse_name(name) == letter


@pytest.mark.parametrize("character", ["x", "/", '"', "\\", "ä", "\x01", "😀"])
def test_a_reason_of_any_length_fits_into_a_name(character: str) -> None:
    name = encode_name(Letter(999, 10**6, "stop", "because " + 5000 * character))
    assert len(name.encode()) <= 255
    assert "/" not in name
    letter = parse_name(name)
    assert letter is not None
    assert letter.content.startswith("because ")


@pytest.mark.parametrize(
    "name", ["", "farmers", "0", "12", ".farmers.0af3", "1.2.stop", "1.2.stop.{", "a.2.stop.null", *string.punctuation]
)
def test_a_name_that_is_no_message_is_none(name: str) -> None:
    assert parse_name(name) is None


def test_a_report_comes_back_as_it_was() -> None:
    report = encode_report(Report(Tally(8, 120, 3, 95.125), takes_tasks=True))
    assert encode_report(parse_report(report)) == report


@pytest.mark.parametrize("content", [[], [1, 2], "abcde", [1, 2, 3, "x", True], None])
def test_a_report_that_is_none_is_an_error(content: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        parse_report(content)


def test_a_report_from_before_the_last_wake_does_not_count() -> None:
    leader, other = Reports(), Reports()
    early = other.own(Tally(2), takes_tasks=True)
    assert leader.hear(1, early)
    assert leader.begin_anew(set())
    assert leader.of_ranks == {}
    assert not leader.hear(1, early)
    assert other.hear_wake(leader.wake)
    assert not other.hear_wake(leader.wake)
    assert leader.hear(1, other.own(Tally(2), takes_tasks=True))


def test_nobody_is_woken_if_nobody_would_start_a_task() -> None:
    reports = Reports()
    reports.hear(1, reports.own(Tally(2), takes_tasks=False))
    reports.hear(2, reports.own(Tally(2), takes_tasks=True))
    assert not reports.begin_anew({2})
    assert reports.of_ranks.keys() == {1, 2}
