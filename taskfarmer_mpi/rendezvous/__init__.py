"""How the ranks that a launcher started find each other, once, at the start: the only use of MPI.

What always holds: a child process speaks MPI, and ends when all have come together; the farmer itself never loads the
library; no call waits for a rank for ever. Whatever goes wrong here (no library, a launcher that does not fit, a rank that
is missing) is one line, and then the farmers work independently.

Begin with `connection` (the way to the others), then `startup` (what they agree on), `mpi_comm` and `mpi_process`.
"""
