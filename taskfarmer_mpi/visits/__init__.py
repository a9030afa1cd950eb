"""One farmer's visits to the lists: when one is due, how many tasks it takes, what it writes in which order.

Words: a **visit** is what a farmer does with the lists while it holds the work lock; its **tasks in hand** are those that
it took and has not settled; its **neighbours** are the other farmers of the work directory.

What always holds: at every moment of a visit a task is in a list, in a journal, or in both, never in none; what is done is
out of the farmer's hands at once, so a visit that was cut short can be made again.

Begin with `visit` (what is written), then `visits` and `visit_times` (when).
"""
