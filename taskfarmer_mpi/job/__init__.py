"""The ranks of one job while they work, and the scheduler that runs it.

Words: the **leader** is the rank that recovers dead farmers and ends the job; a **board** is a directory in which ranks
leave each other messages, as names of files: stops, reports ("I have no work left"), "the job is over".

What always holds: messages never carry tasks or outcomes, and never say who is alive; a rank that hears nothing goes on.

Begin with `coordination` (who leads, when all are done), then `board` and `messages`.
"""
