"""Ground that everything stands on: words for people, signals, file systems, other programs, ways of Python and the kernel.

Words: a **value** (`values`) is what crosses modules and is never changed; a **shortage** is an error that may pass.

What always holds: nothing here knows what a task or a farmer is. A module that does belongs into another folder.

Begin with `wording` (how numbers, times and foreign text are shown) and `signals` (a handler records, the loop decides).
"""
