"""``python -m taskfarmer_mpi``."""

import os
import sys

if __name__ == "__main__":
    if sys.path and sys.path[0] == os.getcwd() and not sys.flags.safe_path:
        del sys.path[0]  # `-m` puts it there: what lies in the current directory is not asked for
    from taskfarmer_mpi.cli import main

    main()
