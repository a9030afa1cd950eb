#!/bin/bash
#SBATCH --job-name=taskfarmer
#SBATCH --array=0-4
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --time=01:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%A_%a.out

# An array of farmers without MPI that work through one tasklist. Each starts as soon as there is room for it, and stops by
# itself before its time is up; submit it again to go on.
#
#   sbatch --array=0-19 array.sh TASKLIST [OPTION...]        the options are those of taskfarmer_mpi
#
# All options of sbatch above may be changed here or on its command line. Ask for as many CPUs as your nodes have (sinfo -o
# "%P %c" shows them): a job that asks for more than any node has never starts.
#
# PYTHON is the Python that has taskfarmer_mpi. Default: python, so activate its environment before sbatch, or here.

if [ $# -eq 0 ]; then
    echo "usage: sbatch array.sh TASKLIST [OPTION...]" >&2
    exit 2
fi
tasklist=$1
shift
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

python=${PYTHON:-python}
if ! "$python" -c "import taskfarmer_mpi" 2>/dev/null; then # told here: Python would end with 1, as a farm with failed tasks
    echo "array.sh: $python cannot import taskfarmer_mpi: activate its environment before sbatch, or set PYTHON" >&2
    exit 2
fi
farmer=("$python" -m taskfarmer_mpi "$tasklist" --proc "${SLURM_CPUS_PER_TASK:-auto}" "$@")

# The farmer takes the place of this shell, and so gets the signals of scancel and --signal=B: itself.
exec "${farmer[@]}" --mpi off
