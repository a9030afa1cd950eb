"""Questions to Slurm, and the one thing that a farm asks of it: to take nodes back."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

ANSWER_LIMIT = 10.0
"""How long to wait for the scheduler's answer [s]."""

_NOWHERE = "/proc"
"""A working directory in which scontrol cannot leave files; it writes two when it changes a job, and can do without."""
_OWN_STEPS = frozenset(["batch", "extern", "interactive"])
"""Steps that any job may have, which need no node but the first."""


class SlurmError(Exception):
    """A command of Slurm could not be run, or said no."""


Ask = Callable[..., str]


def ask_slurm(*command: str) -> str:
    """Return what a command of Slurm prints.

    Raises
    ------
    SlurmError
        If it cannot be run, fails or takes too long.
    """
    try:
        answer = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=ANSWER_LIMIT,
            check=True,
            text=True,
            errors="replace",
            cwd=_NOWHERE,
        )
    except subprocess.CalledProcessError as error:
        raise SlurmError(f"{command[0]}: {error.stderr.strip() or f'exit code {error.returncode}'}") from error
    except subprocess.TimeoutExpired as error:
        raise SlurmError(f"{command[0]}: no answer within {ANSWER_LIMIT:.0f} s") from error
    except OSError as error:
        raise SlurmError(f"{command[0]}: {error.strerror}") from error
    return answer.stdout


def give_nodes_back(job: str, step: str, nodes: set[str], ask: Ask = ask_slurm) -> list[str]:
    """Take nodes out of a running job, where nothing of it runs any more; return those that were taken out.

    The first node stays: the batch script runs there.

    Parameters
    ----------
    job, step
        The IDs of the job and of the step that used the nodes.
    nodes
        Names of the nodes.
    ask
        Runs a command of Slurm and returns what it prints.

    Raises
    ------
    SlurmError
        If Slurm does not do it, or the job has other steps, which may run on these nodes.
    """
    steps = ask("squeue", "--noheader", "--steps", f"--jobs={job}", "--format=%i").split()
    others = [other for other in steps if other.rpartition(".")[2] not in {step, *_OWN_STEPS}]
    if others:
        raise SlurmError(f"the job has other steps, which may use these nodes: {' '.join(others)}")
    listed = ask("squeue", "--noheader", f"--jobs={job}", "--format=%N").strip()
    present = ask("scontrol", "show", "hostnames", listed).split()
    kept = [node for number, node in enumerate(present) if number == 0 or node not in nodes]
    if len(kept) == len(present):
        return []
    ask("scontrol", "update", f"JobId={job}", f"NodeList={','.join(kept)}")
    return [node for node in present if node not in kept]
