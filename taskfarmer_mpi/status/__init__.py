"""The farm at one moment, and its tasks as tables.

What always holds: no lock is taken, no tasklist handler is needed, and it may be asked while farmers are at work.

Begin with `snapshot` (the values), `observer` (how they are found) and `screen` (how they are shown).
"""
