"""Before and after: a work directory is made, checked, added to, recovered, counted and retried.

Words: **recovery** settles what dead farmers left; the **census** counts where every task is; a task **in nobody's
hands** is in no list and no journal.

What always holds: everything is done under the work lock, in an order that survives death at any point, and can be
done again.

Begin with `preparation` (what happens before the first task), then `recovery`.
"""
