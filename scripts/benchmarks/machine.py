"""What a measurement was made on, and with which versions."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path


def describe_machine() -> dict[str, object]:
    """Return what this machine is, and how busy it is now."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    return {
        "cpu": model,
        "cpus": len(os.sched_getaffinity(0)),
        "memory_GiB": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "linux": platform.release(),
        "load_average": os.getloadavg()[0],
    }


def describe_versions(python: str) -> dict[str, str]:
    """Return the versions of what takes part without an environment of its own."""
    own = "import platform, taskfarmer_mpi; print(platform.python_version(), taskfarmer_mpi.__version__)"
    interpreter, _, version = _first_line([python, "-c", own]).partition(" ")
    versions = {"taskfarmer_mpi": version, "python": interpreter}
    for program in ("xargs", "parallel", "mpiexec", "hq"):
        path = shutil.which(program)
        if path is not None:
            versions[program] = _first_line([path, "--version"])
    return versions


def _first_line(command: list[str]) -> str:
    said = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False).stdout
    return (said.splitlines() or [""])[0].strip()
