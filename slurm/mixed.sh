#!/bin/bash
#SBATCH --job-name=taskfarmer
#SBATCH --nodes=3
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=01:00:00
#SBATCH --requeue
#SBATCH --no-kill
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.out

# An MPI job and an array of farmers without MPI that work through one tasklist. The job submits the array when it starts;
# its elements fill what room there is on other nodes, and do no harm if they come when the list is done. Options on sbatch's
# command line are for the MPI job; the array has those of this file.
#
#   sbatch --nodes=20 mixed.sh TASKLIST [OPTION...]        the options are those of taskfarmer_mpi
#
# PYTHON is the Python that has taskfarmer_mpi (default: python), ARRAY the indices of the array (default: 0-1).

if [ $# -eq 0 ]; then
    echo "usage: sbatch mixed.sh TASKLIST [OPTION...]" >&2
    exit 2
fi
tasklist=$1
shift
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

if [ -n "$SLURM_ARRAY_JOB_ID" ]; then
    # The farmer takes the place of this shell, and so gets the signals of scancel and --signal=B: itself.
    exec "${PYTHON:-python}" -m taskfarmer_mpi "$tasklist" --mpi off --proc "${SLURM_CPUS_PER_TASK:-auto}" "$@"
fi

if [ "${SLURM_RESTART_COUNT:-0}" -eq 0 ]; then # a job that runs again has submitted its array
    sbatch --array="${ARRAY:-0-1}" --nodes=1 --ntasks-per-node=1 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" \
        --output=%x-%A_%a.out -- "$0" "$tasklist" "$@"
fi

export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}" # srun of Slurm 22.05 to 23.02 does not take it from sbatch

# Runs a command in the background, so that a signal gets here at once and is passed on as SIGUSR1, which srun sends to all
# ranks (SIGTERM would make it kill them). Sets `code`. After a signal, nothing more is run.
told=
trap 'told=yes; again=yes; [ -z "$!" ] || kill -USR1 "$!" 2>/dev/null' USR1 TERM
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

options=(--proc "${SLURM_CPUS_PER_TASK:-auto}" "$@")
run srun --kill-on-bad-exit=0 --no-kill --wait=0 "${PYTHON:-python}" -m taskfarmer_mpi "$tasklist" "${options[@]}"
if [ "$code" -gt 128 ]; then
    # A rank died, and srun says so, not how the list stands. One farmer runs what may be left, and its exit code counts.
    run "${PYTHON:-python}" -m taskfarmer_mpi "$tasklist" "${options[@]}" --mpi off
fi
exit "$code"
