"""What a user wants to be done about tasks that last too long, fail, or take their farmers along: pure decisions.

Words: a **rule** is an option in the form in which the work directory keeps it, as a text; an **attempt** is a run whose end
is the task's own, so not one that a stop cut short.

What always holds: nothing here reads a clock, a file or a process.

Begin with `rules` (all of them, from texts), then `time_limit`, `retries` and `halt`.
"""
