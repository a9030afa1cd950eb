"""One farmer: it takes tasks, runs them in its **slots**, records how they ended, and gives back what it cannot run.

What always holds: what is taken is in its journal, on disk, before the list loses it; an end is in the journal before
the slot is used again; when the farmer dies its tasks die, as its **guardian** sees to.

Begin with `farmer` (the loop), `starter` and `pool` (how a task is started and ended), `node_doubt` (a node is not the
farm). Its visits to the lists are in `visits/`.
"""
