"""The ranks of one MPI job, and the scheduler that runs it.

MPI carries what the file system cannot do as well: that ranks find each other, stops, the proof that the lock
excludes. It never carries tasks or outcomes, and never says who is alive.

Begin with `startup` (the ranks come together), then `coordination` (who leads, when all are done).
"""
