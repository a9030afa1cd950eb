"""``python -m taskfarmer_mpi.ctl``, which is `taskfarmer-ctl`."""

from taskfarmer_mpi.common.search_path import forget_current_directory

if __name__ == "__main__":
    forget_current_directory()
    from taskfarmer_mpi.cli.ctl import main

    main()
