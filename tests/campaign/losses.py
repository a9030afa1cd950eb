"""Farmers, nodes and servers that are lost, and nodes that are cut off for less than the lease, on NFS; see `scenarios`."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

from helpers import Process, clean_environment, wait_for

from campaign.nfs import LEASE, NFSFarm
from campaign.scenarios import DEADLINE, NO_ANSWER, Setting, finish, was_without_answer


def _pytaskfarmer(farm: NFSFarm) -> list[Process]:
    """Start a PyTaskFarmer 0.1.0 beside, if there is one."""
    script = clean_environment().get("PYTASKFARMER")
    return [farm.pytaskfarmer("node2", "plain", Path(script))] if script else []


def kill_farmer(setting: Setting) -> list[str]:
    """Kill a farmer on a node."""
    farm = setting.farm(30, 0.5, 2.0)
    first = farm.farm("node1", "killed", "-n", "2")
    farm.wait_until_running("killed", 1)
    others = [farm.farm("node2", "other", "-n", "2"), *_pytaskfarmer(farm)]
    farm.wait_until_running("other", 1)
    farm.notes.excuse("killed", "SIGKILL")
    setting.nodes.run("node1", "pkill", "-KILL", "-f", "[-]m taskfarmer_mpi", cwd="/")
    assert first.wait(DEADLINE) == 128 + signal.SIGKILL
    return finish(farm, *others)


def lose_node(setting: Setting) -> list[str]:
    """Lose a node with tasks in its hands, beside a farmer of ours and a PyTaskFarmer."""
    farm = setting.farm(30, 0.5, 2.5)
    farm.farm("node1", "lost", "-n", "2")
    farm.wait_until_running("lost", 1)
    others = [farm.farm("node2", "other", "-n", "2"), *_pytaskfarmer(farm)]
    farm.wait_until_running("other", 1)
    farm.notes.excuse("lost", "node lost")
    setting.nodes.kill("node1")
    frees_locks = setting.nodes.kind[0] != "3"  # on NFSv3 only the node that held them does, when it is back
    if not frees_locks:
        setting.nodes.boot("node1")
    for other in others:
        other.wait(DEADLINE)
    if frees_locks:
        setting.nodes.boot("node1")
    return finish(farm)


def lose_node_with_lock(setting: Setting) -> list[str]:
    """Lose a node that holds the lock."""
    farm = setting.farm(20, 0.1, 0.4)
    farm.farm("node1", "lost", "-n", "2", prefix=farm.halting("fdatasync", 2, 60, "finished"))
    farm.wait_until_halted("node1", "lost")
    other = farm.farm("node2", "other", "-n", "2")
    farm.notes.excuse("lost", "node lost")
    setting.nodes.kill("node1")
    other.wait(DEADLINE)
    setting.nodes.boot("node1")
    return finish(farm)


def restart_server(setting: Setting) -> list[str]:
    """Lose the server with all farmers at work, and start it again."""
    farm = setting.farm(30, 0.1, 0.4)
    # as where a server is up again within its lease, which takes longer here than the shortest lease of Linux
    farmers = [farm.farm(node, node, "-n", "2", "--lease", "60") for node in ("node1", "node2")]
    farm.wait_until_ended(10)
    setting.nodes.kill("server")
    setting.nodes.boot("server")
    return finish(farm, *farmers)


def lose_server_for_long(setting: Setting) -> list[str]:
    """Lose the server for longer than the lease: all farmers kill their tasks, and give up with one reason."""
    farm = setting.farm(8, 30.0, 30.0)
    farmers = [farm.farm(node, node, "-n", "2") for node in ("node1", "node2")]
    for node in ("node1", "node2"):
        farm.wait_until_running(node, 2)
        farm.notes.excuse(node, "server lost")
    setting.nodes.kill("server")
    time.sleep(2 * LEASE)
    setting.nodes.boot("server")
    found = finish(farm, *farmers)
    return found + [f"a farmer said {farmer.stderr}" for farmer in farmers if NO_ANSWER not in farmer.stderr]


def short_cut(setting: Setting) -> list[str]:
    """Cut a node off for less than the lease; what may run again is said at `scenarios.cut_with_lock`."""
    farm = setting.farm(30, 0.1, 0.4)
    farmers = [farm.farm("node1", "one", "-n", "2"), farm.farm("node2", "two", "-n", "2")]
    farm.wait_until_running("one", 1)
    setting.nodes.cut_for("node1", 0.4 * LEASE)
    if farmers[0].wait(DEADLINE) == 75 and was_without_answer(farmers[0]):
        farm.notes.excuse("one", "cut off")
    return finish(farm, *farmers)


def stale_names(setting: Setting) -> list[str]:
    """Let a node remember that the work directory's files are missing, and make them on another one."""
    farm = setting.farm(30, 0.05, 0.2)
    setting.nodes.run("node2", "mkdir", f"{farm.name}/tasks_workdir")
    names = " ".join(("toprocess", "finished", "failed", "farm.ini", "lock", "farmers", "timeline.json"))
    looked = setting.nodes.run("node2", "sh", "-c", f"cd {farm.name}/tasks_workdir && ls {names}")
    assert looked.returncode != 0
    first = farm.farm("node1", "one", "-n", "2")
    wait_for(lambda: farm.notes.running("one"), deadline=60, what="a task runs")
    second = farm.farm("node2", "two", "-n", "2")
    return finish(farm, first, second)


Loss = Callable[[Setting], list[str]]
LOSSES: tuple[Loss, ...] = (
    kill_farmer,
    lose_node,
    lose_node_with_lock,
    restart_server,
    lose_server_for_long,
    short_cut,
    stale_names,
)
