"""``python -m taskfarmer_mpi``."""

from taskfarmer_mpi.cli import main

if __name__ == "__main__":
    main()
