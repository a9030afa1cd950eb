"""Ranks of one MPI job on two nodes with NFS between them; see `scenarios`."""

from __future__ import annotations

import sys

from helpers import MPIEXEC, Process, wait_for

from campaign.nfs import NFSFarm
from campaign.scenarios import DEADLINE, Setting, finish


def _ranks(farm: NFSFarm, label: str) -> Process:
    """Start one rank on each of two nodes, from the first one."""
    launcher = ("-launcher", "ssh", "-launcher-exec", farm.nodes.folder / "remote", "-iface", "vec0")
    program = ("-n", "2", sys.executable, "-m", "taskfarmer_mpi", "-n", "2", "tasks")
    return farm.start("node1", label, MPIEXEC, *launcher, "-hosts", "node1,node2", *program)


def ranks_on_two_nodes(setting: Setting) -> list[str]:
    """Let the ranks of a job find each other across nodes, prove that the lock excludes, and work."""
    farm = setting.farm(30, 0.1, 0.4)
    job = _ranks(farm, "ranks")
    code = job.wait(DEADLINE)
    at_work = {name.split(".")[1].partition("-")[0] for name in farm.notes.started()}
    found = finish(farm)
    if code != 1 or at_work != {"node1", "node2"}:
        found.append(f"the job ended with {code}; tasks ran on {sorted(at_work)}: {job.said()}")
    return found


def lose_node_of_a_job(setting: Setting) -> list[str]:
    """Lose the node of one rank: the other one does everything; mpiexec itself waits for the lost node for ever."""
    farm = setting.farm(30, 0.2, 0.6)
    job = _ranks(farm, "ranks")
    wait_for(lambda: any(".node2-" in name for name in farm.notes.running("ranks")), deadline=90, what="a task on node2")
    farm.notes.excuse("ranks", "node lost")
    setting.nodes.kill("node2")
    farm.wait_until_recorded(DEADLINE)
    job.kill()
    job.wait(10)  # a zombie would count as a caller that lives
    setting.nodes.boot("node2")
    return finish(farm)


RANKS = (ranks_on_two_nodes, lose_node_of_a_job)
