"""What users do to tasks while farmers are at work: take them off the list, end those that run, edit the tasklist.

Words: a **removed** task is not to be run, by a user's wish; a **cancelled** one waited or ran when a user ended it.

What always holds: a task that leaves the list is in a journal until `removed` has it; what a farmer has in its hands is
changed by that farmer alone, which is asked for it.

Begin with `removal`, then `cancellation` and `edited_list`.
"""
