"""The farm from Python: `Farm` adds tasks, has a farmer run them, and tells how they end; `FarmExecutor` gives futures.

What always holds: a farmer is a process of its own (``python -m taskfarmer_mpi``), and the work directory is all that it has
in common with this one, so whatever dies, nothing is lost. A user's mistake is a `UserError` of one line.

Begin with `farm`, then `outcome_reader` (how outcomes are followed) and `farmer_process` (how a farmer is started, and ends
with the Python that started it).
"""
