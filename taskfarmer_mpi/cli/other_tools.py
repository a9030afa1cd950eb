"""Options of other tools (GNU parallel, xargs, HyperQueue, HyperShell, disBatch, sbatch), and what does that here."""

from __future__ import annotations

_SLOTS = "the number of slots is -j N (or -n, --proc)"
_OWN_LOGS = "each task has a log of its own: taskfarmer-ctl log WORKDIR ID"
_GOES_ON = "the same command goes on with what is left; failed tasks first need: taskfarmer-ctl retry WORKDIR"
_NODES = "nodes come from the launcher: srun -N5 python -m taskfarmer_mpi TASKLIST, or taskfarmer-ctl submit -N 5 TASKLIST"
_PROGRESS = "progress is shown on a terminal; --progress bar, or lines"
_PLACES = "each line is put into the places of --command 'convert {} {.}.jpg'"
_LIST = "the tasklist is the argument, - for standard input, or ::: A B C"

HERE = {
    "--jobs -P --max-procs --num-tasks --max-workers --tasksPerNode": _SLOTS,
    "-k --keep-order --tag --tagstring --line-buffer --lb --ungroup --group --results --stdout --stderr": _OWN_LOGS,
    "--resume --resume-failed --retry-failed --resume-from --restart --retry": _GOES_ON,
    "-S --sshlogin --slf --sshloginfile --ssh --ssh-nodes --nodes --ntasks": _NODES,
    "--eta --bar": _PROGRESS,
    "-I --replace -i --template": _PLACES,
    "-a --arg-file --each-line --file": _LIST,
    "--joblog": "afterwards: taskfarmer-ctl export --joblog FILE WORKDIR",
    "--dry-run --dryrun": "taskfarmer-ctl check TASKLIST shows what would be done",
    "-C --colsep": "{1} {2} in --command are columns; a table with a header: -t and a TableTaskList",
    "--shuf": "--order shuffle",
    "--memfree --mem --memsuspend": "--memory-reserve SIZE; '#TF mem=SIZE' in the tasklist is for single tasks",
    "--time-limit --max-time": "a task's time limit is --task-timeout SECONDS, the whole job's --timeout SECONDS",
    "--max-fails --fill --halt-on-error": "--halt now,fail=N ends the farm after N failures",
    "--max-retries": "--retries N",
    "--cpus --cpusPerTask --cpus-per-task": "'#TF cpus=N' in the tasklist, or --pin for one core each",
    "--tmpdir": "--tempdir DIR gives each task a directory of its own there",
    "--compress": "--logs packed-gzip",
    "--wd --cwd": "--chdir DIR",
    "--name": "'#TF name=NAME' in the tasklist",
    "--array": "taskfarmer-ctl submit --array N TASKLIST",
    "--wait": "it returns when the list is done; from elsewhere: taskfarmer-ctl wait WORKDIR",
    "--termseq": "--task-signal, --task-grace",
    "--nice": "put nice before the command: tasks inherit it",
    "--env": "tasks have the environment of the farmer",
    "--prefix": "the directory of a farm is --workdir DIR",
    "--delay --load --pipe --semaphore --max-args --max-lines -L -X": "nothing does that (docs/coming-from.md)",
}
"""Their names, and what does that here."""


def advise(name: str) -> str | None:
    """Return what does here what an option of another tool does there; None if it is not known.

    Parameters
    ----------
    name
        The option as it was typed, without a value behind `=`; a short one may have its value behind it: `-P4`.
    """
    short = name if name.startswith("--") else name[:2]
    found = (advice for names, advice in HERE.items() if short in names.split())
    return next((f"that is an option of other tools; here: {advice}" for advice in found), None)
