"""What the ranks of a job can find out about where they are: hosts, CPUs, file systems and locks."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

from taskfarmer_mpi.cli.diagnosis.installation import Finding
from taskfarmer_mpi.common.filesystems import lock_trouble, mount_of
from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.lives.life_locks import LifeLock
from taskfarmer_mpi.machine.cpus import Cpus, cpus_of_nodes, narrow_nodes, share_out
from taskfarmer_mpi.rendezvous.startup import own_cpus
from taskfarmer_mpi.workdir.files import Workdir, node_name
from taskfarmer_mpi.workdir.lock_files import lock_paths


class RankFacts(Value):
    """What a rank finds out about its own place."""

    host: str
    machine: str
    """The same on hosts that share a kernel, as several nodes of a test cluster do."""
    cpus: Cpus
    lock_file: str
    troubles: list[Finding]


def own_facts(workdir: Workdir) -> RankFacts:
    """Return what this process knows about its place."""
    places = find_places(workdir, os.environ, 1)
    return RankFacts(
        host=node_name(),
        machine=_machine_id(),
        cpus=own_cpus(os.environ),
        lock_file=str(lock_paths(workdir, os.environ)[0]),
        troubles=[finding for finding in places if finding.mend is not None],
    )


def _machine_id() -> str:
    """Return what only processes under the same kernel have in common."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def find_places(workdir: Workdir, environ: Mapping[str, str], machines: int) -> list[Finding]:
    """Say on which file systems work directory and lock files are, and whether locks exclude there on this node."""
    findings = [_find_mount("work directory", workdir.path, machines)]
    paths = lock_paths(workdir, environ)
    for number, path in enumerate(paths):
        findings += [
            Finding("lock file", str(path), _second_lock_advice(environ) if number and machines > 1 else None),
            *([] if path.parent == workdir.path else [_find_mount("its directory", path.parent, machines)]),
            _find_exclusion(path.parent),
            *_find_holder(path),
        ]
    return findings


def _second_lock_advice(environ: Mapping[str, str]) -> str:
    variable = "TMP" if "TMP" in environ else "TMPDIR"
    return (
        f"{variable} is set and SCRATCH is not, so PyTaskFarmer 0.1.0 uses this file: set SCRATCH to a directory that all"
        " nodes share"
    )


def _find_mount(topic: str, path: Path, machines: int) -> Finding:
    try:
        mount = mount_of(path)
    except OSError as error:
        return Finding(topic, f"{path}: {error.strerror}", "make it, or name another one")
    if mount is None:
        return Finding(topic, f"{path}: the kernel does not say on which file system")
    text = f"{path}: {mount.type} at {mount.point} ({','.join(mount.options)})"
    mend = None
    if mount.local_lock_options:
        mend = f"with {' and '.join(mount.local_lock_options)} locks hold on one node only: use another file system"
    elif mount.is_local and machines > 1:
        mend = "other nodes do not see this file system: use one that all nodes share"
    return Finding(topic, text, mend)


def _find_exclusion(folder: Path) -> Finding:
    trouble = lock_trouble(folder)
    if trouble is None:
        return Finding("locks on this node", "exclude")
    return Finding("locks on this node", trouble, "set SCRATCH to a directory on a shared file system that has flock")


def _find_holder(path: Path) -> list[Finding]:
    try:
        is_taken = LifeLock.is_taken(path)
    except FileNotFoundError:
        return []
    except OSError as error:
        return [Finding("its state", f"cannot be opened: {error.strerror}", "it must be yours, or your group's")]
    return [Finding("its state", "held this moment" if is_taken else "free")]


# -- several ranks ----------------------------------------------------------------------------------


def describe_hosts(facts: dict[int, RankFacts]) -> list[Finding]:
    """Return a finding for all hosts that are alike."""
    places = {rank: (one.host, one.cpus) for rank, one in facts.items()}
    shares, of_hosts, narrow = share_out(places), cpus_of_nodes(places), narrow_nodes(places)
    alike: dict[tuple[int, int, int, int, float, int], list[str]] = {}
    for host in of_hosts:
        there = {rank: one.cpus for rank, one in facts.items() if one.host == host}
        of_rank, share = min(len(cpus.own) for cpus in there.values()), min(shares[rank] for rank in there)
        limit = min(cpus.node for cpus in there.values())
        alike.setdefault((len(there), of_hosts[host], of_rank, share, limit, narrow.get(host, 0)), []).append(host)
    findings = []
    for (ranks, of_host, of_rank, share, limit, of_job), hosts in alike.items():
        limited = f", limited to {limit:g} by a quota or by Slurm" if limit < math.inf else ""
        text = (
            f"{', '.join(hosts)}: {_count(ranks, 'rank')} with {_count(of_rank, 'CPU')} of {of_host}{limited};"
            f" --proc auto gives {_count(share, 'slot')} per rank, the default is 8"
        )
        mend = "start fewer ranks there: one per node is best (srun --ntasks-per-node=1)" if ranks > of_host else None
        if of_job:
            mend = f"the job has {of_job} CPUs there: srun --cpus-per-task={of_job}, mpiexec --bind-to none"
        findings.append(Finding(_count(len(hosts), "host"), text, mend))
    return findings


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _shorten(ranks: list[int]) -> str:
    return ", ".join(map(str, ranks)) if len(ranks) < 10 else f"{ranks[0]} to {ranks[-1]} ({len(ranks)})"


def describe_silence(ranks: set[int]) -> list[Finding]:
    """Return a finding for ranks that did not answer."""
    if not ranks:
        return []
    return [Finding("no answer", f"ranks {_shorten(sorted(ranks))}", "look at their nodes, and at the network between them")]


def find_differences(facts: dict[int, RankFacts]) -> list[Finding]:
    """Return what is wrong on other ranks and not on this one."""
    own = facts[0]
    known = {finding.text for finding in own.troubles}
    findings = []
    for rank, one in facts.items():
        if one.lock_file != own.lock_file:
            text = f"rank {rank} on {one.host} locks {one.lock_file}"
            findings.append(Finding("another lock file", text, "set SCRATCH alike on all nodes"))
        findings += [
            Finding(f"rank {rank} on {one.host}", f"{trouble.topic}: {trouble.text}", trouble.mend)
            for trouble in one.troubles
            if trouble.text not in known
        ]
    return findings
