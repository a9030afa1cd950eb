"""What all farmers did, read from their journals, the lists and the trace of PyTaskFarmers.

What always holds: nothing here writes, takes a lock or runs a user's code, and it may all be done while farmers are at work.

Begin with `runs` (every run of every farmer), then `task_states` (where each task is) and `journal_summary` (counts without
decoding each line).
"""
