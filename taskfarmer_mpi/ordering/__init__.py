"""In which order the tasks of a new work directory run, and how long they will take, by what they took before.

Words: the **order** of a work directory is kept in its file `order`, one line ``ID SECONDS`` for each task of the tasklist,
the first one first; SECONDS, what the task is expected to last, is left out where nothing tells it.

What always holds: the IDs of tasks are those of the tasklist, and order is only that of lines in `toprocess`; which task
runs first is never a matter of correctness, so a list in another order is not damaged.

Begin with `order_file` (what is kept), then `durations` (what tasks took), `guesses` (what those will take that nobody ran)
and `arrangement`.
"""
