"""``python -m taskfarmer_mpi``."""

from taskfarmer_mpi.importing import forget_current_directory

if __name__ == "__main__":
    forget_current_directory()
    from taskfarmer_mpi.cli import main

    main()
