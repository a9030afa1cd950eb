"""A notebook: a real kernel of IPython that runs a farm, and is killed."""

from __future__ import annotations

import importlib.util
import signal
import sys

from conftest import skip_or_fail
from helpers import Site, Witness, settled, wait_for

from taskfarmer_mpi import Farm
from taskfarmer_mpi.workdir.files import Workdir

_CELL = """
import sys
from jupyter_client import BlockingKernelClient

client = BlockingKernelClient(connection_file="kernel.json")
client.load_connection_file()
client.start_channels()
client.wait_for_ready(timeout=120)
client.execute(sys.argv[1])
print(client.get_shell_msg(timeout=120)["content"]["status"])
client.stop_channels()
"""
"""Runs a cell in a kernel, and prints whether that went well."""
_FARM = """
from taskfarmer_mpi import Farm
farm = Farm("farm")
farm.add(open("commands").read().splitlines())
farm.start(proc=2)
"""


def test_a_killed_kernel_leaves_a_farm_that_the_next_one_resumes(site: Site, witness: Witness) -> None:
    if any(importlib.util.find_spec(name) is None for name in ("ipykernel", "jupyter_client")):
        skip_or_fail("ipykernel is not installed")
    commands = witness.tasks(60, 0.1)
    site.tasklist(commands, "commands")
    kernel = site.start(sys.executable, "-m", "ipykernel_launcher", "-f", str(site.path / "kernel.json"))
    wait_for(lambda: (site.path / "kernel.json").exists(), deadline=120, what="a kernel")
    cell = site.start(sys.executable, "-c", _CELL, _FARM)
    cell.succeed(240)
    assert cell.stdout.strip() == "ok"
    workdir = Workdir(site.path / "farm")
    wait_for(
        lambda: workdir.finished.exists() and workdir.finished.read_bytes().count(b"\n") >= 5, deadline=120, what="tasks"
    )
    kernel.kill(signal.SIGKILL)
    kernel.wait(60)
    farm = Farm(workdir.path)
    wait_for(lambda: not any(who.state == "alive" for who in farm.status().farmers), deadline=120, what="the farmer's end")
    ended = farm.run(proc=2)
    assert ended.code == 0, ended.messages
    assert len(settled(workdir.path, [*commands]).finished) == 60
    assert witness.overlaps() == []
    assert all(sum(run.end is not None for run in runs) == 1 for runs in witness.runs().values())
