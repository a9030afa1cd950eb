"""Where the output of tasks is kept, and in which form.

A task writes into its own file, `logs/log_<ID>`, as long as it runs. A **pack** is one farmer's file with the logs of tasks
that have ended, one after the other; its **index** says where each of them is.

What always holds: nothing is packed, cut or removed before the outcome is recorded, and a file goes only once its content is
in a pack and an index, on disk. Whoever looks for a log looks for the file first.

Begin with `packs` (the format), then `keeper` (what a farmer does with logs) and `reading` (who looks at them).
"""
