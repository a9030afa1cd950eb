"""``python -m taskfarmer_mpi.ctl``, which is `taskfarmer-ctl`."""

from taskfarmer_mpi.cli.ctl import main

if __name__ == "__main__":
    main()
