"""Who lives: the farmers, by the locks that they hold, and the processes of their tasks, by their marks.

Words: the two **life locks** of a farmer (held as long as it, or a process of its tasks, lives), the **guardian** (a small
process that ends a farmer's tasks when the farmer dies).

What always holds: no clock is compared; who gets a life lock knows that its holder is dead.

Begin with `life_locks`, then `owner` (whose process is it?) and `guardian`; docs/design.md, "Life and death", says why.
"""
