"""A lock that excludes nobody: ranks find it out before a task is run."""

from __future__ import annotations

from pathlib import Path

import pytest
from campaign.calls import excluding_nobody
from campaign.local import LocalFarm


@pytest.mark.usefixtures("strace")
def test_a_job_with_a_rank_that_gets_each_lock_ends_before_it_begins(tmp_path: Path) -> None:
    farm = LocalFarm(tmp_path, [0.1] * 6, [])
    job = farm.ranks(2, "-n", "1", prefix=excluding_nobody(farm.trace()), victim=1)
    job.process.succeed(120, code=2)
    assert "locks do not exclude" in job.process.stderr
    assert farm.notes.started() == []
    farm.farmer("-n", "2").process.succeed(60)
    assert farm.faults() == []
    assert farm.leftovers() == []
