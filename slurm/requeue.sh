#!/bin/bash
#SBATCH --job-name=taskfarmer
#SBATCH --nodes=5
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=4
#SBATCH --time=01:00:00
#SBATCH --requeue
#SBATCH --no-kill
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.out

# One farmer per node, joined by MPI, for one tasklist. A job that stops because its time is up puts itself back into the
# queue, until the tasklist is done. A run in which no task ended is the last one: the next would not get any further.
#
#   sbatch requeue.sh TASKLIST [OPTION...]        the options are those of taskfarmer_mpi, but for --workdir
#
# All options of sbatch above may be changed here or on its command line. Ask for as many CPUs as your nodes have (sinfo -o
# "%P %c" shows them): a job that asks for more than any node has never starts.
#
# PYTHON is the Python that has taskfarmer_mpi. Default: python, so activate its environment before sbatch, or here.
# WORKDIR is the work directory (default: TASKLIST_workdir).

if [ $# -eq 0 ]; then
    echo "usage: sbatch requeue.sh TASKLIST [OPTION...]" >&2
    exit 2
fi
tasklist=$1
shift
for argument; do
    case $argument in
        -w* | --w*)
            echo "requeue.sh: $argument: set the variable WORKDIR instead" >&2
            exit 2
            ;;
    esac
done
workdir=${WORKDIR:-${tasklist}_workdir}
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

python=${PYTHON:-python}
if ! "$python" -c "import taskfarmer_mpi" 2>/dev/null; then # told here: Python would end with 1, as a farm with failed tasks
    echo "requeue.sh: $python cannot import taskfarmer_mpi: activate its environment before sbatch, or set PYTHON" >&2
    exit 2
fi
farmer=("$python" -m taskfarmer_mpi "$tasklist" --proc "${SLURM_CPUS_PER_TASK:-auto}" "$@")

export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}" # srun of Slurm 22.05 to 23.02 does not take it from sbatch

# Runs a command in the background, so that a signal gets here at once and is passed on as SIGUSR1, which srun sends to all
# ranks (SIGTERM would make it kill them). Sets `code`. After a signal, nothing more is run.
told=
trap 'told=USR1; again=yes; [ -z "$!" ] || kill -USR1 "$!" 2>/dev/null' USR1
trap 'told=TERM; again=yes; [ -z "$!" ] || kill -USR1 "$!" 2>/dev/null' TERM
run() {
    code=75
    [ -z "$told" ] || return
    "$@" &
    again=yes
    while [ -n "$again" ]; do # a signal ends the wait, not the command
        again=
        wait "$!"
        code=$?
    done
}

recorded() {
    cat -- "$workdir/finished" "$workdir/failed" 2>/dev/null | wc -l
}

before=$(recorded)
farmer+=(--workdir "$workdir")
step=(srun --export=ALL --kill-on-bad-exit=0 --no-kill --wait=0) # all variables, also where sbatch has --export=NONE
run "${step[@]}" "${farmer[@]}"
case $code in
    0 | 2 | 70 | 75) ;;
    *) # Tasks failed (1), or a rank died (1, 14, 137, 143, ...), and then srun does not say how the list stands.
        echo "requeue.sh: srun ended with $code: one farmer looks at the list, and its exit code counts"
        run "${farmer[@]}" --mpi off
        ;;
esac

if [ "$code" -eq 75 ] && [ "$told" != TERM ]; then # SIGTERM is from scancel: the user wants no other run
    after=$(recorded)
    if [ "$after" -gt "$before" ]; then
        echo "requeue.sh: $((after - before)) tasks ended in this run, and some are left: back into the queue"
        # One element of an array has the number of the whole array.
        scontrol requeue "${SLURM_ARRAY_TASK_ID:+${SLURM_ARRAY_JOB_ID}_}${SLURM_ARRAY_TASK_ID:-$SLURM_JOB_ID}"
    else
        echo "requeue.sh: no task ended in this run: not put back into the queue" >&2
    fi
fi
exit "$code"
