"""The HTML report of a farm: one page that needs nothing else.

What always holds: what is kept in memory does not grow with the runs, but for some numbers of each task; text of users is
escaped; the page loads nothing.

Begin with `contents` (what is shown, as values), then `page` (how it is written). `figures`, `slot_usage` and
`advice` are pure.
"""
