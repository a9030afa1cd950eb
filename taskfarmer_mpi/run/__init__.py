"""One rank of `taskfarmer-mpi`, from its options to its exit code.

Begin with `rank`: it shows the whole way. `start` brings a rank to its first task, `summary` says at the end what
came of it.
"""
