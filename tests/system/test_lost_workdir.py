"""A work directory that goes away under a farmer: it ends with 75 and a line that says so, and nothing on disk is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from campaign.local import LocalFarm
from campaign.places import Mounts
from conftest import skip_or_fail
from helpers import wait_for


@pytest.mark.parametrize("how", ["moved", "replaced", "copied", "removed"])
def test_a_farmer_whose_work_directory_goes_away_says_so_and_ends(how: str, tmp_path: Path) -> None:
    farm = LocalFarm(tmp_path, [0.3] * 12, [])
    farmer = farm.farmer("-n", "2")
    farm.notes.excuse(farmer.label, how)
    wait_for(lambda: farm.notes.ended() >= 3, deadline=60, what="some tasks end")
    aside = farm.workdir.rename(tmp_path / "aside")
    if how == "replaced":
        farm.workdir.mkdir()
    elif how == "copied":
        shutil.copytree(aside, farm.workdir)
    elif how == "removed":
        shutil.rmtree(aside)
    farmer.process.succeed(60, code=75)
    assert "Traceback" not in farmer.process.stderr
    assert str(farm.workdir) in farmer.process.stderr.splitlines()[-1]
    assert farm.leftovers() == []
    if how == "removed":
        assert not farm.workdir.exists(), "nobody makes it anew"
        return
    shutil.rmtree(farm.workdir, ignore_errors=True)
    aside.rename(farm.workdir)
    farm.farmer("-n", "4").process.succeed(60)
    assert farm.faults() == []
    assert farm.leftovers() == []


def test_a_farmer_whose_work_directory_is_made_read_only_says_so_and_ends(tmp_path: Path) -> None:
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"]).returncode != 0:
        skip_or_fail("only root can mount")
    farm = LocalFarm(tmp_path, [0.3] * 12, [])
    farmer = farm.farmer("-n", "2", prefix=["unshare", "-m"])
    farm.notes.excuse(farmer.label, "read-only")
    wait_for(lambda: farm.notes.ended() >= 3, deadline=60, what="some tasks end")
    # Over it, so that what is open stays as it was. Made read-only elsewhere: that fails where a file is open for writing.
    mount = 'mount --bind "$1" "$2" && mount -o remount,bind,ro "$2" && mount --move "$2" "$1"'
    (aside := tmp_path / "aside").mkdir()
    arguments = [str(farm.workdir), str(aside)]
    inside = ["nsenter", "-t", str(farmer.process.popen.pid), "-m", "sh", "-c", mount, "sh", *arguments]
    subprocess.run(inside, check=True)
    farmer.process.succeed(60, code=75)
    assert "Traceback" not in farmer.process.stderr
    assert f"{farm.workdir}/" in farmer.process.stderr
    assert "Read-only file system" in farmer.process.stderr.splitlines()[-1]
    assert farm.leftovers() == []
    farm.farmer("-n", "4").process.succeed(60)
    assert farm.faults() == []


@pytest.mark.parametrize("number", range(2))
def test_a_job_all_of_whose_ranks_gave_up_ends(number: int, tmp_path: Path) -> None:
    mounts = Mounts.made_here()
    if mounts is None:
        skip_or_fail("only root can mount")
        return
    farm = LocalFarm(tmp_path, [0.2] * 200, [])
    farm.around = mounts.words(tmp_path)
    job = farm.ranks(2, "-n", "1")
    try:
        wait_for(lambda: farm.notes.ended() >= 2 + number, deadline=60, what="some tasks end")
        with mounts.read_only(farm.workdir):
            said = "messages of the ranks cannot be written"
            wait_for(lambda: job.process.stderr.count(said) == 2, deadline=60, what="both ranks give up")
        job.process.succeed(60, code=75)
    finally:
        farm.site.clear()
        mounts.close()
