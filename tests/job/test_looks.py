"""How often a rank looks."""

import pytest
from fakes import Clock

from taskfarmer_mpi.job.pace import LONGEST, SHORTEST, MessagePace


def _pauses(pace: MessagePace, clock: Clock, count: int, *, is_working: bool) -> list[float]:
    found = []
    for _ in range(count):
        pace.note_look(is_working=is_working)
        found.append(pace.next_look - clock.now)
        clock.now = pace.next_look
    return found


def test_a_rank_that_works_looks_twice_a_second() -> None:
    clock = Clock()
    assert _pauses(MessagePace(5, clock), clock, 3, is_working=True) == [pytest.approx(LONGEST)] * 3


def test_a_rank_that_hurries_looks_often_and_then_less_and_less() -> None:
    clock = Clock()
    pace = MessagePace(5, clock)
    pace.note_look(is_working=True)
    pace.hurry(is_leader=False)
    assert pace.next_look - clock.now == pytest.approx(SHORTEST)
    pauses = _pauses(pace, clock, 12, is_working=False)
    assert pauses == sorted(pauses)
    assert pauses[-1] == pytest.approx(LONGEST)


@pytest.mark.parametrize(("ranks", "is_leader", "pause"), [(1000, False, 0.5), (1000, True, SHORTEST), (200, False, 0.1)])
def test_many_ranks_together_look_no_more_often_than_a_file_server_can_take(
    ranks: int, is_leader: bool, pause: float
) -> None:
    clock = Clock()
    pace = MessagePace(ranks, clock)
    pace.note_look(is_working=True)
    pace.hurry(is_leader=is_leader)
    assert pace.next_look - clock.now == pytest.approx(pause)
