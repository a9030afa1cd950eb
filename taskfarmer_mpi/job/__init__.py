"""The ranks of one job while they work, and the scheduler that runs it.

Ranks leave each other messages as names of files on a board in the work directory: stops, "I have no work left", "the job is
over". These never carry tasks or outcomes, and never say who is alive.

Begin with `coordination` (who leads, when all are done), then `board` and `messages`.
"""
