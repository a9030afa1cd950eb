"""Memory of the process that asks."""

from __future__ import annotations

import resource


def own_peak_memory() -> int:
    """Return the peak memory of this process since its program began [KiB].

    What `getrusage` says counts the process in that started it, as of a notebook or a test with much memory; the kernel's
    `VmHWM`, in `/proc/self/status`, does not (proc_pid_status(5)).
    """
    try:
        with open("/proc/self/status", "rb") as status:
            for line in status:
                if line.startswith(b"VmHWM:"):
                    return int(line.split()[1])
    except OSError:  # no descriptor is left, or no /proc
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
