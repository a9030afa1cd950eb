"""Whose process is it? Finds the processes of a farmer's tasks, and ends them.

A process belongs to a farmer if one of three marks says so: it inherited the farmer's task lock; the farmer's name is in the
environment it was started with (this follows children, new sessions and daemons); or it writes to the log of a task that
runs, and has no farmer's name (this finds what cleared its environment and closed the lock). Environments and logs also
reach jobs that a task submits: a process of another job of the scheduler is not the farmer's, unless it holds the lock.

The guardian uses this, so it imports nothing but the standard library's lightest parts.
"""

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

FAMILY = "TASKFARMER_FAMILY"
"""The variable that names the farmers above a process, outermost first."""
JOBS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "OAR_JOB_ID", "FLUX_JOB_ID", "SGE_JOB_SPOOL_DIR")
"""The variables in which schedulers name their jobs; Grid Engine's number is in one that others use, too (JOB_ID)."""
_SIGKILL = 9
"""As in signal, whose import takes longer than all else that a guardian does."""


class Owner:
    """A farmer, by all that tells processes of its tasks from others."""

    def __init__(
        self, farmer: str, task_lock: str, workdir: str, jobs: dict[str, str], cgroup_job: bytes | None = None
    ) -> None:
        """Gather the marks.

        Parameters
        ----------
        farmer
            The farmer's name.
        task_lock
            The lock file that its tasks hold open.
        workdir
            Where its journal and the logs are.
        jobs
            What the variables `JOBS` say of its own job, as far as that is known; empty strings if it is in none.
        cgroup_job
            The job of its control group, which is empty if it has none; None if that is not known.
        """
        self.farmer = farmer
        self.mark = os.fsencode(farmer)
        self.lock_path = task_lock
        self.workdir = workdir
        self.lock = os.fsencode(os.path.realpath(task_lock))
        self.log_folder = os.fsencode(os.path.realpath(f"{workdir}/logs")) + b"/"
        self._jobs = jobs
        self._cgroup_job = cgroup_job
        self.running_tasks = self._begun_tasks
        """Returns the tasks that run."""

    @classmethod
    def here(cls, farmer: str, task_lock: str, workdir: str) -> "Owner":
        """Return the owner of this job: the farmer itself, or its guardian."""
        return cls(farmer, task_lock, workdir, {name: os.environ.get(name, "") for name in JOBS}, cgroup_job("self"))

    def is_of_other_job(self, process: str, environ: list[bytes]) -> bool:
        """Whether a process is part of a job that is not the farmer's; what the kernel says counts first."""
        theirs = cgroup_job(process)
        if theirs and self._cgroup_job is not None:
            return theirs != self._cgroup_job
        named = {name: _value(environ, name) for name in self._jobs}
        return any(value and value != os.fsencode(self._jobs[name]) for name, value in named.items())

    def _begun_tasks(self) -> set[int]:
        """Return the tasks of which the farmer's journal has a begin and no end."""
        running: set[int] = set()
        try:
            path = f"{self.workdir}/farmers/{self.farmer}.journal"
            with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as journal:
                for line in journal:
                    if line.startswith(b'{"ev":"begin",'):
                        running.add(_id_in(line))
                    elif line.startswith((b'{"ev":"end",', b'{"ev":"killed",')):
                        running.discard(_id_in(line))
        except (OSError, ValueError):
            pass  # it was settled, or has a torn line: the tasks before it count
        return running


def name_job(environ: "Mapping[str, str]") -> str:
    """Return the job of a process for its farmer's journal: a number of Slurm's, or ``VARIABLE=value``; nothing for none."""
    name = next((name for name in JOBS if environ.get(name)), JOBS[0])
    value = environ.get(name, "")
    return value if name == JOBS[0] else f"{name}={value}"


def parse_job(text: str) -> dict[str, str]:
    """Return what the variable says of a job that `name_job` named."""
    name, _, value = text.rpartition("=")
    return {name or JOBS[0]: value}


def cgroup_job(process: str) -> bytes:
    """Return the number of the Slurm job in whose control group a process is; nothing if it is in none."""
    try:
        with open(f"/proc/{process}/cgroup", "rb") as file:
            after = file.read().partition(b"/job_")[2]
    except OSError:
        return b""
    return after[: len(after) - len(after.lstrip(b"0123456789"))]


def _id_in(line: bytes) -> int:
    return int(line.partition(b'"id":')[2].partition(b",")[0])


def _value(environ: list[bytes], name: str) -> bytes:
    prefix = name.encode() + b"="
    return next((item[len(prefix) :] for item in environ if item.startswith(prefix)), b"")


def find_processes(owner: Owner, spared: tuple[int, ...] = ()) -> list[int]:
    """Return the processes of this node that belong to a farmer's tasks, as far as this user may look."""
    left_out = (os.getpid(), *spared)
    looks = {
        int(entry): _look_at(entry, owner) for entry in os.listdir("/proc") if entry.isdigit() and int(entry) not in left_out
    }
    writers = {process for process, (_, task) in looks.items() if task is not None}
    running = owner.running_tasks() if writers else set()
    return [process for process, (is_own, task) in looks.items() if is_own or task in running]


def look_at_own(owner: Owner) -> None:
    """Look at this process, and at who holds the lock: at no other, as a look at one that hangs may hang."""
    _look_at(str(os.getpid()), owner)
    lock_holders(owner)


def _look_at(process: str, owner: Owner) -> tuple[bool, int | None]:
    """Return whether lock or name say that a process is the farmer's; else the task whose log it writes, if any."""
    try:
        is_holder, task = _look_at_files(process, owner)
        if is_holder:
            return True, None
        with open(f"/proc/{process}/environ", "rb") as file:
            environ = file.read().split(b"\0")
        family = _value(environ, FAMILY)
        is_candidate = owner.mark in family or (task is not None and not family)
        if not is_candidate or owner.is_of_other_job(process, environ):
            return False, None
        return (True, None) if family else (False, task)
    except OSError:  # it ended, or it is another user's
        return False, None


def _look_at_files(process: str, owner: Owner) -> tuple[bool, int | None]:
    """Return whether a process holds the lock, and the task whose log it writes, if any."""
    task = None
    for fd in os.listdir(f"/proc/{process}/fd"):
        link = _link(f"/proc/{process}/fd/{fd}")
        is_lock, is_log = link == owner.lock, link.startswith(owner.log_folder)
        flags = _flags(process, fd) if is_lock or is_log else 0
        if flags & os.O_CLOEXEC:
            continue  # a farmer that looks at the lock, or makes the log for the task's next run
        if is_lock:
            return True, None
        if is_log and flags & (os.O_WRONLY | os.O_RDWR):
            task = _task_of(link[len(owner.log_folder) :])
    return False, task


def _task_of(name: bytes) -> int | None:
    """Return the task of a log, by its path in the folder of logs; a retry keeps an old log as ``log_<ID>.<N>``."""
    mark, _, number = name.rpartition(b"/")[2].partition(b"_")
    digits = number.partition(b".")[0] if mark == b"log" else b""
    return int(digits) if digits.isdigit() else None


def _flags(process: str, fd: str) -> int:
    try:
        with open(f"/proc/{process}/fdinfo/{fd}", "rb") as file:
            return int(next(line for line in file if line.startswith(b"flags:")).split()[1], 8)
    except (OSError, StopIteration):
        return os.O_CLOEXEC  # it is closed


def _link(path: str) -> bytes:
    try:
        return os.readlink(path.encode())
    except OSError:
        return b""


def lock_holders(owner: Owner) -> list[int]:
    """Return the processes of this node that hold a farmer's task lock; no process is waited for to find them."""
    holders = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and int(entry) != os.getpid() and _look_at_files(entry, owner)[0]:
                holders.append(int(entry))
        except OSError:  # it ended, or it is another user's
            pass
    return holders


def kill(processes: list[int]) -> None:
    """Kill some processes, as far as they live."""
    for pid in processes:
        try:
            os.kill(pid, _SIGKILL)
        except OSError:
            pass


def kill_processes(owner: Owner, patience: float, spared: tuple[int, ...] = ()) -> bool:
    """Kill every process of a farmer's tasks, again until there is none; return whether all are gone.

    Parameters
    ----------
    owner
        The farmer.
    patience
        How long to try [s].
    spared
        Processes to leave alone.
    """
    deadline = time.monotonic() + patience
    while targets := [pid for pid in find_processes(owner, spared) if not _is_dead(pid)]:
        kill(targets)
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def _is_dead(pid: int) -> bool:
    """Whether a process is a zombie, which only waits for its parent."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except OSError:
        return True
