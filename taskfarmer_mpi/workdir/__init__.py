"""The files that all farmers share, and the lock: the only place that knows how they look.

Words: the **lists** (`toprocess`, `finished`, `failed`), the **journal** of a farmer (its own log), the **work lock**
(held for moments), the **catalog** (the texts of all tasks by ID).

What always holds: a list is read and written only under the work lock, a journal only by its farmer; whole files are
replaced by rename; a torn last line is seen as such; no link is followed.

Begin with `files` (every path), `lists`, `locks`, `journal_records`; docs/design.md says why.
"""
