"""One rank of `taskfarmer-mpi`, from its options to its exit code.

What always holds: before the first task of the job anything that is wrong is exit code 2; afterwards the leader's look at
all tasks is the exit code of all.

Begin with `rank`: it shows the whole way. `start` brings a rank to its first task, `summary` says at the end what
came of it.
"""
