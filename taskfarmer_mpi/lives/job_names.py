"""How a farmer's journal names the job that it runs in."""

from __future__ import annotations

from collections.abc import Mapping

from taskfarmer_mpi.lives.owner import JOBS


def name_job(environ: Mapping[str, str]) -> str:
    """Return the job of a process for its farmer's journal: a number of Slurm's, or ``VARIABLE=value``; nothing for none."""
    name = next((name for name in JOBS if environ.get(name)), JOBS[0])
    value = environ.get(name, "")
    return value if name == JOBS[0] else f"{name}={value}"


def parse_job(text: str) -> dict[str, str]:
    """Return what the variable says of a job that `name_job` named."""
    name, _, value = text.rpartition("=")
    return {name or JOBS[0]: value}
