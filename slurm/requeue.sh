#!/bin/bash
#SBATCH --job-name=taskfarmer
#SBATCH --nodes=5
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=01:00:00
#SBATCH --requeue
#SBATCH --no-kill
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.out

# As multinode.sh, but a job that stops because its time is up puts itself back into the queue, until the tasklist is done. A
# run in which no task ended is the last one: the next would not get any further.
#
#   sbatch requeue.sh TASKLIST [OPTION...]        the options are those of taskfarmer_mpi, but for --workdir
#
# PYTHON is the Python that has taskfarmer_mpi (default: python), WORKDIR the work directory (default: TASKLIST_workdir).

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
export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}" # srun of Slurm 22.05 to 23.02 does not take it from sbatch

recorded() {
    cat -- "$workdir/finished" "$workdir/failed" 2>/dev/null | wc -l
}

# Runs a command in the background, so that a signal gets here at once and is passed on as SIGUSR1, which srun sends to all
# ranks (SIGTERM would make it kill them). Sets `code`. After a signal, nothing more is run.
told=
trap 'told=USR1; again=yes; [ -z "$!" ] || kill -USR1 "$!" 2>/dev/null' USR1
trap 'told=TERM; again=yes; [ -z "$!" ] || kill -USR1 "$!" 2>/dev/null' TERM # from scancel: the user wants no other run
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

before=$(recorded)
options=(--proc "${SLURM_CPUS_PER_TASK:-auto}" "$@" --workdir "$workdir")
run srun --kill-on-bad-exit=0 --no-kill --wait=0 "${PYTHON:-python}" -m taskfarmer_mpi "$tasklist" "${options[@]}"
if [ "$code" -gt 128 ]; then
    # A rank died, and srun says so, not how the list stands. One farmer runs what may be left, and its exit code counts.
    run "${PYTHON:-python}" -m taskfarmer_mpi "$tasklist" "${options[@]}" --mpi off
fi

if [ "$code" -eq 75 ] && [ "$told" != TERM ]; then
    after=$(recorded)
    if [ "$after" -gt "$before" ]; then
        echo "requeue.sh: $((after - before)) tasks ended in this run, and some are left: back into the queue"
        scontrol requeue "$SLURM_JOB_ID"
    else
        echo "requeue.sh: no task ended in this run: not put back into the queue" >&2
    fi
fi
exit "$code"
