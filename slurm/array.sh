#!/bin/bash
#SBATCH --job-name=taskfarmer
#SBATCH --array=0-4
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --time=01:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%A_%a.out

# An array of farmers without MPI that work through one tasklist. Each starts as soon as there is room for it, and stops by
# itself before its time is up; submit it again to go on. All options of sbatch above may be changed on its command line.
#
#   sbatch --array=0-19 array.sh TASKLIST [OPTION...]        the options are those of taskfarmer_mpi
#
# PYTHON is the Python that has taskfarmer_mpi (default: python).

if [ $# -eq 0 ]; then
    echo "usage: sbatch array.sh TASKLIST [OPTION...]" >&2
    exit 2
fi
tasklist=$1
shift
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

# The farmer takes the place of this shell, and so gets the signals of scancel and --signal=B: itself.
exec "${PYTHON:-python}" -m taskfarmer_mpi "$tasklist" --mpi off --proc "${SLURM_CPUS_PER_TASK:-auto}" "$@"
