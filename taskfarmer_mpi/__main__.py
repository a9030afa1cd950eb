"""``python -m taskfarmer_mpi``, which is `taskfarmer-mpi`."""

from taskfarmer_mpi.cli.main import main

if __name__ == "__main__":
    main()
