"""How a leader bears with what is short while it looks for dead farmers."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from fakes import Clock, Hand, make_farm
from test_coordination import FakeFarmer

from taskfarmer_mpi.common.shortage import OWN_PATIENCE
from taskfarmer_mpi.errors import farm_error
from taskfarmer_mpi.job.leader_duties import LeaderDuties

PATIENCE = 60.0


@pytest.mark.parametrize(
    ("number", "patience"), [(errno.EMFILE, OWN_PATIENCE), (errno.EIO, PATIENCE), (errno.ESTALE, PATIENCE)]
)
def test_a_shortage_is_said_once_and_waited_out_where_it_may_end_by_itself(
    number: int, patience: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        error = OSError(number, os.strerror(number))
        raise farm_error("farmers: cannot read", error) from error

    monkeypatch.setattr("taskfarmer_mpi.job.leader_duties.recover", refuse)
    farm, clock = make_farm(tmp_path, ["true"]), Clock()
    farmer = FakeFarmer(Hand(farm, "rank0"))
    duties = LeaderDuties(farm, farmer, PATIENCE, clock=clock)  # type: ignore[arg-type]
    begin = clock.now
    while farmer.trouble is None:
        assert not duties.recover()
        clock.now += 1.0
    assert patience < clock.now - begin < patience + 3.0
    assert caplog.messages == [
        f"farmers: cannot read: {os.strerror(number)}; dead farmers are not looked for; trying again from time to time"
    ]
