"""What one rank knows of the others."""

from pathlib import Path
from threading import Timer

from taskfarmer_mpi.job.ranks import Ranks
from taskfarmer_mpi.lives.life_locks import LifeLock


def test_who_leaves_last_waits_until_the_others_are_gone(tmp_path: Path) -> None:
    lives = [LifeLock.create(tmp_path / f"{rank}.alive", 0o600) for rank in range(3)]
    ranks = Ranks(0, {rank: life.path for rank, life in enumerate(lives)})
    lives[2].release()
    assert not ranks.wait_for_departures(0.1)
    timer = Timer(0.1, lives[1].release)
    timer.start()
    assert ranks.wait_for_departures(30)
    timer.join()


def test_nobody_waits_for_a_rank_that_is_known_to_be_gone(tmp_path: Path) -> None:
    lives = [LifeLock.create(tmp_path / f"{rank}.alive", 0o600) for rank in range(3)]
    ranks = Ranks(0, {rank: life.path for rank, life in enumerate(lives)})
    ranks.left.add(1)
    ranks.dead.add(2)
    assert ranks.wait_for_departures(0.0)


def test_whether_a_rank_is_the_last_one_is_not_known_where_the_directory_is_gone(tmp_path: Path) -> None:
    gone = tmp_path / "moved away"
    assert not Ranks(0, {rank: gone / f"lock.{rank}.alive" for rank in range(2)}).is_last()
