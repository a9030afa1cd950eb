"""The batch script of a job, with all that it needs: it has no arguments, and can be submitted again as it is."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from taskfarmer_mpi.cli.batch_scripts import make_script
from taskfarmer_mpi.common.values import Value


class Job(Value):
    """A batch job; what is None stays as the script has it."""

    kind: str
    """The name of the script."""
    directives: dict[str, str]
    """Options of sbatch, without the dashes."""
    words: Sequence[str]
    """The tasklist, and options of the farm."""
    workdir: str
    python: str
    """The Python that has this package."""


def fill_script(job: Job) -> str:
    """Return the script of a job."""
    text = make_script(job.kind, is_filled=True)
    for name, value in job.directives.items():
        text = _replace(rf"^#SBATCH --{name}=.*$", f"#SBATCH --{name}={value}", text)
    text = _replace(r"^python=.*$", f"python=${{PYTHON:-{shlex.quote(job.python)}}}", text)
    if job.kind == "requeue":
        text = _replace(r"^workdir=.*$", f"workdir={shlex.quote(job.workdir)}", text)
    return _replace(r"^(?=if \[ \$# -eq 0 \])", f"set -- {shlex.join(job.words)}\n\n", text)


def _replace(pattern: str, text: str, script: str) -> str:
    filled, count = re.subn(pattern, lambda _: text, script, flags=re.MULTILINE)
    if count != 1:
        raise AssertionError(f"the script has {count} lines like {pattern}")
    return filled
