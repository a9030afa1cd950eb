"""Ground that everything stands on: words for people, signals, file systems, other programs, ways of Python and the kernel.

Nothing here knows what a task or a farmer is. A module that does belongs into another folder.

Begin with `wording` (how numbers, times and foreign text are shown) and `signals` (a handler records, the loop decides).
"""
